//! What operators ask of the cluster as a whole, and what a node does about it by itself.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, future::join_all, stream::SelectAll};
use onrush_catalog::{
    Catalog, ClusterStatus, ControlError, LogQuery, LogStreamOf, NodeControl, NodeRecord, NodeStatus,
};
use onrush_cluster::Cluster;
use onrush_consensus::Consensus;
use onrush_proto::control::{ControlClient, LocalNode};
use onrush_types::{ClusterView, Code, NodeId, Revision};
use onrush_worker::Worker;
use tokio::sync::watch;

use crate::health::{Health, Phase};

/// How long a node may take to begin with its lines.
const LOGS_PATIENCE: Duration = Duration::from_secs(3);

/// What this node does when it, or a peer, is asked.
pub(crate) struct Myself {
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) health: Health,
    /// How long the others may take to hear that this node drains.
    pub(crate) drain_notice: Duration,
    pub(crate) catalog: watch::Receiver<Arc<Catalog>>,
}

#[async_trait]
impl LocalNode for Myself {
    async fn set_draining(&self, draining: bool) {
        if !self.health.change_draining(draining) {
            return;
        }
        self.cluster.set_draining(draining);
        if draining {
            // The others hear of it by gossip; until they have, this node takes what they send.
            tokio::time::sleep(self.drain_notice).await;
            if self.health.is(&Phase::Draining) {
                self.worker.drain();
            }
        } else {
            self.worker.undrain();
        }
    }

    async fn await_revision(&self, revision: Revision, timeout: Duration) -> Revision {
        self.consensus.await_revision(revision, timeout).await
    }

    fn logs(&self, query: &LogQuery) -> LogStreamOf {
        self.worker.logs(query)
    }
}

/// Carries out what operators ask, on this node or on another.
pub(crate) struct Control {
    pub(crate) myself: Arc<Myself>,
    pub(crate) me: NodeId,
    pub(crate) view: watch::Receiver<Arc<ClusterView>>,
    pub(crate) peers: ControlClient,
}

#[async_trait]
impl NodeControl for Control {
    fn status(&self) -> ClusterStatus {
        let catalog = self.myself.catalog.borrow().clone();
        let seen = Seen {
            view: self.view.borrow().clone(),
            voters: self.myself.consensus.voters().borrow().clone(),
            leader: self.myself.consensus.leader(),
            quorum: self.myself.consensus.has_quorum(),
        };
        status_of(&catalog, &seen, self.me)
    }

    async fn set_draining(&self, node: NodeId, draining: bool) -> Result<(), ControlError> {
        if node == self.me {
            self.myself.set_draining(draining).await;
            return Ok(());
        }
        self.known(node)?;
        self.peers.set_draining(node, draining).await
    }

    async fn laggards(&self, revision: Revision, timeout: Duration) -> Vec<NodeId> {
        let view = self.view.borrow().clone();
        let members = self.myself.catalog.borrow().clone();
        let live = view.alive().map(|node| node.id).filter(|id| members.nodes.contains_key(id));
        let asked = live.map(|id| async move {
            let reached = if id == self.me {
                Ok(self.myself.await_revision(revision, timeout).await)
            } else {
                self.peers.await_revision(id, revision, timeout).await
            };
            reached.is_ok_and(|reached| reached >= revision).then_some(()).ok_or(id)
        });
        join_all(asked).await.into_iter().filter_map(Result::err).collect()
    }

    async fn logs(&self, query: LogQuery) -> Result<LogStreamOf, ControlError> {
        let view = self.view.borrow().clone();
        let mut lines = SelectAll::new();
        lines.push(self.myself.logs(&query));
        let others = view.alive().map(|node| node.id).filter(|id| *id != self.me);
        let asked = others.map(|id| {
            let query = &query;
            async move { (id, tokio::time::timeout(LOGS_PATIENCE, self.peers.logs(id, query)).await) }
        });
        for (id, answer) in join_all(asked).await {
            let theirs = answer.unwrap_or_else(|_| {
                let why = format!("node {id} did not answer within {LOGS_PATIENCE:?}; its lines are missing");
                Err(ControlError { code: Code::DeadlineExceeded, why })
            });
            // The other nodes' lines are still worth having; the reader learns whose are missing.
            lines.push(theirs.unwrap_or_else(|error| futures::stream::iter([Err(error)]).boxed()));
        }
        Ok(lines.boxed())
    }
}

impl Control {
    fn known(&self, node: NodeId) -> Result<(), ControlError> {
        if self.myself.catalog.borrow().nodes.contains_key(&node) {
            return Ok(());
        }
        let why = format!("there is no node {node}; `onrush node list` shows those there are");
        Err(ControlError { code: Code::NotFound, why })
    }
}

/// What is observed rather than agreed.
struct Seen {
    view: Arc<ClusterView>,
    voters: Arc<BTreeSet<NodeId>>,
    leader: Option<NodeId>,
    quorum: bool,
}

fn status_of(catalog: &Catalog, seen: &Seen, me: NodeId) -> ClusterStatus {
    ClusterStatus {
        cluster: catalog.cluster.as_ref().map(|cluster| cluster.id),
        leader: seen.leader,
        revision: catalog.revision,
        quorum: seen.quorum,
        voters: catalog.cluster.as_ref().map_or(0, |cluster| cluster.voters),
        answered_by: me,
        nodes: catalog.nodes.values().map(|record| node_status(record, seen)).collect(),
    }
}

fn node_status(record: &NodeRecord, seen: &Seen) -> NodeStatus {
    let info = seen.view.get(record.id);
    NodeStatus {
        id: record.id,
        name: record.name.clone(),
        gateway: info.map(|info| info.addresses.gateway),
        api: info.map(|info| info.addresses.api),
        peer: record.peer.clone(),
        alive: info.is_some_and(|info| info.alive),
        ready: info.is_some_and(|info| info.alive && info.ready),
        voter: seen.voters.contains(&record.id),
        leader: seen.leader == Some(record.id),
        draining: info.is_some_and(|info| info.draining),
        cordoned: record.cordoned,
        roles: record.roles,
        zone: info.and_then(|info| info.zone.clone()),
        version: info.map(|info| info.version.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use onrush_catalog::{Command, Proposal};
    use onrush_types::{ClusterId, RequestId, Roles};

    use super::*;

    #[test]
    fn a_node_that_gossip_has_not_heard_of_is_listed_as_dead() {
        let mut catalog = Catalog::default();
        let command = Command::FormCluster {
            cluster: ClusterId::new(),
            voters: 3,
            name: "a".parse().unwrap(),
            peer: "127.0.0.1:7071".into(),
            roles: Roles::default(),
        };
        catalog.apply(&Proposal { request: RequestId::new(), at_ms: 0, command });
        let seen = Seen {
            view: Arc::new(ClusterView::empty(NodeId(1))),
            voters: Arc::new([NodeId(1)].into()),
            leader: Some(NodeId(1)),
            quorum: true,
        };
        let status = status_of(&catalog, &seen, NodeId(1));
        assert_eq!(status.voters, 3);
        assert_eq!(status.nodes.len(), 1);
        let node = &status.nodes[0];
        assert!(node.voter && node.leader && !node.alive && !node.ready && node.gateway.is_none());
    }
}
