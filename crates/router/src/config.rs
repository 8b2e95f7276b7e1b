//! What an operator may set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How calls are placed, and when they move.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What a call to another node costs more than one on this node.
    #[serde(with = "humantime_serde")]
    pub hop: Duration,
    /// How long a call takes, before any has been seen.
    #[serde(with = "humantime_serde")]
    pub service: Duration,
    /// Other nodes that are looked at per call.
    pub sampled: usize,
    /// The same in clusters of more than 200 nodes.
    pub sampled_large: usize,
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hop: Duration::from_micros(300),
            service: Duration::from_millis(1),
            sampled: 2,
            sampled_large: 3,
            retry_percent: 10,
            retry_per_second: 10,
            connect_tries: 3,
            least_remaining: Duration::from_millis(2),
            ejection_failures: 5,
            ejection: Duration::from_secs(1),
            ejection_max: Duration::from_secs(30),
            ejection_percent: 30,
        }
    }
}
