//! Gossip membership: what every node says of itself, and whether the failure detector hears from it, as one picture
//! behind a watch.
//!
//! Knows: chitchat (its only user), the gossip frame, how foreign words are read.
//! Does not know: the catalog, who votes, load; nothing here is agreed on, all of it is a hint.
mod cluster;
mod config;
mod error;
#[cfg(feature = "test-util")]
pub mod fake;
mod fold; // sightings -> view (pure)
mod frame; // one datagram: cluster id, checksum, payload (pure)
mod quiet; // one log line instead of a thousand
mod transport; // chitchat's sockets over the network seam
mod words; // what a node says, as keys and values (pure)

pub use self::{
    cluster::{Cluster, Link},
    config::Config,
    error::Error,
    words::Advertised,
};
