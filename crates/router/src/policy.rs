//! Candidates -> one. Pure; the simulation runs it unchanged. (performance.md 2.2, items 2 to 5.)

/// A node as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    /// Calls that are probably in the house there.
    pub(crate) in_flight: f64,
    /// Calls that can compute at once there.
    pub(crate) slots: f64,
    /// How fast a slot is; 1 is a usual core.
    pub(crate) speed: f64,
    /// What it costs to get there, in microseconds.
    pub(crate) hop: f64,
    /// How long it said that a call waits, in microseconds, aged.
    pub(crate) wait: f64,
}

impl Candidate {
    /// How full it is; above 1 calls wait for a slot.
    pub(crate) fn ratio(&self) -> f64 {
        self.in_flight / self.slots.max(1.0)
    }

    /// What a call would cost there, in microseconds.
    fn score(&self, service: f64) -> f64 {
        let slots = self.slots.max(1.0);
        let ahead = (self.in_flight + 1.0 - slots).max(0.0) / slots;
        self.hop + (ahead * service / self.speed.max(0.01)).max(self.wait)
    }
}

/// Picks one. `service` is what a call takes, in microseconds; a node that is fuller than `hot` (a quantile of all
/// nodes) and has calls waiting is avoided; `random` breaks ties.
pub(crate) fn choose(candidates: &[Candidate], service: f64, hot: f64, random: u64) -> Option<usize> {
    let is_hot = |candidate: &Candidate| candidate.ratio() > hot.max(1.0);
    let all_hot = candidates.iter().all(is_hot);
    let rated = candidates.iter().enumerate().filter(|(_, candidate)| all_hot || !is_hot(candidate));
    let cost = |candidate: &Candidate| if all_hot { candidate.ratio() } else { candidate.score(service) };
    let rated = rated.map(|(index, candidate)| (index, cost(candidate)));
    let least = rated.clone().map(|(_, cost)| cost).min_by(f64::total_cmp)?;
    let best = rated.filter(|(_, cost)| *cost <= least);
    let ties = best.clone().count() as u64;
    let pick = usize::try_from(random.checked_rem(ties)?).ok()?;
    best.map(|(index, _)| index).nth(pick)
}

/// The value that `part` of the values do not pass. Zero for none.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let index = ((values.len() - 1) as f64 * part).round() as usize;
    *values.select_nth_unstable_by(index, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: f64 = 1_000.0;

    fn node(in_flight: f64, hop: f64) -> Candidate {
        Candidate { in_flight, slots: 4.0, speed: 1.0, hop, wait: 0.0 }
    }

    #[test]
    fn this_node_is_chosen_until_it_is_busier_than_its_slots() {
        let idle = node(0.0, 300.0);
        for (in_flight, expected) in [(0.0, 0), (3.0, 0), (4.0, 0), (6.0, 1), (64.0, 1)] {
            assert_eq!(choose(&[node(in_flight, 0.0), idle], SERVICE, 9.0, 7), Some(expected), "{in_flight}");
        }
    }

    #[test]
    fn the_faster_node_takes_more() {
        let slow = Candidate { speed: 0.5, ..node(8.0, 300.0) };
        assert_eq!(choose(&[slow, node(8.0, 300.0)], SERVICE, 9.0, 0), Some(1));
    }

    #[test]
    fn a_node_that_says_that_calls_wait_is_believed() {
        let waiting = Candidate { wait: 50_000.0, ..node(0.0, 0.0) };
        assert_eq!(choose(&[waiting, node(5.0, 300.0)], SERVICE, 9.0, 0), Some(1));
    }

    #[test]
    fn a_hot_node_is_avoided_and_among_hot_ones_the_emptiest_wins() {
        // Fast and full against slow and nearly empty: the score alone would take the first.
        let hot = Candidate { speed: 10.0, ..node(8.0, 0.0) };
        let calm = Candidate { speed: 0.1, ..node(4.0, 300.0) };
        assert_eq!(choose(&[hot, calm], SERVICE, 99.0, 0), Some(0));
        assert_eq!(choose(&[hot, calm], SERVICE, 1.5, 0), Some(1));
        assert_eq!(choose(&[node(9.0, 0.0), node(8.0, 300.0)], SERVICE, 1.5, 0), Some(1));
    }

    #[test]
    fn ties_are_broken_at_random() {
        let same = [node(0.0, 300.0); 3];
        let picked: std::collections::BTreeSet<_> =
            (0..9).filter_map(|random| choose(&same, SERVICE, 9.0, random)).collect();
        assert_eq!(picked.len(), 3);
        assert_eq!(choose(&[], SERVICE, 9.0, 0), None);
    }

    #[test]
    fn quantiles() {
        let mut values: Vec<_> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.84), 84.0);
        assert_eq!(quantile(&mut [], 0.84), 0.0);
    }

    proptest::proptest! {
        #[test]
        fn somebody_is_always_chosen(loads in proptest::collection::vec(0.0..1e4_f64, 1..6), hot in 0.0..9.0_f64, random: u64) {
            let nodes: Vec<_> = loads.iter().map(|load| node(*load, 300.0)).collect();
            proptest::prop_assert!(choose(&nodes, SERVICE, hot, random).is_some_and(|index| index < nodes.len()));
        }
    }
}
