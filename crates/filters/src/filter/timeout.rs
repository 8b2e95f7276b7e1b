//! `timeout`: how long a call through this route may take.

use std::time::Duration;

use serde::Deserialize;

use super::{Filter, Parameter, Wrong, wrong};
use crate::{stack::Gateways, value::Time};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    after: Time,
}

/// The filter.
#[derive(Debug)]
pub(crate) struct Timeout {
    pub(crate) after: Duration,
}

impl Filter for Timeout {
    const NAME: &'static str = "timeout";
    const SUMMARY: &'static str = "Ends calls with 504. Only ever shortens the function's own timeout.";
    const EXAMPLE: &'static str = r#"{ use = "timeout", after = "2s" }"#;
    const PARAMETERS: &'static [Parameter] =
        &[Parameter { name: "after", form: r#""2s""#, default: None, meaning: "time for the whole call, 1ms to 15m" }];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        let after = settings.after.0;
        if !(Duration::from_millis(1)..=Duration::from_secs(900)).contains(&after) {
            return Err(vec![wrong("after", format!("must be between 1ms and 15m, not {after:?}"))]);
        }
        Ok(Self { after })
    }
}
