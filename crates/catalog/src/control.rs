//! What operators ask of the cluster as a whole; the seam between the API and the node that carries it out.

use std::{net::SocketAddr, pin::Pin, time::Duration};

use async_trait::async_trait;
use futures::Stream;
use onrush_types::{ClusterId, Code, FunctionName, Label, LogLine, NodeId, Revision, Roles};
use serde::Serialize;

/// The cluster as one node sees it now: agreed facts from its own catalog, observed ones from gossip. Needs no quorum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    /// The cluster's id; none before it is formed.
    pub cluster: Option<ClusterId>,
    /// The leader, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The revision of this node's catalog.
    pub revision: Revision,
    /// Whether this node heard from a leader with a quorum lately: whether writes can succeed.
    pub quorum: bool,
    /// How many nodes shall vote.
    pub voters: u8,
    /// The node that answers.
    pub answered_by: NodeId,
    /// Every node of the catalog, by id.
    pub nodes: Vec<NodeStatus>,
}

/// One node of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: Label,
    /// Where it takes function traffic; none while gossip has not heard of it.
    pub gateway: Option<SocketAddr>,
    /// Where its API listens.
    pub api: Option<SocketAddr>,
    /// Where it listens for peers, as it last registered.
    pub peer: String,
    /// The failure detector hears from it.
    pub alive: bool,
    /// It serves.
    pub ready: bool,
    /// It votes.
    pub voter: bool,
    /// It leads.
    pub leader: bool,
    /// It takes nothing new.
    pub draining: bool,
    /// It shall not be used.
    pub cordoned: bool,
    /// What it does.
    pub roles: Roles,
    /// Where it stands.
    pub zone: Option<String>,
    /// Its program's version.
    pub version: String,
}

/// Why an operator's wish failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ControlError {
    /// In the words that clients see.
    pub code: Code,
    /// What is wrong and what to do.
    pub why: String,
}

/// Which lines of a function's log are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Whose.
    pub function: FunctionName,
    /// At most so many old lines per node, the newest.
    pub tail: u32,
    /// Go on with new lines as they come.
    pub follow: bool,
}

/// Lines from every node that is alive, as they come.
pub type LogStreamOf = Pin<Box<dyn Stream<Item = Result<LogLine, ControlError>> + Send>>;

/// Carries out what operators ask.
#[async_trait]
pub trait NodeControl: Send + Sync {
    /// The cluster as this node sees it.
    fn status(&self) -> ClusterStatus;

    /// Tells a node to take nothing new and to finish what it has, or to serve again. Returns when it has heard.
    ///
    /// # Errors
    /// An unknown or unreachable node.
    async fn set_draining(&self, node: NodeId, draining: bool) -> Result<(), ControlError>;

    /// Waits until every live node has applied `revision`; returns those that have not when the time is over.
    async fn laggards(&self, revision: Revision, timeout: Duration) -> Vec<NodeId>;

    /// A function's log lines from all nodes.
    ///
    /// # Errors
    /// None at the start today; a stream's items may fail.
    async fn logs(&self, query: LogQuery) -> Result<LogStreamOf, ControlError>;
}
