//! What operators ask of nodes.

use std::sync::Arc;

use onrush_catalog::{Catalog, ClusterStatus, Command, NodeRecord};
use onrush_types::{Code, Label, NodeId, RequestId, Revision};

use crate::{Api, ApiError};

impl Api {
    /// The cluster as this node sees it.
    pub(crate) fn status(&self) -> ClusterStatus {
        self.parts.control.status()
    }

    /// Changes how many nodes shall vote.
    pub(crate) async fn set_voters(self: &Arc<Self>, wanted: u32, request: RequestId) -> Result<Revision, ApiError> {
        let wanted = u8::try_from(wanted)
            .map_err(|_| ApiError::bad_request(format!("voters: must be 1, 3, 5 or 7, not {wanted}")))?;
        self.change(request, Command::SetVoters { wanted }).await
    }

    /// Tells a node to take nothing new, or to serve again.
    pub(crate) async fn drain(self: &Arc<Self>, node: &str, draining: bool) -> Result<Revision, ApiError> {
        let catalog = self.catalog(false).await?;
        let node = find(&catalog, node)?.id;
        let api = Arc::clone(self);
        self.owned(async move { Ok(api.parts.control.set_draining(node, draining).await?) }).await?;
        Ok(catalog.revision)
    }

    /// Tells everybody not to use a node, or to use it again.
    pub(crate) async fn cordon(
        self: &Arc<Self>,
        node: &str,
        cordoned: bool,
        request: RequestId,
    ) -> Result<Revision, ApiError> {
        let node = find(&*self.catalog(false).await?, node)?.id;
        self.change(request, Command::SetCordoned { node, cordoned }).await
    }

    /// Takes a node out of the cluster for good.
    pub(crate) async fn remove_node(self: &Arc<Self>, node: &str, request: RequestId) -> Result<Revision, ApiError> {
        let catalog = self.catalog(false).await?;
        // A repeated request finds its node gone; its first outcome is remembered under its id.
        let node = match find(&catalog, node) {
            Ok(node) => node.id,
            Err(error) => match (catalog.requests.contains_key(&request), node.parse()) {
                (true, Ok(id)) => NodeId(id),
                (true, Err(_)) => NodeId(0),
                (false, _) => return Err(error),
            },
        };
        self.change(request, Command::RemoveNode { node }).await
    }

    /// Names for people; ids of nodes that are gone stay numbers.
    pub(crate) async fn node_names(&self, ids: &[NodeId]) -> Result<Vec<String>, ApiError> {
        let catalog = self.catalog(false).await?;
        let name = |id: &NodeId| match catalog.nodes.get(id) {
            Some(node) => node.name.to_string(),
            None => id.to_string(),
        };
        Ok(ids.iter().map(name).collect())
    }
}

/// The node of this name, or of this id. A name that looks like a number wins over the id.
fn find<'a>(catalog: &'a Catalog, wanted: &str) -> Result<&'a Arc<NodeRecord>, ApiError> {
    let named = wanted.parse::<Label>().ok().and_then(|name| catalog.node_named(&name));
    let found = named.or_else(|| wanted.parse::<NodeId>().ok().and_then(|id| catalog.nodes.get(&id)));
    found.ok_or_else(|| {
        let known: Vec<_> = catalog.nodes.values().take(20).map(|node| node.name.to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        ApiError::new(Code::NotFound, format!("there is no node {wanted:?}; nodes here: {known}"))
    })
}
