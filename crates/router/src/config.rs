//! What an operator may set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How calls are placed, and when they move. `docs/simulation.md` says what the values were chosen by.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What a call to another node costs more than one on this node, before that has been seen.
    #[serde(with = "humantime_serde")]
    pub hop: Duration,
    /// How long a call takes, before any has been seen.
    #[serde(with = "humantime_serde")]
    pub service: Duration,
    /// Other nodes that are looked at per call; at most 7.
    pub sampled: usize,
    /// The same in clusters of more than 200 nodes.
    pub sampled_large: usize,
    /// A node's report is believed as it is until it is this old, or a quarter of a call's time if that is longer.
    #[serde(with = "humantime_serde")]
    pub fresh: Duration,
    /// After that it is worth half after this time, or after ten calls' time if that is longer.
    #[serde(with = "humantime_serde")]
    pub half_life: Duration,
    /// A node where calls wait longer than this, and longer than two calls' time, is avoided while there are others.
    #[serde(with = "humantime_serde")]
    pub hot_wait: Duration,
    /// What asking a node for its load costs in computing, on both sides together.
    #[serde(with = "humantime_serde")]
    pub ask_cost: Duration,
    /// How much of the time that calls compute may be spent on asking, in percent.
    pub ask_percent: u32,
    /// How long an answer is waited for.
    #[serde(with = "humantime_serde")]
    pub ask_patience: Duration,
    /// How long a node that joins, or comes back, is given less than its part.
    #[serde(with = "humantime_serde")]
    pub slow_start: Duration,
    /// A function of processes leaves its first node when that one has this much of the usual load, in percent.
    pub warm_bound_percent: u32,
    /// Second tries, in percent of the calls that succeed.
    pub retry_percent: u32,
    /// Second tries that are free, per second.
    pub retry_per_second: u32,
    /// Nodes that may refuse the connection before the call fails; they cost no try.
    pub connect_tries: u32,
    /// A call with less time left does not move.
    #[serde(with = "humantime_serde")]
    pub least_remaining: Duration,
    /// Failed calls in a row that eject a node.
    pub ejection_failures: u32,
    /// How long a node is ejected the first time; doubles.
    #[serde(with = "humantime_serde")]
    pub ejection: Duration,
    /// The longest that becomes.
    #[serde(with = "humantime_serde")]
    pub ejection_max: Duration,
    /// How many nodes may be ejected for failed calls, in percent. A failed connect ejects without this cap.
    pub ejection_percent: u32,
    /// How often ejected nodes are looked at, whether one is due to be asked if it is well.
    #[serde(with = "humantime_serde")]
    pub readmission_interval: Duration,
    /// Functions whose time is remembered; beyond it, two may share a place.
    pub known_functions: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hop: Duration::from_micros(300),
            service: Duration::from_millis(1),
            sampled: 2,
            sampled_large: 3,
            fresh: Duration::from_micros(500),
            half_life: Duration::from_millis(20),
            hot_wait: Duration::from_millis(5),
            ask_cost: Duration::from_micros(15),
            ask_percent: 3,
            ask_patience: Duration::from_millis(2),
            slow_start: Duration::from_secs(5),
            warm_bound_percent: 125,
            retry_percent: 10,
            retry_per_second: 10,
            connect_tries: 3,
            least_remaining: Duration::from_millis(2),
            ejection_failures: 5,
            ejection: Duration::from_secs(1),
            ejection_max: Duration::from_secs(30),
            ejection_percent: 30,
            readmission_interval: Duration::from_millis(100),
            known_functions: 1024,
        }
    }
}
