//! Limits of a listener and of each of its connections.

use std::{num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};

/// Limits of a listener and of each of its connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Connections at once, and never more than half of the files that the process may open. For the next one, one
    /// that has no request is closed; where none is, it waits in the kernel's queue and costs no memory here.
    pub max_connections: NonZeroUsize,
    /// Connections at once from one address (IPv6: from one /64); one more is closed at once. Absent: three quarters of
    /// `max-connections`, so that nobody alone can take all places. Behind a load balancer set it to all of them.
    pub max_connections_per_ip: Option<NonZeroUsize>,
    /// Connections that wait in the kernel to be accepted. The kernel's `net.core.somaxconn` is a limit too.
    pub backlog: u32,
    /// How long a peer may be silent before the kernel asks whether it is still there; after three questions, 10
    /// seconds apart, without an answer the connection ends.
    #[serde(with = "humantime_serde")]
    pub tcp_keepalive: Duration,
    /// How long sent bytes may stay unacknowledged, or a full receiver stay full, before the kernel ends the connection.
    #[serde(with = "humantime_serde")]
    pub tcp_user_timeout: Duration,
    /// Bytes of replies that the kernel takes from us per connection beyond those that are on their way.
    pub tcp_unsent_bytes: u32,
    /// A request's head must be complete this long after its first byte, a new connection's after the connect.
    #[serde(with = "humantime_serde")]
    pub header_read_timeout: Duration,
    /// A connection without a request is closed after this long. Keep it above that of a load balancer in front.
    #[serde(with = "humantime_serde")]
    pub keep_alive_idle: Duration,
    /// A peer that takes no byte of a reply for this long is cut off.
    #[serde(with = "humantime_serde")]
    pub write_stall_timeout: Duration,
    /// A reply of which the peer takes less than `reply-min-rate` for this long is ended with its connection; it is
    /// seen after one to two times this long. Zero: no such limit.
    #[serde(with = "humantime_serde")]
    pub reply_stall_timeout: Duration,
    /// Bytes per second of each reply, while a piece of it waits, that a peer must take. Zero: any byte will do.
    pub reply_min_rate: u32,
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
    /// Requests that a peer may give up (reset) within `header-read-timeout` if those are at least half of what it
    /// asked; more is an attack and ends the connection (HTTP/2). Zero: no such limit.
    pub http2_max_resets: u32,
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
            backlog: 4_096,
            tcp_keepalive: Duration::from_secs(60),
            tcp_user_timeout: Duration::from_secs(30),
            tcp_unsent_bytes: 256 << 10,
            header_read_timeout: Duration::from_secs(10),
            keep_alive_idle: Duration::from_secs(75),
            write_stall_timeout: Duration::from_secs(30),
            reply_stall_timeout: Duration::from_secs(60),
            reply_min_rate: 240,
            max_headers: 100,
            max_header_bytes: 32 << 10,
            http2_max_header_list_bytes: 16 << 10,
            http2_max_streams: 128,
            http2_stream_window_bytes: 1 << 20,
            http2_connection_window_bytes: 4 << 20,
            http2_send_buffer_bytes: 256 << 10,
            http2_max_pending_resets: 20,
            http2_max_error_resets: 1_024,
            http2_max_resets: 500,
            http2_ping_interval: Duration::from_secs(20),
            http2_ping_timeout: Duration::from_secs(10),
            drain_grace: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// For traffic between nodes: many requests at once over few connections, with windows for bulk. A client that reads
    /// slowly or gives up is not the peer's fault: a connection that carries others' calls does not end for it.
    pub fn peers() -> Self {
        Self {
            max_connections: NonZeroUsize::MIN.saturating_add(4_095),
            tcp_unsent_bytes: 1 << 20,
            reply_stall_timeout: Duration::ZERO,
            http2_max_resets: 0,
            http2_max_streams: 10_000,
            http2_stream_window_bytes: 256 << 10,
            http2_connection_window_bytes: 1 << 30,
            http2_max_pending_resets: 1_000,
            http2_ping_interval: Duration::from_secs(10),
            http2_ping_timeout: Duration::from_secs(5),
            ..Self::default()
        }
    }

    /// For operators and their tools: few, patient, and not to be starved of open files by them.
    pub fn operators() -> Self {
        Self { max_connections: NonZeroUsize::MIN.saturating_add(2_047), ..Self::default() }
    }

    /// Connections that one address may have.
    pub(crate) fn per_ip(&self, all: usize) -> usize {
        self.max_connections_per_ip.map_or(all - all / 4, NonZeroUsize::get)
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
