//! View and catalog -> candidates. Computed when one of the two changes, not per call.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use onrush_catalog::{Catalog, serves, share_of_cap};
use onrush_types::{ClusterView, FunctionName, NodeId, NodeInfo};
use tokio::sync::watch;

use crate::{node::Node, policy::Capacity};

/// What is watched: who is there, and what the cluster agreed on.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) view: watch::Receiver<Arc<ClusterView>>,
    pub(crate) catalog: watch::Receiver<Arc<Catalog>>,
}

impl Watched {
    /// Whether there is something newer than what was last taken. Reads two numbers and writes nothing: calls on all
    /// threads ask this.
    pub(crate) fn has_changed(&self) -> bool {
        self.view.has_changed().unwrap_or(false) || self.catalog.has_changed().unwrap_or(false)
    }
}

/// A node that calls may be given to.
pub(crate) struct Endpoint {
    pub(crate) node: Arc<Node>,
    /// Calls that can compute at once there.
    pub(crate) slots: f64,
}

/// All of them, and what they were made from.
pub(crate) struct Endpoints {
    /// As it was seen when these were made.
    pub(crate) watched: Watched,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) list: Vec<Endpoint>,
    /// Ids as in `list`, for the division of caps.
    ids: Vec<NodeId>,
    /// Of each of `list`, for sampling.
    capacities: Capacity,
    /// Where this node is in `list`.
    pub(crate) here: Option<usize>,
}

impl Endpoints {
    /// `node` makes or finds what is known of a node.
    pub(crate) fn new(mut watched: Watched, mut node: impl FnMut(NodeId) -> Option<Arc<Node>>) -> Self {
        let view = watched.view.borrow_and_update().clone();
        let catalog = watched.catalog.borrow_and_update().clone();
        let serving = view.nodes.values().filter(|info| serves(info, &catalog));
        let found: Vec<_> = serving.filter_map(|info| Some((info, node(info.id)?))).collect();
        let capacity = |info: &NodeInfo| u64::from(info.slots.max(1)) * u64::from(info.speed.max(1));
        let capacities = Capacity::new(found.iter().map(|(info, _)| capacity(info)));
        let here = found.iter().position(|(info, _)| info.id == view.me);
        let ids = found.iter().map(|(info, _)| info.id).collect();
        let list = found.into_iter().map(|(info, node)| {
            node.speed.store(info.speed.max(1), Relaxed);
            Endpoint { node, slots: f64::from(info.slots.max(1)) }
        });
        let list = list.collect();
        Self { watched, catalog, list, ids, capacities, here }
    }

    /// One of them, by capacity. None if there are none.
    pub(crate) fn sample(&self, random: u64) -> Option<usize> {
        self.capacities.sample(random)
    }

    /// Whether this node runs a part of a function that has `cap` calls in the whole cluster. Where there are at least
    /// as many calls as nodes, each does.
    pub(crate) fn has_share(&self, index: usize, function: &FunctionName, cap: u32) -> bool {
        let enough = usize::try_from(cap).is_ok_and(|cap| cap >= self.ids.len());
        enough || self.ids.get(index).is_some_and(|id| share_of_cap(cap, function, &self.ids, *id) > 0)
    }
}

/// What is known of the nodes of a view; the others are forgotten.
pub(crate) fn forget_strangers(nodes: &mut BTreeMap<NodeId, Arc<Node>>, view: &ClusterView) {
    nodes.retain(|id, _| view.nodes.contains_key(id) || *id == view.me);
}

#[cfg(test)]
mod tests {
    use onrush_catalog::NodeRecord;
    use onrush_invoke::fake::FakeInvoke;
    use onrush_types::{NodeAddresses, Roles};

    use super::*;

    fn info(id: u64, change: impl FnOnce(&mut NodeInfo)) -> Arc<NodeInfo> {
        let any = "127.0.0.1:1".parse().unwrap();
        let mut info = NodeInfo {
            id: NodeId(id),
            name: format!("n-{id}").parse().unwrap(),
            addresses: NodeAddresses { gateway: any, api: any, peer: any },
            roles: Roles::default(),
            slots: 2,
            speed: 100,
            zone: None,
            generation: 1,
            draining: false,
            ready: true,
            alive: true,
            version: String::new(),
        };
        change(&mut info);
        Arc::new(info)
    }

    fn endpoints(infos: Vec<Arc<NodeInfo>>, catalog: &Catalog) -> Endpoints {
        let nodes = infos.into_iter().map(|info| (info.id, info)).collect();
        let view = Arc::new(ClusterView { me: NodeId(1), nodes });
        let (view, catalog) = (watch::Sender::new(view), watch::Sender::new(Arc::new(catalog.clone())));
        let watched = Watched { view: view.subscribe(), catalog: catalog.subscribe() };
        Endpoints::new(watched, |id| Some(Node::new(id, FakeInvoke::new(), None, 0.0)))
    }

    #[test]
    fn only_nodes_that_serve_are_candidates() {
        let mut catalog = Catalog::default();
        let record = NodeRecord {
            id: NodeId(7),
            name: "n-7".parse().unwrap(),
            peer: String::new(),
            roles: Roles::default(),
            cordoned: true,
        };
        catalog.nodes.insert(NodeId(7), Arc::new(record));
        let infos = vec![
            info(1, |_| {}),
            info(2, |info| info.alive = false),
            info(3, |info| info.ready = false),
            info(4, |info| info.draining = true),
            info(5, |info| info.roles.worker = false),
            info(6, |_| {}),
            info(7, |_| {}),
        ];
        let endpoints = endpoints(infos, &catalog);
        assert_eq!(endpoints.ids, [NodeId(1), NodeId(6)]);
        assert_eq!(endpoints.here, Some(0));
    }

    #[test]
    fn sampling_follows_capacity() {
        let infos = vec![info(1, |info| info.slots = 1), info(2, |info| info.slots = 3)];
        let endpoints = endpoints(infos, &Catalog::default());
        let hits = (0..400).filter(|random| endpoints.sample(*random) == Some(1)).count();
        assert_eq!(hits, 300);
        assert_eq!(self::endpoints(Vec::new(), &Catalog::default()).sample(7), None);
    }
}
