//! The store of artifacts on one node: blobs named by their sha256, taken in, kept safe on a majority of the voters,
//! pulled from others on demand, repaired to three nodes, collected when nobody refers to them any more.
//!
//! Knows: the directory of blobs, who should hold which, which the catalog refers to.
//! Does not know: gRPC, Raft, gossip, what is in a blob.
mod blobs; // the directory, and what is in it
mod config;
mod error;
#[cfg(any(test, feature = "test-util"))]
pub mod fake;
mod fetch; // pull from peers, once per blob
mod intake; // a stream of bytes -> a blob
mod plan; // catalog + view -> what this node should hold (pure)
mod repair; // the loop that brings it about, and collects what nobody needs
mod secure; // a majority of the voters
mod store;

pub use self::{
    config::Config,
    error::Error,
    store::{Links, Store},
};
