//! Settings of gossip.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of gossip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// How often a node gossips with three others. A dead node is noticed after about 4.4 of these, a young one after
    /// at most 8. Default `500ms`.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How many mean intervals of silence make a node dead. Default `8.0`.
    pub phi: f64,
    /// How long a dead node stays in the picture before it is forgotten. Default `15m`.
    #[serde(with = "humantime_serde")]
    pub dead_grace: Duration,
    /// How many nodes the picture holds; gossip digests go out whole, and beyond this their datagrams are too large.
    /// Default `500`.
    pub max_nodes: usize,
    /// How often seeds that are host names are looked up again. While no other node is alive, a tenth of it.
    /// Default `60s`.
    #[serde(with = "humantime_serde")]
    pub seed_refresh: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            phi: 8.0,
            dead_grace: Duration::from_secs(15 * 60),
            max_nodes: 500,
            seed_refresh: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// For a few nodes on one machine, where fast detection costs nothing: an interval of 200 ms.
    pub fn local() -> Self {
        Self { interval: Duration::from_millis(200), ..Self::default() }
    }

    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.interval < Duration::from_millis(10) || self.interval > Duration::from_secs(60) {
            return Some("interval must be between 10ms and 60s");
        }
        if !(1.0..=100.0).contains(&self.phi) {
            return Some("phi must be between 1 and 100");
        }
        if self.dead_grace < self.interval * 20 {
            return Some("dead-grace must be at least 20 intervals");
        }
        if self.seed_refresh < Duration::from_secs(1) {
            return Some("seed-refresh must be at least 1s");
        }
        (self.max_nodes == 0).then_some("max-nodes must be at least 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_sound_and_read_back() {
        for config in [Config::default(), Config::local()] {
            assert_eq!(config.problem(), None);
            let text = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        }
        assert!(toml::from_str::<Config>("intervall = \"1s\"").is_err());
    }

    #[test]
    fn nonsense_is_named() {
        let wrong = Config { phi: f64::NAN, ..Config::default() };
        assert!(wrong.problem().unwrap().contains("phi"));
        let wrong = Config { interval: Duration::ZERO, ..Config::default() };
        assert!(wrong.problem().unwrap().contains("interval"));
    }
}
