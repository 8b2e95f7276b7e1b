//! Keeps the routes in step with the catalog, and the count of gateways in step with the cluster, away from requests.

use std::{sync::Arc, time::Duration};

use onrush_catalog::Catalog;
use onrush_filters::Gateways;
use onrush_types::ClusterView;
use tokio::sync::watch;

use crate::routes::Table;

/// How long a request waits for routes that the catalog has already. Building them takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// The routes of this moment.
pub(crate) struct Routing {
    catalog: watch::Receiver<Arc<Catalog>>,
    view: watch::Receiver<Arc<ClusterView>>,
    table: watch::Sender<Arc<Table>>,
    gateways: Gateways,
}

impl Routing {
    pub(crate) fn new(catalog: watch::Receiver<Arc<Catalog>>, view: watch::Receiver<Arc<ClusterView>>) -> Self {
        Self { catalog, view, table: watch::Sender::default(), gateways: Gateways::default() }
    }

    /// The routes of the newest catalog: whoever was told that a route is set finds it.
    pub(crate) async fn table(&self) -> Arc<Table> {
        let table = self.table.borrow().clone();
        if table.is_of(&self.catalog.borrow().routes) {
            return table;
        }
        let current = |table: &Arc<Table>| table.is_of(&self.catalog.borrow().routes);
        let mut newer = self.table.subscribe();
        let wait = tokio::time::timeout(PATIENCE, newer.wait_for(current)).await;
        match wait {
            Ok(Ok(table)) => table.clone(),
            // Older routes are better than none.
            Ok(Err(_)) | Err(_) => self.table.borrow().clone(),
        }
    }

    /// Works until it is dropped.
    pub(crate) async fn follow(&self) -> std::convert::Infallible {
        let (mut catalog, mut view) = (self.catalog.clone(), self.view.clone());
        loop {
            let newest = catalog.borrow_and_update().clone();
            self.gateways.set(gateways(&newest, &view.borrow_and_update()));
            self.renew(newest).await;
            let gone = tokio::select! {
                changed = catalog.changed() => changed.is_err(),
                // A view that nobody keeps any more no longer changes.
                Ok(()) = view.changed() => false,
                else => true,
            };
            if gone {
                return std::future::pending().await;
            }
        }
    }

    async fn renew(&self, newest: Arc<Catalog>) {
        let before = self.table.borrow().clone();
        if before.is_of(&newest.routes) {
            return;
        }
        let gateways = self.gateways.clone();
        let build = move || Table::build(&newest.routes, &before, &gateways);
        match tokio::task::spawn_blocking(build).await {
            Ok(table) => drop(self.table.send_replace(Arc::new(table))),
            Err(error) => tracing::error!(%error, "the routes could not be made; the ones before stay"),
        }
    }
}

/// How many gateways take calls: alive, with the role, and in use.
fn gateways(catalog: &Catalog, view: &ClusterView) -> u32 {
    let used = |id| catalog.nodes.get(&id).is_none_or(|node| !node.cordoned);
    let count = view.alive().filter(|node| node.roles.gateway && used(node.id)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use onrush_catalog::NodeRecord;
    use onrush_types::{NodeAddresses, NodeId, NodeInfo, Roles};

    use super::*;

    #[test]
    fn gateways_count_that_are_alive_have_the_role_and_are_in_use() {
        let mut view = ClusterView::empty(NodeId(1));
        let mut catalog = Catalog::default();
        let table = [
            (1, "gateway,worker", true, Some(false)),
            (2, "gateway", true, None),
            (3, "worker", true, Some(false)),
            (4, "gateway", false, Some(false)),
            (5, "gateway", true, Some(true)),
        ];
        for (id, roles, alive, cordoned) in table {
            let (id, roles): (_, Roles) = (NodeId(id), roles.parse().unwrap());
            let name: onrush_types::Label = format!("n{id}").parse().unwrap();
            let at = "127.0.0.1:1".parse().unwrap();
            let info = NodeInfo {
                id,
                name: name.clone(),
                addresses: NodeAddresses { gateway: at, api: at, peer: at },
                roles,
                slots: 1,
                speed: 100,
                zone: None,
                generation: 1,
                draining: false,
                ready: true,
                alive,
                version: String::new(),
            };
            view.nodes.insert(id, Arc::new(info));
            if let Some(cordoned) = cordoned {
                let record = NodeRecord { id, name, peer: String::new(), roles, cordoned };
                catalog.nodes.insert(id, Arc::new(record));
            }
        }
        assert_eq!(gateways(&catalog, &view), 2);
    }
}
