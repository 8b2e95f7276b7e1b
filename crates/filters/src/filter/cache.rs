//! `cache`: replies that are kept. What is done about it is `onrush-sharing`'s; here is what is asked for.

use std::time::Duration;

use bytesize::ByteSize;
use onrush_invoke::Caching;
use serde::Deserialize;

use super::{Filter, Parameter, Wrong, rate_limit::Reach};
use crate::{
    sharing::Question,
    stack::Gateways,
    value::{List, Name, Time},
};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    ttl: Option<Time>,
    stale_while_revalidate: Option<Time>,
    stale_if_error: Option<Time>,
    #[serde(default)]
    obey_request: bool,
    #[serde(default = "hit_for_miss")]
    hit_for_miss: Time,
    vary: Option<List<Name>>,
    scope: Option<Reach>,
    largest: Option<ByteSize>,
    body: Option<bool>,
    host: Option<bool>,
}

fn hit_for_miss() -> Time {
    Time(Duration::from_secs(10))
}

/// What `cache` and `coalesce` both may be told about the question.
pub(crate) const VARY: Parameter = Parameter {
    name: "vary",
    form: r#"["accept-language"]"#,
    default: Some("[]"),
    meaning: "request headers that are part of the question. A request with `Authorization` or `Cookie` shares nothing \
        unless that header is listed here",
};
pub(crate) const SCOPE: Parameter = Parameter {
    name: "scope",
    form: r#""gateway" or "cluster""#,
    default: Some("gateway"),
    meaning: "with whom: the callers of one gateway, or of all; then the node that owns the question executes",
};
pub(crate) const LARGEST: Parameter = Parameter {
    name: "largest",
    form: r#""1MiB""#,
    default: Some("1MiB"),
    meaning: "larger replies are passed on and not shared; up to 64MiB",
};
pub(crate) const BODY: Parameter = Parameter {
    name: "body",
    form: "true",
    default: Some("false"),
    meaning: "whether requests with a body, or with another method than GET and HEAD, are shared too: the body is part of \
        the question. For idempotent functions; bodies that the gateway reads whole (64KiB)",
};
pub(crate) const HOST: Parameter = Parameter {
    name: "host",
    form: "false",
    default: Some("true"),
    meaning: "whether the host is part of the question. Only say false where replies do not depend on it: the function \
        still sees it",
};

/// The filter.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) caching: Caching,
    pub(crate) question: Question,
}

impl Filter for Cache {
    const NAME: &'static str = "cache";
    const SUMMARY: &'static str = "Keeps replies and answers with them, by RFC 9111, without a call. For idempotent \
        functions, or routes of GET and HEAD alone. A new version of the function begins with an empty cache.";
    const EXAMPLE: &'static str =
        r#"{ use = "cache", ttl = "60s", stale-while-revalidate = "5m", vary = ["accept-language"] }"#;
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "ttl",
            form: r#""60s""#,
            default: Some("(none: such replies are not kept)"),
            meaning: "how long a reply is fresh that does not say so itself; never overrides `no-store`",
        },
        Parameter {
            name: "stale-while-revalidate",
            form: r#""5m""#,
            default: Some("(none)"),
            meaning: "how long a stale reply may be sent while a new one is fetched, where the reply does not say (RFC 5861)",
        },
        Parameter {
            name: "stale-if-error",
            form: r#""1h""#,
            default: Some("(none)"),
            meaning: "how long a stale reply may stand in for a failure, where the reply does not say (RFC 5861)",
        },
        Parameter {
            name: "obey-request",
            form: "true",
            default: Some("false"),
            meaning: "whether a request's own `Cache-Control` may ask for a fresh reply; otherwise no client can force a call",
        },
        Parameter {
            name: "hit-for-miss",
            form: r#""10s""#,
            default: Some("10s"),
            meaning: "how long a question whose reply could not be kept is passed through without waiting",
        },
        VARY,
        SCOPE,
        LARGEST,
        BODY,
        HOST,
    ];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        let Settings { vary, scope, largest, body, host, .. } = settings;
        let question = Question::build(vary, scope, largest, (body, host))?;
        let time = |time: Option<Time>| time.map(|time| time.0);
        let caching = Caching {
            obey_request: settings.obey_request,
            ttl: time(settings.ttl),
            stale_while_revalidate: time(settings.stale_while_revalidate),
            stale_if_error: time(settings.stale_if_error),
            hit_for_miss: settings.hit_for_miss.0,
        };
        Ok(Self { caching, question })
    }
}
