//! `rate-limit`: so many calls in a time.

use std::{num::NonZeroU32, sync::Arc};

use arc_swap::ArcSwap;
use governor::{
    NotUntil, Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use onrush_invoke::{InvokeError, Scope};
use onrush_types::Code;
use serde::Deserialize;

use super::{Filter, Parameter, Wrong, wrong};
use crate::{
    key::{Caller, Hasher, Per},
    stack::{Gateways, Passing},
    table::{Table, TokioClock},
    value::Rate,
};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    rate: Rate,
    burst: Option<NonZeroU32>,
    #[serde(default)]
    per: Per,
    #[serde(default)]
    scope: Reach,
    #[serde(default = "callers")]
    callers: usize,
}

fn callers() -> usize {
    65_536
}

/// The most callers that a table may remember.
const MOST_CALLERS: usize = 1 << 20;

/// How far a filter's count, or its store, goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reach {
    #[default]
    Gateway,
    Cluster,
}

impl From<Reach> for Scope {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::Gateway => Self::Gateway,
            Reach::Cluster => Self::Cluster,
        }
    }
}

/// The filter.
pub(crate) struct RateLimit {
    settings: Settings,
    burst: NonZeroU32,
    hasher: Hasher,
    gateways: Gateways,
    current: ArcSwap<Limiter>,
}

/// A limiter for a cluster of this many gateways.
struct Limiter {
    gateways: u32,
    clock: TokioClock,
    state: State,
}

enum State {
    One(RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>),
    Many(RateLimiter<u64, Table, TokioClock, NoOpMiddleware<Nanos>>),
}

impl Filter for RateLimit {
    const NAME: &'static str = "rate-limit";
    const SUMMARY: &'static str = "Refuses calls above a rate with 429 and `Retry-After`. With `per = \"ip\"` it stands \
        before `auth`, so that guessing is limited too; otherwise behind it.";
    const EXAMPLE: &'static str = r#"{ use = "rate-limit", rate = "100/s", burst = 200, per = "ip" }"#;
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "rate",
            form: r#""100/s""#,
            default: None,
            meaning: "how many calls in which time, up to a day",
        },
        Parameter {
            name: "burst",
            form: "200",
            default: Some("(what the rate brings in a second, at least 1)"),
            meaning: "calls that may come at once after a calm time",
        },
        Parameter {
            name: "per",
            form: r#""ip", "route", "key" or "header:NAME""#,
            default: Some("ip"),
            meaning: "who is counted: each address (IPv6 by its /64), all together, each caller that `auth` recognised, or \
                each value of a header (callers without it by their address)",
        },
        Parameter {
            name: "scope",
            form: r#""gateway" or "cluster""#,
            default: Some("gateway"),
            meaning: "what the rate is for: each gateway, or all together; then each grants its share, the rate divided by \
                the gateways that are alive and not cordoned",
        },
        Parameter {
            name: "callers",
            form: "65536",
            default: Some("65536"),
            meaning: "callers that a gateway remembers, up to 1048576; beyond, those who used least are forgotten",
        },
    ];
    type Settings = Settings;

    fn build(settings: Settings, gateways: &Gateways) -> Result<Self, Vec<Wrong>> {
        if !(64..=MOST_CALLERS).contains(&settings.callers) {
            let why = format!("between 64 and {MOST_CALLERS}, not {}", settings.callers);
            return Err(vec![wrong("callers", why)]);
        }
        let burst = settings.burst.unwrap_or_else(|| settings.rate.in_a_second());
        if settings.rate.interval().checked_mul(burst.get()).is_none_or(|time| time.as_secs() > 366 * 86_400) {
            return Err(vec![wrong("burst", "a burst is used up within a year at most; lower it")]);
        }
        let current = ArcSwap::from_pointee(Limiter::new(&settings, burst, 1));
        Ok(Self { burst, hasher: Hasher::default(), gateways: gateways.clone(), current, settings })
    }
}

impl Limiter {
    fn new(settings: &Settings, burst: NonZeroU32, gateways: u32) -> Self {
        let clock = TokioClock::new();
        let interval = settings.rate.interval().saturating_mul(gateways);
        let burst = NonZeroU32::new(burst.get().div_ceil(gateways)).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(burst)).allow_burst(burst);
        let state = match settings.per {
            Per::Route => State::One(RateLimiter::direct_with_clock(quota, clock.clone())),
            Per::Ip | Per::Header(_) | Per::Key => {
                State::Many(RateLimiter::new(quota, Table::new(settings.callers), clock.clone()))
            }
        };
        Self { gateways, clock, state }
    }

    fn check(&self, key: impl FnOnce() -> u64) -> Result<(), NotUntil<Nanos>> {
        match &self.state {
            State::One(limiter) => limiter.check(),
            State::Many(limiter) => limiter.check_key(&key()),
        }
    }
}

impl RateLimit {
    /// Whether it counts by what a stranger cannot choose, and so may stand before `auth`.
    pub(crate) fn before_auth(&self) -> bool {
        self.settings.per == Per::Ip
    }

    /// Whether it needs `auth` to recognise callers.
    pub(crate) fn needs_caller(&self) -> bool {
        self.settings.per == Per::Key
    }

    pub(crate) fn check(&self, passing: &Passing<'_>, caller: Option<Caller>) -> Result<(), InvokeError> {
        let mut limiter = self.current.load();
        let gateways = self.share();
        if limiter.gateways != gateways {
            // What was used until now is forgiven: membership changes are rare.
            self.current.store(Arc::new(Limiter::new(&self.settings, self.burst, gateways)));
            limiter = self.current.load();
        }
        let key = || self.hasher.key(&self.settings.per, passing.client, &passing.parts.headers, caller);
        limiter.check(key).map_err(|until| {
            let wait = until.wait_time_from(limiter.clock.now());
            let Rate { count, per } = self.settings.rate;
            let message = format!("more calls than this route's limit of {count} in {per:?} (filter rate-limit)");
            InvokeError::refused(Code::RateLimited, message).retry_after(wait)
        })
    }

    fn share(&self) -> u32 {
        match self.settings.scope {
            Reach::Gateway => 1,
            Reach::Cluster => self.gateways.count(),
        }
    }
}
