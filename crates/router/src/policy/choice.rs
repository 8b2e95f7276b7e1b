//! From candidates to one.

use super::{Belief, Knowledge, Params};

/// A node as the choice sees it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// What is believed of it.
    pub belief: &'a Belief,
    /// Calls that can compute at once there.
    pub slots: f64,
    /// How fast a slot is by its own account; 1 is a usual core.
    pub speed: f64,
}

/// The nodes of a call, by index.
pub trait Field {
    /// How many there are.
    fn count(&self) -> usize;
    /// Which of them is this one, if it is among them.
    fn here(&self) -> Option<usize>;
    /// One of them.
    fn place(&self, index: usize) -> Place<'_>;
    /// Names it among all nodes.
    fn id(&self, index: usize) -> u64;
    /// Whether the call may go there.
    fn may(&self, index: usize) -> bool;
    /// One of them by capacity.
    fn sample(&self, random: u64) -> Option<usize>;
    /// Brings what is believed of this node up to date. That is exact and costs nearly nothing.
    fn look_here(&self);
}

/// A few indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Few {
    list: [u32; Few::MOST],
    len: u8,
}

impl Few {
    /// As many as it holds.
    pub const MOST: usize = 7;

    /// Adds one; beyond the most, nothing happens.
    pub fn push(&mut self, index: usize) {
        if let (Some(place), Ok(index)) = (self.list.get_mut(usize::from(self.len)), u32::try_from(index)) {
            *place = index;
            self.len += 1;
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.list[..usize::from(self.len)].iter().map(|index| *index as usize)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn contains(&self, index: usize) -> bool {
        self.iter().any(|other| other == index)
    }
}

/// What to do with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes to this node.
    Go(usize),
    /// Ask these for their load, a short time; then [`settle`] among them and this node.
    Ask(Few),
    /// There is no node for it.
    Nobody,
}

/// What a call would take on a node, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    index: usize,
    total: f64,
    hot: bool,
    /// Whether the report behind it is young enough to be believed as it is.
    sure: bool,
}

/// Costs that differ by less than this part are the same. What is learned of ways and paces is not more exact, and of equal
/// nodes that are idle, the one that once answered a question a little sooner would get all calls.
const SAME: f64 = 1.0 / 16.0;

/// Decides on a call of `function`.
pub fn decide(
    field: &impl Field,
    knowledge: &Knowledge,
    params: &Params,
    call: Call,
    random: &mut impl FnMut() -> u64,
) -> Decision {
    let scale = Scale { knowledge, params, call };
    let here = field.here().filter(|here| field.may(*here));
    let mut here_cost = None;
    if let Some(here) = here {
        field.look_here();
        let place = field.place(here);
        let cost = Cost { sure: true, ..scale.cost(here, &place, 0.0) };
        let idle = place.belief.standing(place.slots, knowledge, params, call.now).busy + 1.0 <= place.slots;
        // Whatever the others do, they are not nearer.
        if idle && cost.total <= params.hop + scale.service() {
            return Decision::Go(here);
        }
        here_cost = Some(cost);
    }
    let sampled = sample(field, params, call.now, random);
    let mut best = Best::new(here_cost);
    let (mut unsure, mut nearest) = (Few::default(), f64::INFINITY);
    for index in sampled.iter() {
        let place = field.place(index);
        let cost = scale.cost(index, &place, place.belief.hop());
        best.see(cost, random);
        if !cost.sure {
            nearest = nearest.min(scale.least(&place));
            unsure.push(index);
        }
    }
    let Some(choice) = best.choice else { return Decision::Nobody };
    if unsure.is_empty() || !call.may_ask || !worth_asking(&best, here_cost, nearest, &scale) {
        return Decision::Go(choice.index);
    }
    if knowledge.questions.take(unsure.len()) { Decision::Ask(unsure) } else { Decision::Go(choice.index) }
}

/// After asking: the best of those asked and this node. Nodes that did not answer are as unsure as before.
pub fn settle(
    field: &impl Field,
    knowledge: &Knowledge,
    params: &Params,
    (call, asked): (Call, &Few),
    random: &mut impl FnMut() -> u64,
) -> Option<usize> {
    let scale = Scale { knowledge, params, call };
    let here = field.here().filter(|here| field.may(*here));
    let mut best = Best::new(None);
    if let Some(here) = here {
        field.look_here();
        best.see(scale.cost(here, &field.place(here), 0.0), random);
    }
    for index in asked.iter().filter(|index| field.may(*index)) {
        let place = field.place(index);
        best.see(scale.cost(index, &place, place.belief.hop()), random);
    }
    best.choice.map(|cost| cost.index)
}

/// The call that is decided on.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The hash of its function.
    pub function: u64,
    /// Microseconds since the gateway began.
    pub now: u64,
    /// Whether nodes may be asked for it. A second try does not wait for answers.
    pub may_ask: bool,
}

/// Asking takes as long as the way there and back. It pays where the best that is known for sure is worse by more than
/// that than what one of the unknown nodes may be.
fn worth_asking(best: &Best, here: Option<Cost>, nearest: f64, scale: &Scale<'_>) -> bool {
    /// Where this node runs nothing, asking pays when nodes are about this full: below it, most have a free slot.
    const FULL: f64 = 0.6;
    let known = [here, best.sure].into_iter().flatten().map(|cost| cost.total).min_by(f64::total_cmp);
    match known {
        Some(known) => known - nearest > scale.params.hop,
        None => scale.knowledge.usual_others() > FULL,
    }
}

struct Scale<'a> {
    knowledge: &'a Knowledge,
    params: &'a Params,
    call: Call,
}

impl Scale<'_> {
    /// What calls of this function take, in microseconds.
    fn service(&self) -> f64 {
        self.knowledge.service_of(self.call.function)
    }

    fn cost(&self, index: usize, place: &Place<'_>, hop: f64) -> Cost {
        let Self { knowledge, params, call } = self;
        let standing = place.belief.standing(place.slots, knowledge, params, call.now);
        let pace = place.belief.slowness(call.now) / place.speed.max(0.01);
        let ahead = (standing.busy + 1.0 - place.slots).max(0.0) / place.slots;
        let wait = (ahead * knowledge.service() * pace).max(standing.wait);
        let hot = wait > params.hot_wait.max(2.0 * knowledge.service());
        let sure = place.belief.age(call.now).is_some_and(|age| age <= params.fresh(knowledge.service()));
        Cost { index, total: hop + wait + self.service() * pace, hot, sure }
    }

    /// What it is at least.
    fn least(&self, place: &Place<'_>) -> f64 {
        place.belief.hop() + self.service() * place.belief.slowness(self.call.now) / place.speed.max(0.01)
    }
}

/// The least cost so far. Hot nodes are taken where there are only such; ties break at random.
struct Best {
    choice: Option<Cost>,
    sure: Option<Cost>,
    ties: u64,
}

impl Best {
    fn new(first: Option<Cost>) -> Self {
        Self { choice: first, sure: first, ties: 1 }
    }

    fn see(&mut self, cost: Cost, random: &mut impl FnMut() -> u64) {
        if cost.sure && self.sure.is_none_or(|sure| cost.total < sure.total) {
            self.sure = Some(cost);
        }
        let Some(best) = self.choice else {
            self.choice = Some(cost);
            return;
        };
        if cost.hot == best.hot && (cost.total - best.total).abs() <= best.total * SAME {
            self.ties += 1;
            if random().is_multiple_of(self.ties) {
                self.choice = Some(cost);
            }
        } else if (cost.hot, cost.total) < (best.hot, best.total) {
            self.choice = Some(cost);
            self.ties = 1;
        }
    }
}

/// A few nodes besides this one, by capacity; all of them where there are no more than that.
fn sample(field: &impl Field, params: &Params, now: u64, random: &mut impl FnMut() -> u64) -> Few {
    let count = field.count();
    let wanted = params.others(count).min(Few::MOST);
    let here = field.here();
    let mut few = Few::default();
    let fits = |few: &Few, index: usize| Some(index) != here && !few.contains(index) && field.may(index);
    if count > wanted + 1 {
        for _ in 0..wanted * 4 {
            if few.len() == wanted {
                return few;
            }
            if let Some(index) = field.sample(random())
                && fits(&few, index)
                && field.place(index).belief.accepts(params, now, random())
            {
                few.push(index);
            }
        }
    }
    // All there are, or few are left that may be chosen: one by one, from a random place on; new ones only if need be.
    let from = usize::try_from(random().checked_rem(count as u64).unwrap_or(0)).unwrap_or(0);
    let in_turn = |few: &mut Few, any: bool, random: &mut dyn FnMut() -> u64| {
        for index in (from..count).chain(0..from) {
            if few.len() < wanted
                && fits(few, index)
                && (any || field.place(index).belief.accepts(params, now, random()))
            {
                few.push(index);
            }
        }
    };
    in_turn(&mut few, false, random);
    if few.is_empty() {
        in_turn(&mut few, true, random);
    }
    few
}

#[cfg(test)]
pub(super) mod fake;
#[cfg(test)]
mod tests;
