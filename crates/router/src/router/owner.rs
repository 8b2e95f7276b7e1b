//! Calls that the whole cluster shares go to the node that owns what they ask for.

use std::sync::Arc;

use onrush_catalog::owner_of;
use onrush_invoke::{Scope, Sharing};
use onrush_types::NodeId;

use super::{Router, Target};
use crate::node::Node;

impl Router {
    /// The node for a call, none of `tried`: the owner of what it shares with the whole cluster, or else whoever is best.
    pub(super) async fn pick_for(
        &self,
        sharing: Option<&Sharing>,
        target: &Target,
        tried: &[NodeId],
    ) -> Option<Arc<Node>> {
        let shared = sharing.filter(|sharing| sharing.scope == Scope::Cluster);
        match shared.and_then(|sharing| self.owner(sharing, target, tried)) {
            Some(owner) => Some(owner),
            None => self.pick(target, tried).await,
        }
    }

    /// The first in the key's own order that may be called: after one that refused or is ejected comes the same next one
    /// for every gateway.
    fn owner(&self, sharing: &Sharing, target: &Target, tried: &[NodeId]) -> Option<Arc<Node>> {
        let endpoints = self.endpoints();
        let version = endpoints.catalog.version(&target.function, target.version);
        let cap = version.and_then(|version| version.spec.limits.concurrency);
        let may = |index: usize, node: &Node| {
            !tried.contains(&node.id)
                && !node.is_ejected()
                && cap.is_none_or(|cap| endpoints.has_share(index, &target.function, cap))
        };
        let nodes = endpoints.list.iter().map(|endpoint| &endpoint.node);
        let mine = nodes.clone().enumerate().filter(|(index, node)| may(*index, node)).map(|(_, node)| node.id);
        let owner = owner_of(&sharing.key.0, mine)?;
        nodes.clone().find(|node| node.id == owner).cloned()
    }
}
