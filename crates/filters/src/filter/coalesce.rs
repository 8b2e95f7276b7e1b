//! `coalesce`: one execution for identical requests at the same moment.

use std::time::Duration;

use bytesize::ByteSize;
use onrush_invoke::Coalesce as Coalescing;
use serde::Deserialize;

use super::{
    Filter, Parameter, Wrong,
    cache::{BODY, HOST, LARGEST, SCOPE, VARY},
    rate_limit::Reach,
    wrong,
};
use crate::{
    sharing::Question,
    stack::Gateways,
    value::{List, Name, Time},
};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    #[serde(default = "waiters")]
    waiters: u32,
    #[serde(default)]
    share_errors: bool,
    #[serde(default = "lock_age")]
    lock_age: Time,
    vary: Option<List<Name>>,
    scope: Option<Reach>,
    largest: Option<ByteSize>,
    body: Option<bool>,
    host: Option<bool>,
}

fn waiters() -> u32 {
    10_000
}

fn lock_age() -> Time {
    Time(Duration::from_secs(5))
}

/// The filter.
#[derive(Debug)]
pub(crate) struct Coalesce {
    pub(crate) coalescing: Coalescing,
    pub(crate) question: Question,
}

impl Filter for Coalesce {
    const NAME: &'static str = "coalesce";
    const SUMMARY: &'static str = "Answers identical requests that are in flight at the same moment with one execution. For \
        idempotent functions, or routes of GET and HEAD alone.";
    const EXAMPLE: &'static str = r#"{ use = "coalesce", scope = "cluster" }"#;
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "waiters",
            form: "10000",
            default: Some("10000"),
            meaning: "requests that may wait for one execution, 1 to 1000000; more are called by themselves",
        },
        Parameter {
            name: "share-errors",
            form: "true",
            default: Some("false"),
            meaning: "whether a failure is everybody's; otherwise one of those who wait is called",
        },
        Parameter {
            name: "lock-age",
            form: r#""5s""#,
            default: Some("5s"),
            meaning: "an execution older than this holds nobody up: the next request is called by itself",
        },
        VARY,
        SCOPE,
        LARGEST,
        BODY,
        HOST,
    ];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        let Settings { waiters, share_errors, lock_age, vary, scope, largest, body, host } = settings;
        if !(1..=1_000_000).contains(&waiters) {
            return Err(vec![wrong("waiters", format!("1 to 1000000, not {waiters}"))]);
        }
        let question = Question::build(vary, scope, largest, (body, host))?;
        Ok(Self { coalescing: Coalescing { waiters, share_errors, lock_age: lock_age.0 }, question })
    }
}
