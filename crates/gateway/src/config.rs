//! Limits and trust of the gateway.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Limits and trust of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Limits of the listener and its connections.
    pub server: onrush_server::Config,
    /// Proxies whose `forwarded` and `x-forwarded-*` headers are believed, as networks (`10.0.0.0/8`) or addresses.
    pub trusted_proxies: Vec<Cidr>,
    /// The largest request body, in bytes; absent = no limit.
    pub body_limit: Option<u64>,
    /// A body up to this many bytes is read before the call, so that the call can be repeated elsewhere; larger ones
    /// and those of unknown length stream. The same for a reply that is there at once.
    pub whole_body_bytes: u64,
    /// A client that sends no byte of a body for this long is refused.
    #[serde(with = "humantime_serde")]
    pub body_idle_timeout: Duration,
    /// Bytes per second that a client must send of a body, looked at whenever it has been waited for as long as
    /// `body-idle-timeout` in all. Zero: any byte will do.
    pub body_min_rate: u32,
    /// A streaming function's reply ends after this long without a byte, be it the function or the client that is slow.
    #[serde(with = "humantime_serde")]
    pub stream_idle_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: onrush_server::Config::default(),
            trusted_proxies: Vec::new(),
            body_limit: None,
            whole_body_bytes: 64 << 10,
            body_idle_timeout: Duration::from_secs(30),
            body_min_rate: 240,
            stream_idle_timeout: Duration::from_secs(60),
        }
    }
}

impl Config {
    pub(crate) fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|proxies| proxies.contains(ip))
    }
}

/// A network of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(IpNet);

impl Cidr {
    /// Whether the address is one of them. An IPv4 address in IPv6 clothes is an IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(Self)
            .map_err(|_| format!("{text:?} is no network: write \"10.0.0.0/8\", \"fd00::/8\" or one address"))
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_reads_back_and_wrong_networks_are_named() {
        let mut config = Config::default();
        config.trusted_proxies.push("10.0.0.0/8".parse().unwrap());
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        let error = toml::from_str::<Config>("trusted-proxies = [\"10.0.0.0/99\"]").unwrap_err();
        assert!(error.to_string().contains("10.0.0.0/99"));
    }

    #[test]
    fn trust_is_by_network() {
        let config = Config { trusted_proxies: vec!["10.1.0.0/16".parse().unwrap()], ..Config::default() };
        assert!(config.trusts("10.1.2.3".parse().unwrap()));
        assert!(config.trusts("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!config.trusts("10.2.0.1".parse().unwrap()));
    }
}
