//! Settings of the store of artifacts.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Settings of the store of artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The largest artifact. Default `64MiB`.
    pub max_artifact: ByteSize,
    /// All artifacts on this node, unfinished uploads included. Default `16GiB`.
    pub max_total: ByteSize,
    /// Uploads at once, from clients and peers; more are refused. Default `16`.
    pub max_uploads: usize,
    /// Pulls from peers at once; more wait. Default `4`.
    pub max_pulls: usize,
    /// Copies to peers at once; more wait. Default `8`.
    pub max_pushes: usize,
    /// Streams that read local copies at once, for peers and pushes; more are refused. Default `32`.
    pub max_reads: usize,
    /// Bytes per piece when a local copy is read. Default `256KiB`.
    pub chunk: ByteSize,
    /// How long a sender may be silent. Default `15s`.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// How long one pull may take, all peers that are tried included. Default `60s`.
    #[serde(with = "humantime_serde")]
    pub pull_timeout: Duration,
    /// How many peers are tried for one pull. Default `8`.
    pub pull_attempts: usize,
    /// On how many nodes an artifact should be, where there are as many. Default `3`.
    pub copies: usize,
    /// Pull the newest version of every function to this node before it is called. Default `false`.
    pub prefetch: bool,
    /// How often the copies are checked; a change of the catalog is looked at within `repair-pause`. Default `30s`.
    #[serde(with = "humantime_serde")]
    pub repair_interval: Duration,
    /// The least time between two checks. Default `1s`.
    #[serde(with = "humantime_serde")]
    pub repair_pause: Duration,
    /// How long a blob is kept after its last use when no version refers to it. Default `1h`.
    #[serde(with = "humantime_serde")]
    pub collect_after: Duration,
    /// How many damaged blobs are kept for inspection. Default `8`.
    pub quarantine: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_artifact: ByteSize::mib(64),
            max_total: ByteSize::gib(16),
            max_uploads: 16,
            max_pulls: 4,
            max_pushes: 8,
            max_reads: 32,
            chunk: ByteSize::kib(256),
            idle: Duration::from_secs(15),
            pull_timeout: Duration::from_secs(60),
            pull_attempts: 8,
            copies: 3,
            prefetch: false,
            repair_interval: Duration::from_secs(30),
            repair_pause: Duration::from_secs(1),
            collect_after: Duration::from_secs(60 * 60),
            quarantine: 8,
        }
    }
}

impl Config {
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let counts = [self.max_uploads, self.max_pulls, self.max_pushes, self.max_reads, self.pull_attempts];
        if counts.contains(&0) || self.copies == 0 {
            return Some("max-uploads, max-pulls, max-pushes, max-reads, pull-attempts and copies must be at least 1");
        }
        if self.max_artifact.0 == 0 || self.max_artifact > self.max_total {
            return Some("max-artifact must be at least 1 byte and at most max-total");
        }
        if !(1 << 10..=2 << 20).contains(&self.chunk.0) {
            return Some("chunk must be between 1KiB and 2MiB");
        }
        let times = [self.idle, self.pull_timeout, self.repair_interval];
        times.contains(&Duration::ZERO).then_some("idle, pull-timeout and repair-interval must not be 0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_sound_and_read_back() {
        let config = Config::default();
        assert_eq!(config.problem(), None);
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
        assert_eq!(toml::from_str::<Config>("max-artifact = \"1MiB\"").unwrap().max_artifact, ByteSize::mib(1));
        assert!(toml::from_str::<Config>("max-artefact = 1").is_err());
    }

    #[test]
    fn nonsense_is_named() {
        let wrong = Config { max_artifact: ByteSize::tib(1), ..Config::default() };
        assert!(wrong.problem().unwrap().contains("max-artifact"));
    }
}
