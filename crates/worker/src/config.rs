//! What an operator may set.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Limits of one node's worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Calls that compute at once: cores, and at least 2, because a slot is held for a moment before its call is on a
    /// core. A guest that waits for something gives its slot back meanwhile.
    pub slots: u32,
    /// Slots beyond those, which only a call of a namespace may take of which nothing computes: it does not wait for the
    /// calls of others, however busy they keep the node. The system shares the cores then.
    pub spare_slots: u32,
    /// Calls that are inside guests at once, whether they compute or wait.
    pub max_running: usize,
    /// How much of `max-running`, and of the queue, one function may hold, in percent, so that no function holds it all.
    pub function_share: u8,
    /// The same for all functions of a namespace together.
    pub namespace_share: u8,
    /// Calls that may wait. First tries are refused a tenth earlier, so that calls which were refused elsewhere find room.
    pub queue_calls: usize,
    /// Bytes of whole bodies that may wait.
    pub queue_bytes: ByteSize,
    /// A delay in a function's queue that is nobody's concern.
    #[serde(with = "humantime_serde")]
    pub delay_target: Duration,
    /// How long the delay may be above that before anybody asks whether the queue grows; one that does is turned around,
    /// newest first.
    #[serde(with = "humantime_serde")]
    pub delay_interval: Duration,
    /// How long a queue may grow before it is an overload. A burst that is over by then is served to its last call; of an
    /// overload only `overload-wait` is kept and the rest refused.
    #[serde(with = "humantime_serde")]
    pub overload_patience: Duration,
    /// A delay at which a queue that does not fall is an overload although it does not grow.
    #[serde(with = "humantime_serde")]
    pub delay_limit: Duration,
    /// How long calls may wait in the queue of a function of which more calls come than are served.
    #[serde(with = "humantime_serde")]
    pub overload_wait: Duration,
    /// How much of its memory the node may use before calls with a body are refused, in percent of the machine's memory or,
    /// if that is less, of its control group's. 0: never.
    pub memory_share: u8,
    /// How often memory is looked at.
    #[serde(with = "humantime_serde")]
    pub memory_interval: Duration,
    /// How long a call waits for a catalog that is older than the call, before it is refused as `behind`.
    #[serde(with = "humantime_serde")]
    pub catalog_wait: Duration,
    /// Versions that are kept ready; the one that was not used for longest goes first.
    pub prepared_versions: usize,
    /// How many of the newest functions are made ready ahead of their first call.
    pub prefetch: usize,
    /// Versions that are made ready at once.
    pub prepare_parallel: usize,
    /// How long making one version ready may take, its download included.
    #[serde(with = "humantime_serde")]
    pub prepare_timeout: Duration,
    /// How long a version that could not be made ready is refused before the next try; doubles with each failure.
    #[serde(with = "humantime_serde")]
    pub prepare_backoff: Duration,
    /// The longest that wait becomes.
    #[serde(with = "humantime_serde")]
    pub prepare_backoff_max: Duration,
    /// What functions wrote.
    pub logs: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            slots: u32::try_from(cores.max(2)).unwrap_or(u32::MAX),
            spare_slots: u32::try_from(cores).unwrap_or(u32::MAX),
            max_running: (64 * cores).clamp(256, 2_048),
            function_share: 75,
            namespace_share: 90,
            queue_calls: 10_000,
            queue_bytes: ByteSize::mib(64),
            delay_target: Duration::from_millis(5),
            delay_interval: Duration::from_millis(100),
            overload_patience: Duration::from_secs(1),
            delay_limit: Duration::from_secs(10),
            overload_wait: Duration::from_millis(20),
            memory_share: 85,
            memory_interval: Duration::from_millis(250),
            catalog_wait: Duration::from_millis(50),
            prepared_versions: 512,
            prefetch: 256,
            prepare_parallel: 2,
            prepare_timeout: Duration::from_secs(60),
            prepare_backoff: Duration::from_secs(1),
            prepare_backoff_max: Duration::from_secs(300),
            logs: LogConfig::default(),
        }
    }
}

/// Limits of the log that a node keeps in memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogConfig {
    /// Lines kept per function.
    pub lines: usize,
    /// Bytes of text kept per function.
    pub function_bytes: ByteSize,
    /// Bytes of text kept in all; the function that has been silent for longest is forgotten first.
    pub bytes: ByteSize,
    /// Functions that are remembered.
    pub functions: usize,
    /// Longer lines are cut, in bytes.
    pub line: usize,
    /// Lines that a reader who follows may be behind before it loses some.
    pub backlog: usize,
    /// Functions that are followed at once.
    pub followed: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            lines: 1_000,
            function_bytes: ByteSize::kib(256),
            bytes: ByteSize::mib(32),
            functions: 1_024,
            line: 8 << 10,
            backlog: 256,
            followed: 256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_their_names_and_strangers_are_refused() {
        let config: Config =
            serde_json::from_str(r#"{"queue-bytes": "1MiB", "catalog-wait": "10ms", "logs": {"lines": 5}}"#).unwrap();
        assert_eq!(config.queue_bytes, ByteSize::mib(1));
        assert_eq!((config.catalog_wait, config.logs.lines), (Duration::from_millis(10), 5));
        assert_eq!(config.queue_calls, 10_000);
        assert!(serde_json::from_str::<Config>(r#"{"queue": 1}"#).is_err());
    }
}
