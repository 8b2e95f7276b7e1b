//! What is known of a client before it asks: made once per connection, used by each of its requests.

use std::net::IpAddr;

use http::HeaderValue;
use onrush_server::Peer;

use crate::Config;

/// A client's connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Its address; an IPv4 address is one, also on an IPv6 socket.
    pub(crate) address: IpAddr,
    /// The same, for `x-forwarded-for`.
    pub(crate) ip: HeaderValue,
    /// Whether what it says of others is believed.
    pub(crate) trusted: bool,
}

impl Client {
    pub(crate) fn new(config: &Config, Peer(address): Peer) -> Self {
        let ip = address.ip().to_canonical();
        let text = HeaderValue::try_from(ip.to_string());
        let text = text.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { address: ip, ip: text, trusted: config.trusts(ip) }
    }
}
