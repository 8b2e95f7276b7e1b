//! Whose turn it is: start-time fair queueing, pure. Why this and not a deficit round robin:
//! `docs/adr/0010-fair-queueing-by-start-time.md`.
//!
//! Each flow (a namespace, or a function in one) has a tag: how much it has been given so far, in nanoseconds of
//! computing, counted from when it last had less than the others. The flow with the lowest tag comes next, and its tag
//! moves on by what its call costs. A flow that was quiet starts where the others are now: it is next, and what it did
//! not use earlier is not saved up.

use std::collections::{BTreeSet, HashMap};

/// What a flow has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing that could start.
    Nothing,
    /// New calls only.
    Enter,
    /// A call that is in the house already and wants to go on.
    Resume,
}

#[derive(Debug)]
struct Flow {
    /// Where its next call starts.
    tag: u64,
    wish: Wish,
}

/// A set of flows that share something.
#[derive(Debug, Default)]
pub(crate) struct Fair {
    /// The tag of what was started last.
    now: u64,
    flows: HashMap<u64, Flow>,
    enter: BTreeSet<(u64, u64)>,
    resume: BTreeSet<(u64, u64)>,
}

impl Fair {
    /// Says what a flow wants from now on.
    pub(crate) fn set(&mut self, id: u64, wish: Wish) {
        let now = self.now;
        if wish == Wish::Nothing && !self.flows.contains_key(&id) {
            return;
        }
        let flow = self.flows.entry(id).or_insert(Flow { tag: now, wish: Wish::Nothing });
        if flow.wish == wish {
            return;
        }
        let (old, tag) = (flow.wish, if flow.wish == Wish::Nothing { flow.tag.max(now) } else { flow.tag });
        (flow.tag, flow.wish) = (tag, wish);
        // Out of the one set, into the other: the tag is the same, unless it was in none.
        self.remove(old, tag, id);
        self.insert(wish, tag, id);
        if self.is_idle() {
            // Nobody waits for what somebody else had: all are even.
            self.flows.clear();
        }
    }

    /// Whether nobody wants anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.enter.is_empty() && self.resume.is_empty()
    }

    /// What the set as a whole wants.
    pub(crate) fn wish(&self) -> Wish {
        if !self.resume.is_empty() {
            Wish::Resume
        } else if !self.enter.is_empty() {
            Wish::Enter
        } else {
            Wish::Nothing
        }
    }

    /// Flows that want something.
    pub(crate) fn waiting(&self) -> usize {
        self.enter.len() + self.resume.len()
    }

    /// Those who come next, in order; `entering` if new calls may start at all.
    pub(crate) fn order(&self, entering: bool) -> impl Iterator<Item = u64> + '_ {
        let mut resume = self.resume.iter().peekable();
        let mut enter = self.enter.iter().take(if entering { usize::MAX } else { 0 }).peekable();
        std::iter::from_fn(move || {
            let from_enter = match (resume.peek(), enter.peek()) {
                (Some(resume), Some(enter)) => enter < resume,
                (None, enter) => enter.is_some(),
                (Some(_), None) => false,
            };
            if from_enter { enter.next() } else { resume.next() }.map(|(_, id)| *id)
        })
    }

    /// A call of this flow starts and will cost about this much.
    pub(crate) fn start(&mut self, id: u64, cost: u64) {
        if let Some(flow) = self.flows.get(&id) {
            self.now = self.now.max(flow.tag);
        }
        self.charge(id, i64::try_from(cost).unwrap_or(i64::MAX));
    }

    /// Corrects what a flow was charged.
    pub(crate) fn charge(&mut self, id: u64, more: i64) {
        let now = self.now;
        if self.is_idle() {
            return;
        }
        let flow = self.flows.entry(id).or_insert(Flow { tag: now, wish: Wish::Nothing });
        let (wish, old) = (flow.wish, flow.tag);
        flow.tag = old.saturating_add_signed(more);
        let new = flow.tag;
        if wish != Wish::Nothing {
            self.remove(wish, old, id);
            self.insert(wish, new, id);
        }
        if self.flows.len() > 64 + 2 * self.waiting() {
            // Who is behind the others is even with them when it comes again.
            self.flows.retain(|_, flow| flow.wish != Wish::Nothing || flow.tag > now);
        }
    }

    fn remove(&mut self, wish: Wish, tag: u64, id: u64) {
        match wish {
            Wish::Nothing => {}
            Wish::Enter => drop(self.enter.remove(&(tag, id))),
            Wish::Resume => drop(self.resume.remove(&(tag, id))),
        }
    }

    fn insert(&mut self, wish: Wish, tag: u64, id: u64) {
        match wish {
            Wish::Nothing => {}
            Wish::Enter => drop(self.enter.insert((tag, id))),
            Wish::Resume => drop(self.resume.insert((tag, id))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn next(fair: &Fair) -> Option<u64> {
        fair.order(true).next()
    }

    /// Everybody always wants more: what each gets of `rounds` starts, in cost.
    fn shares(costs: &[u64], rounds: usize) -> Vec<u64> {
        let mut fair = Fair::default();
        (0..costs.len()).for_each(|id| fair.set(id as u64, Wish::Enter));
        let mut given = vec![0; costs.len()];
        for _ in 0..rounds {
            let id = next(&fair).unwrap() as usize;
            fair.start(id as u64, costs[id]);
            given[id] += costs[id];
        }
        given
    }

    #[test]
    fn turns_are_shared_by_cost_and_not_by_count() {
        let given = shares(&[100, 1_000, 10], 10_000);
        let (least, most) = (given.iter().min().unwrap(), given.iter().max().unwrap());
        assert!(most - least <= 1_000, "{given:?}");
    }

    #[test]
    fn who_was_quiet_is_next_but_has_saved_nothing_up() {
        let mut fair = Fair::default();
        (1..=3).for_each(|id| fair.set(id, Wish::Enter));
        fair.set(3, Wish::Nothing);
        (0..1_000).for_each(|_| fair.start(1, 100));
        (0..1_000).for_each(|_| fair.start(2, 100));
        fair.set(3, Wish::Enter);
        fair.start(1, 1);
        assert_eq!(next(&fair), Some(3));
        fair.start(3, 500);
        let next_eight: Vec<_> = (0..8).map(|_| next(&fair).inspect(|id| fair.start(*id, 100)).unwrap()).collect();
        assert!(!next_eight.contains(&3), "it had its share: {next_eight:?}");
    }

    #[test]
    fn a_call_that_cost_more_than_thought_is_charged_afterwards() {
        let mut fair = Fair::default();
        fair.set(1, Wish::Enter);
        fair.set(2, Wish::Enter);
        fair.start(1, 10);
        fair.charge(1, 990);
        for _ in 0..10 {
            assert_eq!(next(&fair), Some(2));
            fair.start(2, 100);
        }
        assert_eq!(next(&fair), Some(1));
    }

    #[test]
    fn where_no_new_call_may_start_only_those_in_the_house_are_asked() {
        let mut fair = Fair::default();
        fair.set(1, Wish::Enter);
        fair.set(2, Wish::Resume);
        fair.start(2, 50);
        assert_eq!(fair.order(true).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(fair.order(false).collect::<Vec<_>>(), [2]);
        fair.set(2, Wish::Nothing);
        assert_eq!((fair.order(false).next(), fair.wish(), fair.waiting()), (None, Wish::Enter, 1));
    }

    proptest! {
        /// Whoever always wants more has no less than its share, but for the cost of one call of each.
        #[test]
        fn nobody_falls_behind(costs in prop::collection::vec(1_u64..1_000, 1..6), rounds in 0_usize..500) {
            let given = shares(&costs, rounds);
            let (least, most) = (given.iter().min().unwrap(), given.iter().max().unwrap());
            prop_assert!(most - least <= *costs.iter().max().unwrap(), "{:?}", given);
        }

        /// Whatever is said, the sets agree with the flows.
        #[test]
        fn the_sets_agree(steps in prop::collection::vec((0_u64..5, 0_u8..5, -50_i64..200), 0..200)) {
            let mut fair = Fair::default();
            for (id, step, cost) in steps {
                match step {
                    0 => fair.set(id, Wish::Nothing),
                    1 => fair.set(id, Wish::Enter),
                    2 => fair.set(id, Wish::Resume),
                    3 => fair.charge(id, cost),
                    _ => if let Some(id) = next(&fair) { fair.start(id, cost.unsigned_abs()) },
                }
                let of = |wish| fair.flows.iter().filter(move |(_, flow)| flow.wish == wish).map(|(id, flow)| (flow.tag, *id));
                prop_assert_eq!(&of(Wish::Enter).collect::<BTreeSet<_>>(), &fair.enter);
                prop_assert_eq!(&of(Wish::Resume).collect::<BTreeSet<_>>(), &fair.resume);
            }
        }
    }
}
