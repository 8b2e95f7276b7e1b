//! A picture that tests paint, for those who only look at it.

use std::{net::SocketAddr, sync::Arc};

use onrush_types::{ClusterView, NodeAddresses, NodeId, NodeInfo, Roles};
use tokio::sync::watch;

/// A view that is set by hand.
pub struct FakeView {
    view: watch::Sender<Arc<ClusterView>>,
}

impl FakeView {
    /// The picture of node `me` with these nodes in it, all alive and ready.
    pub fn new(me: u64, nodes: impl IntoIterator<Item = u64>) -> Self {
        let nodes = nodes.into_iter().map(|id| (NodeId(id), Arc::new(node(id)))).collect();
        Self { view: watch::Sender::new(Arc::new(ClusterView { me: NodeId(me), nodes })) }
    }

    /// As `Cluster::view`.
    pub fn view(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.view.subscribe()
    }

    /// Adds or replaces a node.
    pub fn put(&self, info: NodeInfo) {
        self.view.send_modify(|view| {
            Arc::make_mut(view).nodes.insert(info.id, Arc::new(info));
        });
    }

    /// Changes a node, if it is there.
    pub fn change(&self, id: u64, change: impl FnOnce(&mut NodeInfo)) {
        self.view.send_modify(|view| {
            if let Some(node) = Arc::make_mut(view).nodes.get_mut(&NodeId(id)) {
                change(Arc::make_mut(node));
            }
        });
    }

    /// The failure detector's word.
    pub fn set_alive(&self, id: u64, alive: bool) {
        self.change(id, |node| node.alive = alive);
    }

    /// Forgets a node.
    pub fn remove(&self, id: u64) {
        self.view.send_modify(|view| {
            Arc::make_mut(view).nodes.remove(&NodeId(id));
        });
    }
}

/// A node that is alive and ready, with four slots and every role.
///
/// # Panics
/// Never: `node-N` is a name.
pub fn node(id: u64) -> NodeInfo {
    let port = u16::try_from(id % 10_000).unwrap_or(0) + 10_000;
    let address = |service| SocketAddr::from(([127, 0, 0, service], port));
    NodeInfo {
        id: NodeId(id),
        name: format!("node-{id}").parse().expect("node-N is a name"),
        addresses: NodeAddresses { gateway: address(1), api: address(2), peer: address(3) },
        roles: Roles::default(),
        slots: 4,
        speed: 100,
        zone: None,
        generation: 1,
        draining: false,
        ready: true,
        alive: true,
        version: "0.0.0".to_owned(),
    }
}
