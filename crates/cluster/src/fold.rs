//! From what gossip has seen to one picture. Pure.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use onrush_types::{ClusterView, NodeId, NodeInfo};

use crate::words::{Words, read};

/// One incarnation of a node as gossip holds it.
pub(crate) struct Sighting<'a, W> {
    /// Its name in gossip.
    pub(crate) name: &'a str,
    /// Which start of it.
    pub(crate) generation: u64,
    /// The failure detector hears from it.
    pub(crate) alive: bool,
    /// What it says.
    pub(crate) words: &'a W,
}

/// The picture, and what an operator should hear about.
#[derive(Debug)]
pub(crate) struct Folded {
    /// Everybody but the own node.
    pub(crate) nodes: BTreeMap<NodeId, Arc<NodeInfo>>,
    /// The first node that could not be understood, and why.
    pub(crate) garbage: Option<(String, String)>,
    /// Somebody else gossips with the own node's id and a later start.
    pub(crate) double: bool,
    /// How many nodes did not fit.
    pub(crate) dropped: usize,
}

/// Who is asking, and how many others it can hold.
pub(crate) struct Viewer {
    pub(crate) me: NodeId,
    pub(crate) generation: u64,
    pub(crate) room: usize,
}

/// Folds sightings. Of a node's incarnations the newest that can be understood is shown; it counts as alive only if no
/// newer one is known. Nodes that did not change keep their `Arc`.
pub(crate) fn fold<'a, W: Words + 'a>(
    viewer: &Viewer,
    before: &ClusterView,
    seen: impl Iterator<Item = Sighting<'a, W>>,
) -> Folded {
    let mut folded = Folded { nodes: BTreeMap::new(), garbage: None, double: false, dropped: 0 };
    let mut newest = BTreeMap::new();
    let mut nodes: BTreeMap<NodeId, NodeInfo> = BTreeMap::new();
    for sighting in seen {
        let generation = newest.entry(sighting.name).or_insert(sighting.generation);
        *generation = sighting.generation.max(*generation);
        match read(sighting.name, sighting.generation, sighting.alive, sighting.words) {
            Ok(info) if info.id == viewer.me => folded.double |= info.generation > viewer.generation,
            Ok(info) => match nodes.entry(info.id) {
                Entry::Vacant(free) => {
                    free.insert(info);
                }
                Entry::Occupied(mut taken) => {
                    if taken.get().generation < info.generation {
                        taken.insert(info);
                    }
                }
            },
            // Heartbeats travel before words: a node that has said nothing yet is no garbage.
            Err(_) if sighting.words.word("state").is_none() => {}
            Err(why) => {
                folded.garbage.get_or_insert((sighting.name.to_owned(), why));
            }
        }
    }
    for info in nodes.values_mut() {
        let name = crate::words::gossip_name(info.id);
        info.alive &= newest.get(name.as_str()).is_none_or(|newest| *newest <= info.generation);
    }
    folded.dropped = nodes.len().saturating_sub(viewer.room);
    if folded.dropped > 0 {
        let mut order: Vec<_> = nodes.values().map(|info| (!info.alive, info.id)).collect();
        order.sort_unstable();
        for (_, id) in order.iter().skip(viewer.room) {
            nodes.remove(id);
        }
    }
    let keep = |info: NodeInfo| match before.get(info.id) {
        Some(old) if **old == info => Arc::clone(old),
        Some(_) | None => Arc::new(info),
    };
    folded.nodes = nodes.into_iter().map(|(id, info)| (id, keep(info))).collect();
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::tests::{info, words};

    type Said = BTreeMap<String, String>;

    fn fold_all(room: usize, before: &ClusterView, seen: &[(&str, u64, bool, Said)]) -> Folded {
        let viewer = Viewer { me: NodeId(1), generation: 5, room };
        fold(
            &viewer,
            before,
            seen.iter().map(|(name, generation, alive, words)| Sighting {
                name,
                generation: *generation,
                alive: *alive,
                words,
            }),
        )
    }

    fn empty() -> ClusterView {
        ClusterView::empty(NodeId(1))
    }

    #[test]
    fn the_newest_incarnation_wins_in_any_order() {
        let (old, new) = (("n2", 3, false, words(&info(2))), ("n2", 4, true, words(&info(2))));
        for seen in [[old.clone(), new.clone()], [new, old]] {
            let folded = fold_all(9, &empty(), &seen);
            assert_eq!(folded.nodes.len(), 1);
            let node = &folded.nodes[&NodeId(2)];
            assert_eq!((node.generation, node.alive), (4, true));
        }
    }

    #[test]
    fn an_incarnation_dies_when_a_newer_one_is_heard_of() {
        let seen = [("n2", 3, true, words(&info(2))), ("n2", 4, false, Said::new())];
        let folded = fold_all(9, &empty(), &seen);
        let node = &folded.nodes[&NodeId(2)];
        assert_eq!((node.generation, node.alive), (3, false));
        assert_eq!(folded.garbage, None);
    }

    #[test]
    fn garbage_is_skipped_and_named() {
        let mut wrong = words(&info(3));
        wrong.insert("slots".into(), "many".into());
        let seen = [("n2", 1, true, words(&info(2))), ("n3", 1, true, wrong)];
        let folded = fold_all(9, &empty(), &seen);
        assert_eq!(folded.nodes.keys().copied().collect::<Vec<_>>(), [NodeId(2)]);
        let (name, why) = folded.garbage.unwrap();
        assert!(name == "n3" && why.contains("slots"), "{name} {why}");
    }

    #[test]
    fn nobody_speaks_for_the_own_node_and_a_double_is_noticed() {
        let past = fold_all(9, &empty(), &[("n1", 4, true, words(&info(1)))]);
        assert!(past.nodes.is_empty() && !past.double);
        let double = fold_all(9, &empty(), &[("n1", 6, true, words(&info(1)))]);
        assert!(double.nodes.is_empty() && double.double);
    }

    #[test]
    fn what_did_not_change_is_not_copied() {
        let seen = [("n2", 1, true, words(&info(2))), ("n3", 1, true, words(&info(3)))];
        let first = fold_all(9, &empty(), &seen);
        let before = ClusterView { me: NodeId(1), nodes: first.nodes };
        let mut changed = seen.clone();
        changed[1].2 = false;
        let second = fold_all(9, &before, &changed);
        assert!(Arc::ptr_eq(&second.nodes[&NodeId(2)], &before.nodes[&NodeId(2)]));
        assert!(!second.nodes[&NodeId(3)].alive);
    }

    #[test]
    fn the_picture_is_bounded_and_keeps_the_living() {
        let seen = [
            ("n2", 1, false, words(&info(2))),
            ("n3", 1, true, words(&info(3))),
            ("n4", 1, true, words(&info(4))),
            ("n5", 1, true, words(&info(5))),
        ];
        let folded = fold_all(2, &empty(), &seen);
        assert_eq!(folded.nodes.keys().copied().collect::<Vec<_>>(), [NodeId(3), NodeId(4)]);
        assert_eq!(folded.dropped, 2);
    }
}
