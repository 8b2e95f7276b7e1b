//! What is known of a client before it asks: made once per connection, used by each of its requests.

use http::HeaderValue;
use onrush_server::Peer;

use crate::Config;

/// A client's connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Its address, for `x-forwarded-for`.
    pub(crate) ip: HeaderValue,
    /// Whether what it says of others is believed.
    pub(crate) trusted: bool,
}

impl Client {
    pub(crate) fn new(config: &Config, Peer(address): Peer) -> Self {
        let ip = address.ip().to_canonical();
        let text = HeaderValue::try_from(ip.to_string());
        Self { ip: text.unwrap_or_else(|_| HeaderValue::from_static("unknown")), trusted: config.trusts(ip) }
    }
}
