//! Limits of a listener and of each of its connections.

use std::{num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};

/// Limits of a listener and of each of its connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Connections at once. The next one waits in the kernel's queue: it is not accepted, so it costs no memory here.
    pub max_connections: NonZeroUsize,
    /// Connections at once from one address; absent = no cap of its own. Behind a load balancer leave it out.
    pub max_connections_per_ip: Option<NonZeroUsize>,
    /// A request's head must be complete this long after its first byte, a new connection's after the connect.
    #[serde(with = "humantime_serde")]
    pub header_read_timeout: Duration,
    /// A connection without a request is closed after this long. Keep it above that of a load balancer in front.
    #[serde(with = "humantime_serde")]
    pub keep_alive_idle: Duration,
    /// A peer that takes no byte of a reply for this long is cut off.
    #[serde(with = "humantime_serde")]
    pub write_stall_timeout: Duration,
    /// Headers of a request (HTTP/1.1). Other values than 100 cost an allocation per request.
    pub max_headers: usize,
    /// Bytes of a request's head, and of the read buffer (HTTP/1.1). At least 8192.
    pub max_header_bytes: usize,
    /// Bytes of a request's header list (HTTP/2).
    pub http2_max_header_list_bytes: u32,
    /// Requests at once on one connection (HTTP/2).
    pub http2_max_streams: u32,
    /// Bytes in flight to us per request (HTTP/2).
    pub http2_stream_window_bytes: u32,
    /// Bytes in flight to us per connection (HTTP/2).
    pub http2_connection_window_bytes: u32,
    /// Bytes of a reply that wait in memory per request (HTTP/2).
    pub http2_send_buffer_bytes: usize,
    /// Requests that a peer may reset before we have seen them; more is an attack and ends the connection (HTTP/2).
    pub http2_max_pending_resets: usize,
    /// Requests that we may reset for a peer's faults; more is an attack and ends the connection (HTTP/2).
    pub http2_max_error_resets: usize,
    /// How often a silent peer is pinged (HTTP/2).
    #[serde(with = "humantime_serde")]
    pub http2_ping_interval: Duration,
    /// How long an answer to a ping may take (HTTP/2).
    #[serde(with = "humantime_serde")]
    pub http2_ping_timeout: Duration,
    /// How long a drain waits for requests in flight before it cuts them off.
    #[serde(with = "humantime_serde")]
    pub drain_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: NonZeroUsize::MIN.saturating_add(16_383),
            max_connections_per_ip: None,
            header_read_timeout: Duration::from_secs(10),
            keep_alive_idle: Duration::from_secs(75),
            write_stall_timeout: Duration::from_secs(30),
            max_headers: 100,
            max_header_bytes: 32 << 10,
            http2_max_header_list_bytes: 16 << 10,
            http2_max_streams: 128,
            http2_stream_window_bytes: 1 << 20,
            http2_connection_window_bytes: 4 << 20,
            http2_send_buffer_bytes: 256 << 10,
            http2_max_pending_resets: 20,
            http2_max_error_resets: 1_024,
            http2_ping_interval: Duration::from_secs(20),
            http2_ping_timeout: Duration::from_secs(10),
            drain_grace: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// For traffic between nodes: many requests at once over few connections, with windows for bulk.
    pub fn peers() -> Self {
        Self {
            http2_max_streams: 10_000,
            http2_stream_window_bytes: 256 << 10,
            http2_connection_window_bytes: 1 << 30,
            http2_max_pending_resets: 1_000,
            http2_ping_interval: Duration::from_secs(10),
            http2_ping_timeout: Duration::from_secs(5),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_reads_back_and_a_misspelt_field_is_refused() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        let some: Config = toml::from_str("max-connections-per-ip = 3\nheader-read-timeout = \"2s\"").unwrap();
        assert_eq!(some.header_read_timeout, Duration::from_secs(2));
        assert!(toml::from_str::<Config>("max-conections = 3").is_err());
    }
}
