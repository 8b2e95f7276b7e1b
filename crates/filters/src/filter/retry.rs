//! `retry`: what failed is called again.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use onrush_invoke::{InvokeError, Reply};
use onrush_types::{Code, Origin};
use serde::Deserialize;

use super::{Filter, Parameter, Wrong, wrong};
use crate::{
    stack::Gateways,
    value::{List, Time},
};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default = "attempts")]
    attempts: u8,
    #[serde(default = "backoff")]
    backoff: Time,
    #[serde(default = "causes")]
    on: List<Cause>,
    #[serde(default = "budget")]
    budget: u32,
}

fn attempts() -> u8 {
    3
}

fn backoff() -> Time {
    Time(Duration::from_millis(25))
}

fn causes() -> List<Cause> {
    List(vec![Cause::Platform, Cause::Function])
}

fn budget() -> u32 {
    10
}

/// What may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Cause {
    #[serde(rename = "platform")]
    Platform,
    #[serde(rename = "function")]
    Function,
    #[serde(rename = "5xx")]
    Reply,
}

/// The filter: whether and when a failed call is tried again.
#[derive(Debug)]
pub struct Retry {
    settings: Settings,
    /// Thousandths of tries that are left.
    purse: AtomicU32,
}

/// Tries that a calm time saves up.
const SAVED: u32 = 100;

impl Filter for Retry {
    const NAME: &'static str = "retry";
    const SUMMARY: &'static str = "Calls again what failed, with growing, jittered waits, while the deadline allows it. \
        Beyond what the platform does by itself, which moves a call once where nothing ran. For idempotent functions; \
        requests that were streamed are not repeated.";
    const EXAMPLE: &'static str = r#"{ use = "retry", attempts = 3, on = ["platform", "function", "5xx"] }"#;
    const PARAMETERS: &'static [Parameter] = &[
        Parameter { name: "attempts", form: "3", default: Some("3"), meaning: "tries in all, 2 to 10" },
        Parameter {
            name: "backoff",
            form: r#""25ms""#,
            default: Some("25ms"),
            meaning: "the first wait; each further one is twice as long, up to 1s, and half of it is chance",
        },
        Parameter {
            name: "on",
            form: r#"["platform", "function", "5xx"]"#,
            default: Some(r#"["platform", "function"]"#),
            meaning: "what is tried again: failures of the platform, of the function's code (a trap), replies from 500 on",
        },
        Parameter {
            name: "budget",
            form: "10",
            default: Some("10"),
            meaning: "retries per hundred calls on each gateway, so that retries do not finish off what is overloaded; 1 to \
                100, and a calm time saves up 100 retries",
        },
    ];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        let mut found = Vec::new();
        if !(2..=10).contains(&settings.attempts) {
            found.push(wrong("attempts", format!("tries in all, 2 to 10, not {}", settings.attempts)));
        }
        if settings.backoff.0 > Duration::from_secs(1) {
            found.push(wrong("backoff", "at most 1s"));
        }
        if settings.on.0.is_empty() {
            found.push(wrong("on", "name at least one of \"platform\", \"function\" and \"5xx\""));
        }
        if !(1..=100).contains(&settings.budget) {
            found.push(wrong("budget", format!("retries per hundred calls, 1 to 100, not {}", settings.budget)));
        }
        if !found.is_empty() {
            return Err(found);
        }
        Ok(Self { settings, purse: AtomicU32::new(SAVED * 1_000) })
    }
}

impl Retry {
    /// A call begins: it pays in its share.
    pub(crate) fn begin(&self) {
        self.pay(self.settings.budget * 10);
    }

    fn pay(&self, thousandths: u32) {
        let more = |purse: u32| (purse < SAVED * 1_000).then(|| (purse + thousandths).min(SAVED * 1_000));
        // Full already: nothing to add.
        let _full = self.purse.fetch_update(Relaxed, Relaxed, more);
    }

    /// How long to wait before the call is tried again, if it is. `chance` is any number.
    pub fn again(&self, tried: u8, outcome: &Result<Reply, InvokeError>, chance: u64) -> Option<Duration> {
        if tried >= self.settings.attempts || !self.covers(outcome) {
            return None;
        }
        self.purse.fetch_update(Relaxed, Relaxed, |purse| purse.checked_sub(1_000)).ok()?;
        let whole =
            self.settings.backoff.0.saturating_mul(1 << u32::from(tried - 1).min(16)).min(Duration::from_secs(1));
        let half = whole / 2;
        let jitter = u32::try_from(chance % 1_000).unwrap_or_default();
        let wait = half + half * jitter / 1_000;
        let asked = outcome.as_ref().err().and_then(|error| error.retry_after).unwrap_or_default();
        Some(wait.max(asked.min(Duration::from_secs(1))))
    }

    fn covers(&self, outcome: &Result<Reply, InvokeError>) -> bool {
        let on = |cause| self.settings.on.0.contains(&cause);
        match outcome {
            Ok(reply) => reply.response.status().is_server_error() && on(Cause::Reply),
            Err(error) if error.origin == Origin::Function => error.code == Code::FunctionFailed && on(Cause::Function),
            Err(error) => error.may_move(true) && on(Cause::Platform),
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_invoke::{Body, LoadReport};

    use super::*;

    fn retry(on: &[Cause]) -> Retry {
        let settings =
            Settings { attempts: 3, backoff: Time(Duration::from_millis(100)), on: List(on.to_vec()), budget: 10 };
        Retry::build(settings, &Gateways::default()).unwrap()
    }

    fn reply(status: u16) -> Result<Reply, InvokeError> {
        let response = http::Response::builder().status(status).body(Body::empty()).unwrap();
        Ok(Reply { response, node: "n".into(), load: LoadReport::default() })
    }

    #[test]
    fn what_is_tried_again_is_what_was_asked_for() {
        let full = || Err(InvokeError::refused(Code::Overloaded, "full"));
        let trap = || Err(InvokeError::function(Code::FunctionFailed, "trap"));
        let late = || Err(InvokeError::deadline(onrush_invoke::Reached::MaybeRan, "late"));
        let table = [
            (Cause::Platform, full(), true),
            (Cause::Platform, trap(), false),
            (Cause::Platform, reply(503), false),
            (Cause::Platform, late(), false),
            (Cause::Function, trap(), true),
            (Cause::Function, full(), false),
            (Cause::Reply, reply(503), true),
            (Cause::Reply, reply(499), false),
            (Cause::Reply, trap(), false),
        ];
        for (cause, outcome, expected) in table {
            assert_eq!(retry(&[cause]).again(1, &outcome, 0).is_some(), expected, "{cause:?} {outcome:?}");
        }
    }

    #[test]
    fn waits_grow_and_end_with_the_attempts() {
        let retry = retry(&[Cause::Reply]);
        let millis = |tried, chance| retry.again(tried, &reply(500), chance).map(|wait| wait.as_millis());
        assert_eq!((millis(1, 0), millis(1, 999)), (Some(50), Some(99)));
        assert_eq!((millis(2, 0), millis(3, 0)), (Some(100), None));
    }

    #[test]
    fn retries_are_a_share_of_calls_once_the_savings_are_gone() {
        let retry = retry(&[Cause::Reply]);
        let spent = (0..1_000).filter(|_| retry.again(1, &reply(500), 0).is_some()).count();
        assert_eq!(spent, 100);
        (0..200).for_each(|_| retry.begin());
        let earned = (0..1_000).filter(|_| retry.again(1, &reply(500), 0).is_some()).count();
        assert_eq!(earned, 20, "ten in a hundred");
    }
}
