//! What can go wrong with gossip.

use std::{io, net::SocketAddr};

/// Why gossip does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the port.
    #[error("UDP port {0} is in use: another process gossips there; stop it or choose another peer address")]
    PortInUse(SocketAddr),
    /// The address cannot be bound for another reason.
    #[error("cannot bind UDP {address} for gossip: {source}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// The operating system's words.
        source: io::Error,
    },
    /// A setting, or what the node says of itself, makes no sense.
    #[error("gossip cannot start: {0}")]
    Invalid(String),
    /// Gossip could not start.
    #[error("gossip could not start: {0}")]
    Start(String),
    /// Gossip ended by itself. A node without gossip must not go on: others would take it for dead while it serves.
    #[error("gossip died: {0}; the node must be restarted")]
    Died(String),
}
