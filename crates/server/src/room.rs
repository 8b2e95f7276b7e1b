//! Who goes when all places are taken.
//!
//! A connection that has no request costs its client little to open again, so it makes room for one that comes. The one
//! who has the most connections pays: whoever opens ten thousand loses some of those, and nobody else does.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use tokio::time::Instant;

use crate::per_ip::Owner;

/// A connection, as the choice sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat<I> {
    pub(crate) id: I,
    pub(crate) owner: Owner,
    /// Since when it has had no request, if it has none.
    pub(crate) quiet_since: Option<Instant>,
}

/// Up to `wanted` quiet connections: always of the owner who has the most by then, the longest quiet first.
pub(crate) fn choose<I: Copy>(seats: &[Seat<I>], wanted: usize) -> Vec<I> {
    let mut owners: HashMap<Owner, (usize, Vec<(Instant, I)>)> = HashMap::new();
    for seat in seats {
        let (all, quiet) = owners.entry(seat.owner).or_default();
        *all += 1;
        quiet.extend(seat.quiet_since.map(|since| (since, seat.id)));
    }
    for (_, quiet) in owners.values_mut() {
        quiet.sort_unstable_by_key(|(since, _)| Reverse(*since));
    }
    let mut most: BinaryHeap<(usize, Owner)> = owners.iter().map(|(owner, (all, _))| (*all, *owner)).collect();
    let mut chosen = Vec::new();
    while let (true, Some((all, owner))) = (chosen.len() < wanted, most.pop()) {
        if let Some((_, id)) = owners.get_mut(&owner).and_then(|(_, quiet)| quiet.pop()) {
            chosen.push(id);
            most.push((all - 1, owner));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use super::*;

    /// `owner`'s connection, quiet for `seconds`; negative: it has a request.
    fn seat(id: u32, owner: u8, seconds: i64, now: Instant) -> Seat<u32> {
        let quiet = u64::try_from(seconds).ok();
        let quiet_since = quiet.map(|seconds| now + Duration::from_secs(1_000 - seconds));
        Seat { id, owner: SocketAddr::from(([10, 0, 0, owner], 1)).into(), quiet_since }
    }

    #[test]
    fn the_greedy_pay_the_longest_quiet_first_and_who_asks_stays() {
        let now = Instant::now();
        let one_of_greedys = [seat(1, 1, 5, now), seat(2, 1, 50, now), seat(3, 1, -1, now), seat(4, 1, 20, now)];
        let modest = [seat(10, 2, 900, now), seat(11, 3, -1, now)];
        let seats = [&one_of_greedys[..], &modest[..]].concat();
        assert_eq!(choose(&seats, 1), [2]);
        assert_eq!(choose(&seats, 2), [2, 4]);
        assert_eq!(choose(&seats, 99).len(), 4, "those with a request are never chosen");
        assert!(!choose(&seats, 3).contains(&3));
    }

    #[test]
    fn equal_owners_share_the_loss() {
        let now = Instant::now();
        let seats: Vec<_> = (0..30).map(|id| seat(id, u8::try_from(id % 3).unwrap(), i64::from(id), now)).collect();
        let chosen = choose(&seats, 6);
        for owner in 0..3 {
            assert_eq!(chosen.iter().filter(|id| **id % 3 == owner).count(), 2, "owner {owner} of {chosen:?}");
        }
        assert!(chosen.iter().all(|id| *id >= 24), "the longest quiet");
    }
}
