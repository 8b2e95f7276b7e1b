//! The agreed catalog: `CatalogStore` over openraft, how a node finds its cluster, and who votes.
//!
//! Knows: Raft, the data directory, the rule of the seeds, when to add, promote or replace a member.
//! Does not know: how functions run, how members are seen alive (it is told), how connections are accepted.
//!
//! The way of a node: [`DataDir::open`] → [`Introduction`] served as [`join_service`] → [`find_identity`] →
//! [`Consensus::open`] → [`Consensus::services`] served → [`Consensus::run`] until it stops → [`Consensus::shutdown`].
mod bootstrap; // how a node gets its identity
mod commit; // `CatalogStore`: the way of a write and of a fresh read
mod config;
mod consensus; // the assembled thing: open, run, shut down, look inside
mod convert; // Raft's records to and from our own messages
mod forward; // the same through another node
mod identity; // the data directory
mod introduction; // what a node tells about itself before it belongs to anything
mod membership; // who shall be a learner, who shall vote
mod network; // Raft's calls to its peers
mod proposer; // collects proposals into entries, and sees them through
mod reads; // one confirmation for all fresh reads that wait
mod registration; // a node's own record in the catalog
mod seeds; // what the seeds' answers mean
mod service; // the other ends of `network` and `forward`
mod standing; // who leads, whether there is a quorum
pub mod storage; // log, vote, catalog and snapshot on disk
mod types;
mod waiting; // a proposal on its way, and whether it can be in the log
mod wire; // what a failed call to a peer proves

pub use self::{
    bootstrap::{Applicant, BootstrapError, find_identity},
    config::Config,
    consensus::{Consensus, Me, OpenError, Parts, RunError},
    identity::{DataDir, DirError, Founding, Identity},
    introduction::{Introduction, Joining, join_service},
    membership::formation_voters,
    storage::Storage,
};
