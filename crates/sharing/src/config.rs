//! What an operator may set. What one route shares is the affair of its filters.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Limits of sharing. They hold once for what is shared among the calls of a gateway, and once more for what is shared
/// in the whole cluster by the node that owns its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Bytes of kept replies, heads and bookkeeping included.
    pub cache_bytes: ByteSize,
    /// Bytes of replies that are being collected, kept or not. A reply that finds no room is passed on and not shared.
    pub collecting_bytes: ByteSize,
    /// Executions at once that others may wait for. A call that finds no room runs by itself.
    pub executions: usize,
    /// Keys at once whose replies turned out not to be shareable.
    pub marks: u64,
    /// How long such a key is passed through where the route has no cache that says so.
    #[serde(with = "humantime_serde")]
    pub pass_for: Duration,
    /// A call that has waited for this many executions, one after the other, which all failed, is answered with the last
    /// failure instead of becoming one more.
    pub failed_leaders: u32,
    /// Refreshes in the background at once. Where there is no room, the next call tries again.
    pub refreshes: usize,
    /// After a refresh that failed, how long a stale reply that may stand in does so before the next try.
    #[serde(with = "humantime_serde")]
    pub retry_pause: Duration,
    /// How long a stale reply that can be validated is kept.
    #[serde(with = "humantime_serde")]
    pub keep_stale: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_bytes: ByteSize::mib(256),
            collecting_bytes: ByteSize::mib(64),
            executions: 16_384,
            marks: 100_000,
            pass_for: Duration::from_secs(10),
            failed_leaders: 3,
            refreshes: 256,
            retry_pause: Duration::from_secs(1),
            keep_stale: Duration::from_secs(600),
        }
    }
}
