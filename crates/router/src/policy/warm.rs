//! Where the processes of a function are: starting one costs far more than a call, so its calls keep to few nodes. The
//! order of nodes is a hash of function and node (rendezvous), so a node that comes or goes moves few functions; a node
//! that has more than its part is passed over (bounded load), so a busy function spreads.

use super::{Field, Knowledge, Params};

/// How many nodes of the order are looked at. Where all have more than their part, the function is so busy that it is
/// warm everywhere.
const RANKS: usize = 8;

/// The first node of the function's order that has not more than its part. None: choose as for any other call.
pub fn prefer(field: &impl Field, knowledge: &Knowledge, params: &Params, function: u64, now: u64) -> Option<usize> {
    let mut above = u64::MAX;
    for _ in 0..RANKS {
        let ranked = (0..field.count()).map(|index| (weight(function, field.id(index)), index));
        let (weight, index) = ranked.filter(|(weight, index)| *weight < above && field.may(*index)).max()?;
        above = weight;
        let place = field.place(index);
        let standing = place.belief.standing(place.slots, knowledge, params, now);
        let part = place.slots * knowledge.usual_others().max(1.0) * params.warm_bound;
        if standing.busy + 1.0 <= part {
            return Some(index);
        }
    }
    None
}

/// A number for a version of a function: the same on every node, and for long names as cheap as for short ones.
pub fn key(namespace: &str, name: &str, version: u64) -> u64 {
    let mut hash = version.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ namespace.len() as u64;
    for text in [namespace, name] {
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
    hash ^ (hash >> 32)
}

/// Mixed well, so that orders of functions have nothing to do with one another.
fn weight(function: u64, node: u64) -> u64 {
    let mixed = function ^ node.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{choice::fake::FakeField, *};
    use crate::Config;

    fn preferred(field: &FakeField, function: u64) -> Option<usize> {
        let params = Params::from(&Config::default());
        prefer(field, &Knowledge::new(&params, 1), &params, function, 1)
    }

    #[test]
    fn a_function_stays_where_it_is_and_functions_spread() {
        let field = FakeField::new(10);
        let mut nodes = BTreeMap::new();
        for function in 0..1_000 {
            let node = preferred(&field, function).unwrap();
            assert_eq!(preferred(&field, function), Some(node));
            *nodes.entry(node).or_insert(0) += 1;
        }
        assert!(nodes.len() == 10 && nodes.values().all(|count| (60..140).contains(count)), "{nodes:?}");
    }

    #[test]
    fn versions_and_names_have_numbers_of_their_own() {
        let keys = [key("a", "bc", 1), key("ab", "c", 1), key("a", "bc", 2), key("a", "a-much-longer-name-it-is", 1)];
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(key("default", "thumbnail", 3), 12_818_186_738_056_645_902, "every node must find the same");
    }

    #[test]
    fn a_node_that_goes_moves_its_own_functions_only() {
        let mut field = FakeField::new(10);
        let before: Vec<_> = (0..200).map(|function| preferred(&field, function).unwrap()).collect();
        field.barred = vec![3];
        for (function, before) in before.into_iter().enumerate() {
            let after = preferred(&field, function as u64).unwrap();
            assert!(after != 3 && (before == 3 || after == before), "{function}");
        }
    }

    #[test]
    fn a_busy_function_spreads_in_order_and_a_very_busy_one_goes_anywhere() {
        let field = FakeField::new(12);
        let mut order = Vec::new();
        while let Some(node) = preferred(&field, 5) {
            // Four slots and a quarter more.
            (0..5).for_each(|_| field.beliefs[node].enter());
            assert!(!order.contains(&node));
            order.push(node);
        }
        assert_eq!(order.len(), 8);
    }
}
