//! The configuration as the rules use it: microseconds and fractions.

use std::time::Duration;

use crate::config::Config;

/// See [`Config`] for what each means.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the fields of the configuration, in microseconds")]
pub struct Params {
    pub hop: f64,
    pub service: f64,
    pub sampled: usize,
    pub sampled_large: usize,
    pub fresh: f64,
    pub half_life: f64,
    pub hot_wait: f64,
    pub ask_cost: f64,
    pub ask_part: f64,
    pub slow_start: u64,
    pub warm_bound: f64,
}

impl From<&Config> for Params {
    fn from(config: &Config) -> Self {
        Self {
            hop: micros(config.hop),
            service: micros(config.service).max(1.0),
            sampled: config.sampled,
            sampled_large: config.sampled_large,
            fresh: micros(config.fresh),
            half_life: micros(config.half_life).max(1.0),
            hot_wait: micros(config.hot_wait),
            ask_cost: micros(config.ask_cost).max(0.1),
            ask_part: f64::from(config.ask_percent) / 100.0,
            slow_start: u64::try_from(config.slow_start.as_micros()).unwrap_or(u64::MAX),
            warm_bound: f64::from(config.warm_bound_percent.max(100)) / 100.0,
        }
    }
}

impl Params {
    /// Nodes that are sampled in a cluster of this size, besides this one.
    pub(crate) fn others(&self, count: usize) -> usize {
        /// Larger clusters look at one more node per call.
        const LARGE: usize = 200;
        if count > LARGE { self.sampled_large } else { self.sampled }
    }

    /// Reports younger than this are believed as they are. A call's length sets the pace at which queues change.
    pub(crate) fn fresh(&self, service: f64) -> f64 {
        (service / 4.0).max(self.fresh)
    }

    /// How fast older ones fade: in ten calls' time, or the configured one if that is longer; never over a second.
    pub(crate) fn half_life(&self, service: f64) -> f64 {
        (service * 10.0).clamp(self.half_life, self.half_life.max(1e6))
    }
}

/// As the rules count.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
