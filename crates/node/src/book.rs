//! The address book: where a node listens for peers, by its id.

use std::sync::{Arc, OnceLock};

use onrush_catalog::Catalog;
use onrush_proto::peers::FindPeer;
use onrush_types::{ClusterView, NodeId};
use tokio::sync::watch;

/// Gossip's address first: it is what the node says of itself now. The catalog's otherwise: it is what the node last
/// registered, and all there is after a restart of everybody.
pub(crate) struct AddressBook {
    view: watch::Receiver<Arc<ClusterView>>,
    catalog: OnceLock<watch::Receiver<Arc<Catalog>>>,
}

impl AddressBook {
    pub(crate) fn new(view: watch::Receiver<Arc<ClusterView>>) -> Arc<Self> {
        Arc::new(Self { view, catalog: OnceLock::new() })
    }

    /// From now on the catalog can be asked as well.
    pub(crate) fn add(&self, catalog: watch::Receiver<Arc<Catalog>>) {
        // There is one catalog in a node's life; a second call changes nothing.
        let _first = self.catalog.set(catalog);
    }
}

impl FindPeer for AddressBook {
    fn find(&self, node: NodeId) -> Option<String> {
        if let Some(info) = self.view.borrow().get(node) {
            return Some(info.addresses.peer.to_string());
        }
        self.catalog.get()?.borrow().nodes.get(&node).map(|record| record.peer.clone())
    }
}
