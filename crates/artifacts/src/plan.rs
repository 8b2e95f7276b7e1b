//! What this node should hold, and what it may throw away. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use onrush_catalog::Catalog;
use onrush_types::{ArtifactRef, ClusterView, Digest, NodeId};
use tokio::time::Instant;

use crate::blobs::Blob;

/// What this node should see to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Every artifact that a version refers to.
    pub(crate) referenced: BTreeSet<Digest>,
    /// Those that should be on this node.
    pub(crate) mine: Vec<ArtifactRef>,
}

/// What this node should hold: its share of the copies of every version, and with `prefetch` every newest one.
pub(crate) fn plan(catalog: &Catalog, view: &ClusterView, copies: usize, prefetch: bool) -> Plan {
    let mut artifacts = BTreeMap::new();
    let mut newest = BTreeSet::new();
    for function in catalog.functions.values() {
        let all = function.versions.values().map(|version| version.spec.artifact);
        artifacts.extend(all.map(|artifact| (artifact.digest, artifact)));
        newest.insert(function.latest.spec.artifact.digest);
    }
    let usable = |id| catalog.nodes.get(&id).is_none_or(|node| !node.cordoned);
    let nodes: Vec<_> = view.alive().map(|node| (node.id, usable(node.id) && !node.draining)).collect();
    let is_mine = |digest: Digest| {
        (prefetch && newest.contains(&digest)) || ranked(digest, &nodes).take(copies).any(|id| id == view.me)
    };
    let mine = artifacts.values().filter(|artifact| is_mine(artifact.digest)).copied().collect();
    Plan { referenced: artifacts.into_keys().collect(), mine }
}

/// Nodes in the order in which they should hold a blob: rendezvous hashing, those that are going away last. `true` marks
/// a node that stays.
fn ranked(digest: Digest, nodes: &[(NodeId, bool)]) -> impl Iterator<Item = NodeId> {
    let mut order: Vec<_> = nodes.iter().map(|(id, stays)| (!stays, weight(digest, &[*id]), *id)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, id)| id)
}

/// The first bytes of a digest are as good as random; the hasher only has to spread ids. Its keys are fixed, but should
/// nodes of different versions disagree, a blob is on other nodes as well for a while.
fn weight(digest: Digest, ids: &[NodeId]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (digest, ids).hash(&mut hasher);
    hasher.finish()
}

/// Whom to ask for a blob, in this order: those that should hold it (each node starts with another of them), then the
/// voters, then everybody else that is alive, and last the voters that gossip does not hear: it may be wrong, and a node
/// that has just started has heard nobody yet.
pub(crate) fn sources(digest: Digest, view: &ClusterView, voters: &BTreeSet<NodeId>, copies: usize) -> Vec<NodeId> {
    let nodes: Vec<_> = view.alive().map(|node| (node.id, !node.draining)).collect();
    let order: Vec<_> = ranked(digest, &nodes).collect();
    let mut order: Vec<_> = order
        .iter()
        .enumerate()
        .filter(|(_, id)| **id != view.me)
        .map(|(rank, id)| {
            let class = if rank < copies { 0 } else { 2 - u8::from(voters.contains(id)) };
            (class, weight(digest, &[view.me, *id]), *id)
        })
        .collect();
    order.sort_unstable();
    let unheard = voters.iter().copied().filter(|id| *id != view.me && !view.is_alive(*id));
    order.into_iter().map(|(_, _, id)| id).chain(unheard).collect()
}

/// Which blobs nobody refers to and nobody has used for a while.
pub(crate) fn garbage(
    held: &[(Digest, Blob)],
    referenced: &BTreeSet<Digest>,
    now: Instant,
    grace: Duration,
) -> Vec<Digest> {
    let unused = |blob: &Blob| now.saturating_duration_since(blob.touched) >= grace;
    held.iter()
        .filter(|(digest, blob)| !referenced.contains(digest) && unused(blob))
        .map(|(digest, _)| *digest)
        .collect()
}

/// Whether this node's catalog is fresh enough to throw away what it does not mention: it belongs to a cluster and sees
/// a majority of the voters.
pub(crate) fn may_collect(catalog: &Catalog, view: &ClusterView, voters: &BTreeSet<NodeId>) -> bool {
    let seen = voters.iter().filter(|id| view.is_alive(**id)).count();
    catalog.cluster.is_some() && seen > voters.len() / 2
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use onrush_types::{NodeAddresses, NodeInfo};
    use proptest::prelude::*;

    use super::*;

    fn view(me: u64, nodes: &[(u64, bool, bool)]) -> ClusterView {
        let address = ([127, 0, 0, 1], 1).into();
        let info = |(id, alive, draining): &(u64, bool, bool)| NodeInfo {
            id: NodeId(*id),
            name: "a".parse().unwrap(),
            addresses: NodeAddresses { gateway: address, api: address, peer: address },
            roles: Default::default(),
            slots: 1,
            speed: 100,
            zone: None,
            generation: 1,
            draining: *draining,
            ready: true,
            alive: *alive,
            version: String::new(),
        };
        let nodes = nodes.iter().map(|node| (NodeId(node.0), Arc::new(info(node)))).collect();
        ClusterView { me: NodeId(me), nodes }
    }

    fn holders(digest: Digest, nodes: &[(NodeId, bool)]) -> BTreeSet<NodeId> {
        ranked(digest, nodes).take(3).collect()
    }

    proptest! {
        #[test]
        fn a_node_that_goes_moves_only_its_own_share(digest: [u8; 32], count in 4_u64..40, gone: prop::sample::Index) {
            let nodes: Vec<_> = (1..=count).map(|id| (NodeId(id), true)).collect();
            let before = holders(Digest(digest), &nodes);
            let gone = nodes[gone.index(nodes.len())].0;
            let rest: Vec<_> = nodes.iter().copied().filter(|(id, _)| *id != gone).collect();
            let after = holders(Digest(digest), &rest);
            prop_assert_eq!(after.len(), 3);
            prop_assert!(before.iter().filter(|id| **id != gone).all(|id| after.contains(id)));
        }

        #[test]
        fn who_is_going_away_holds_only_what_nobody_else_can(digest: [u8; 32], drained in 1_u64..6) {
            let nodes: Vec<_> = (1..=5).map(|id| (NodeId(id), id != drained)).collect();
            prop_assert!(!holders(Digest(digest), &nodes).contains(&NodeId(drained)));
        }
    }

    #[test]
    fn shares_are_even() {
        let nodes: Vec<_> = (1..=10).map(|id| (NodeId(id), true)).collect();
        let mut shares = BTreeMap::<_, u32>::new();
        for seed in 0..1_000_u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&seed.to_le_bytes());
            holders(Digest(digest), &nodes).into_iter().for_each(|id| *shares.entry(id).or_default() += 1);
        }
        assert!(shares.len() == 10 && shares.values().all(|share| (220..380).contains(share)), "{shares:?}");
    }

    #[test]
    fn sources_are_the_others_with_the_likely_holders_first() {
        let nodes: Vec<_> = (1..=9).map(|id| (id, id != 4, false)).collect();
        let (view, voters) = (view(1, &nodes), BTreeSet::from([NodeId(8), NodeId(4)]));
        let digest = Digest([9; 32]);
        let order = sources(digest, &view, &voters, 3);
        assert_eq!(order.len(), 8);
        assert!(!order.contains(&NodeId(1)));
        assert_eq!(order.last(), Some(&NodeId(4)), "one that gossip does not hear comes last");
        let alive: Vec<_> = view.alive().map(|node| (node.id, true)).collect();
        let likely: BTreeSet<_> = holders(digest, &alive).into_iter().filter(|id| *id != NodeId(1)).collect();
        assert_eq!(order[..likely.len()].iter().copied().collect::<BTreeSet<_>>(), likely);
        assert!(order.iter().position(|id| *id == NodeId(8)).unwrap() <= likely.len());
    }

    #[test]
    fn a_node_that_has_heard_nobody_yet_asks_the_voters() {
        let voters = BTreeSet::from([NodeId(1), NodeId(2), NodeId(3)]);
        let alone = ClusterView::empty(NodeId(2));
        assert_eq!(sources(Digest([1; 32]), &alone, &voters, 3), [NodeId(1), NodeId(3)]);
    }

    #[tokio::test]
    async fn garbage_is_unused_and_not_referred_to() {
        let now = Instant::now() + Duration::from_secs(10);
        let blob = |age| Blob { size: 1, verified: true, touched: now - Duration::from_secs(age) };
        let digest = |byte| Digest([byte; 32]);
        let held = [(digest(1), blob(9)), (digest(2), blob(9)), (digest(3), blob(4)), (digest(4), blob(5))];
        let found = garbage(&held, &BTreeSet::from([digest(1)]), now, Duration::from_secs(5));
        assert_eq!(found, [digest(2), digest(4)]);
    }

    #[test]
    fn collecting_needs_a_majority_in_sight() {
        let mut catalog = Catalog::default();
        let (view, voters) =
            (view(1, &[(1, true, false), (2, true, false), (3, false, false)]), [1, 2, 3].map(NodeId).into());
        assert!(!may_collect(&catalog, &view, &voters));
        catalog.cluster = Some(onrush_catalog::ClusterIdentity { id: onrush_types::ClusterId::new(), voters: 3 });
        assert!(may_collect(&catalog, &view, &voters));
        assert!(!may_collect(&catalog, &view, &[1, 3].map(NodeId).into()));
        assert!(!may_collect(&catalog, &view, &BTreeSet::new()));
    }
}
