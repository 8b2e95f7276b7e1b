//! Which nodes serve calls, and how a function's cluster-wide cap is divided over them. Router and worker decide both
//! alike, each from its own picture; while the pictures agree the division is exact.

use onrush_types::{ClusterView, FunctionName, NodeId, NodeInfo};

use crate::Catalog;

/// Whether calls may be given to this node.
pub fn serves(node: &NodeInfo, catalog: &Catalog) -> bool {
    let cordoned = catalog.nodes.get(&node.id).is_some_and(|record| record.cordoned);
    node.alive && node.ready && node.roles.worker && !node.draining && !cordoned
}

/// Every node that calls may be given to, by id.
pub fn serving(view: &ClusterView, catalog: &Catalog) -> Vec<NodeId> {
    view.nodes.values().filter(|node| serves(node, catalog)).map(|node| node.id).collect()
}

/// How many calls of `function` node `me` may run at once, of `cap` in the whole cluster. The cap is divided over
/// min(cap, nodes) of `nodes`, chosen by rendezvous hashing, so that a node that comes or goes moves few shares.
pub fn share_of_cap(cap: u32, function: &FunctionName, nodes: &[NodeId], me: NodeId) -> u32 {
    let Ok(count) = u32::try_from(nodes.len()) else { return 0 };
    let chosen = cap.min(count);
    if chosen == 0 || !nodes.contains(&me) {
        return 0;
    }
    let mine = (weight(function, me), me);
    let above = nodes.iter().filter(|node| (weight(function, **node), **node) > mine).count();
    let Ok(rank) = u32::try_from(above) else { return 0 };
    if rank >= chosen { 0 } else { cap / chosen + u32::from(rank < cap % chosen) }
}

/// The node that owns a key: the first of `nodes` by rendezvous hashing, so that a node that comes or goes moves no key
/// but its own, and whoever is next where the owner cannot be had is the same for everybody.
pub fn owner_of(key: &[u8; 32], nodes: impl IntoIterator<Item = NodeId>) -> Option<NodeId> {
    // The key is a hash already: a word of it is enough, and a cluster of thousands is looked through for every call.
    let word = key.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    nodes.into_iter().max_by_key(|node| (mix(word ^ mix(node.0)), *node))
}

/// FNV-1a over name and node, mixed well. Every node of a cluster must compute the same one, so it must never change.
fn weight(function: &FunctionName, node: NodeId) -> u64 {
    let name = function.namespace.as_str().bytes().chain([0]).chain(function.name.as_str().bytes());
    let bytes = name.chain([0]).chain(node.0.to_le_bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(hash)
}

/// Spreads what differs in any bit over all (the end of splitmix64).
const fn mix(hash: u64) -> u64 {
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str) -> FunctionName {
        FunctionName::new("default".parse().unwrap(), name.parse().unwrap())
    }

    proptest::proptest! {
        #[test]
        fn the_shares_add_up_to_the_cap(cap in 1_u32..500, nodes in 1_u64..60, name in "[a-z]{1,8}") {
            let nodes: Vec<_> = (1..=nodes).map(NodeId).collect();
            let shares: Vec<_> = nodes.iter().map(|me| share_of_cap(cap, &function(&name), &nodes, *me)).collect();
            proptest::prop_assert_eq!(shares.iter().sum::<u32>(), cap);
            let held: Vec<_> = shares.iter().filter(|share| **share > 0).collect();
            proptest::prop_assert!(held.iter().max().unwrap().abs_diff(**held.iter().min().unwrap()) <= 1);
        }
    }

    #[test]
    fn functions_are_spread_and_a_node_that_leaves_moves_only_its_own_share() {
        let nodes: Vec<_> = (1..=5).map(NodeId).collect();
        let owner = |name: &str, nodes: &[NodeId]| {
            *nodes.iter().find(|me| share_of_cap(1, &function(name), nodes, **me) == 1).unwrap()
        };
        let mut owners = std::collections::BTreeSet::new();
        for index in 0..100 {
            let name = format!("f-{index}");
            let before = owner(&name, &nodes);
            owners.insert(before);
            let fewer: Vec<_> = nodes.iter().copied().filter(|node| *node != NodeId(3)).collect();
            if before != NodeId(3) {
                assert_eq!(owner(&name, &fewer), before);
            }
        }
        assert_eq!(owners.len(), 5);
    }

    #[test]
    fn keys_are_spread_and_a_node_that_leaves_moves_only_its_own() {
        let nodes = || (1..=5).map(NodeId);
        let keys = (0..1_000_u64).map(|index| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&index.to_le_bytes());
            key
        });
        let mut owned = std::collections::BTreeMap::<_, u32>::new();
        for key in keys {
            let owner = owner_of(&key, nodes()).unwrap();
            *owned.entry(owner).or_default() += 1;
            let without = |gone: NodeId| owner_of(&key, nodes().filter(|node| *node != gone)).unwrap();
            let next = without(owner);
            assert_ne!(next, owner);
            assert!(nodes().filter(|gone| *gone != owner).all(|gone| without(gone) == owner));
        }
        assert!(owned.len() == 5 && owned.values().all(|count| (140..260).contains(count)), "{owned:?}");
        assert_eq!(owner_of(&[0; 32], []), None);
    }

    #[test]
    fn a_node_that_does_not_serve_has_no_share() {
        assert_eq!(share_of_cap(8, &function("f"), &[NodeId(1)], NodeId(2)), 0);
        assert_eq!(share_of_cap(8, &function("f"), &[], NodeId(2)), 0);
    }
}
