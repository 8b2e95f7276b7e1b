//! What the cluster agrees on: nodes, functions and their versions, routes; and the pure rules that change it.
//!
//! Knows: every command, what it does to the catalog and when it is refused.
//! Does not know: how agreement is reached, how bytes are written, the clock.
mod apply;
mod artifact;
mod command;
mod control;
#[cfg(feature = "test-util")]
pub mod fake;
mod placement;
mod state;
mod store;

pub use self::{
    artifact::{ArtifactError, ArtifactPeers, ArtifactStore, ByteStream},
    command::{Command, Committed, Outcome, Proposal, Refusal},
    control::{ClusterStatus, ControlError, LogQuery, LogStreamOf, NodeControl, NodeStatus},
    placement::{owner_of, serves, serving, share_of_cap},
    state::{
        Catalog, ClusterIdentity, Function, FunctionVersion, NodeRecord, REQUESTS_REMEMBERED, ROUTES_IN_ALL,
        ROUTES_PER_NAMESPACE, Route, VERSIONS_KEPT,
    },
    store::{CatalogStore, CommitError},
};
