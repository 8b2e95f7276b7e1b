//! How long calls take: each function's time, and from it each node's pace. Only a node's pace relative to others counts:
//! a function that takes longer on every node is not a slow node.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::{Params, ask::Questions, choice::Place};

/// What a gateway knows of all nodes and functions together.
#[derive(Debug)]
pub struct Knowledge {
    /// What calls take lately, in microseconds.
    service: AtomicU64,
    /// Calls of others per slot, on average.
    others: AtomicU64,
    /// By hash.
    functions: Box<[Function]>,
    start: f64,
    pub(super) questions: Questions,
}

/// A function's time.
#[derive(Debug, Default)]
struct Function {
    /// The mean of its logarithm (upper half), and of itself.
    time: AtomicU64,
    /// How many answers that is from, while they are few.
    answers: AtomicU32,
}

/// From so many answers on, something is concluded about nodes. (The very first that come are the short ones.)
const FIRST: u32 = 48;
/// Over so many, a function's time is a plain average; later on, one that forgets.
const MANY: u32 = 512;

/// A call's answer, as far as it tells about time.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The hash of its function.
    pub function: u64,
    /// Microseconds from sending to the reply's head.
    pub took: f64,
    /// Calls that computed on the node when it answered, or would have if there were slots for all.
    pub busy: u32,
}

impl Knowledge {
    /// At the beginning, with room for about so many functions.
    pub fn new(params: &Params, functions: usize) -> Self {
        Self {
            service: AtomicU64::new(params.service.to_bits()),
            others: AtomicU64::new(0),
            functions: (0..functions.max(1).next_power_of_two()).map(|_| Function::default()).collect(),
            start: params.service,
            questions: Questions::new(params),
        }
    }

    /// What calls take lately, in microseconds.
    pub fn service(&self) -> f64 {
        f64::from_bits(self.service.load(Relaxed))
    }

    /// What calls of this function take, in microseconds.
    pub fn service_of(&self, function: u64) -> f64 {
        let entry = self.entry(function);
        if entry.answers.load(Relaxed) == 0 { self.service() } else { f64::from(unpack(entry.time.load(Relaxed)).1) }
    }

    /// Calls of other gateways per slot, on average over what reports said.
    pub fn usual_others(&self) -> f64 {
        f64::from_bits(self.others.load(Relaxed))
    }

    pub(super) fn saw_others(&self, per_slot: f64) {
        let old = self.usual_others();
        self.others.store((old + (per_slot - old) / 64.0).to_bits(), Relaxed);
    }

    fn entry(&self, function: u64) -> &Function {
        let mask = self.functions.len() - 1;
        &self.functions[function as usize & mask]
    }
}

fn unpack(packed: u64) -> (f32, f32) {
    (f32::from_bits((packed >> 32) as u32), f32::from_bits(packed as u32))
}

fn pack(log: f32, mean: f32) -> u64 {
    u64::from(log.to_bits()) << 32 | u64::from(mean.to_bits())
}

/// Learns from an answer. Where more calls were there than slots, the call shared one, or waited: its own time lies
/// somewhere between the time it took and its part of that. What is believed already moves into this range and no further.
pub fn learn(knowledge: &Knowledge, place: &Place<'_>, answer: Answer, now: u64) {
    /// Of a node's pace, one answer tells this part. A function's time is the average over all nodes that answer, and
    /// follows far more slowly: a node that becomes slow has lost its calls before it is taken for a function that did.
    const OF_NODE: f32 = 1.0 / 32.0;
    const OF_MEAN: f32 = 1.0 / 64.0;
    let Place { belief, slots, speed } = *place;
    // As if on a node of usual speed.
    let most = ((answer.took - belief.hop()) * speed).max(1.0) as f32;
    let least = most / (f64::from(answer.busy) / slots).max(1.0) as f32;
    let pace = belief.pace(now);
    let entry = knowledge.entry(answer.function);
    let answers = entry.answers.load(Relaxed);
    if answers < MANY {
        entry.answers.store(answers + 1, Relaxed);
    }
    let (log, mean) = match answers {
        0 => (least.ln(), (knowledge.start as f32).clamp(least, most)),
        _ => unpack(entry.time.load(Relaxed)),
    };
    let surprise = (log + pace).clamp(least.ln(), most.ln()) - (log + pace);
    if answers >= FIRST {
        belief.set_pace(pace + surprise * OF_NODE, now);
    }
    let slowness = belief.slowness(now) as f32;
    let usual = (mean * slowness).clamp(least, most) / slowness;
    let mean = mean + (usual - mean) * OF_MEAN;
    let log = log + (surprise + pace) / (answers + 1).min(MANY) as f32;
    entry.time.store(pack(log, mean), Relaxed);
    let all = knowledge.service();
    knowledge.service.store((all + (f64::from(usual) - all) / 64.0).max(1.0).to_bits(), Relaxed);
    knowledge.questions.earn(f64::from(usual));
}

#[cfg(test)]
mod tests {
    use super::{super::Belief, *};
    use crate::Config;

    const CALM: Answer = Answer { function: 7, took: 10_000.0, busy: 2 };

    fn knowledge() -> Knowledge {
        Knowledge::new(&Params::from(&Config::default()), 16)
    }

    fn feed(knowledge: &Knowledge, belief: &Belief, answer: Answer, count: usize) {
        let place = Place { belief, slots: 4.0, speed: 1.0 };
        (0..count).for_each(|_| learn(knowledge, &place, answer, 1_000_000));
    }

    #[test]
    fn a_node_that_is_slower_than_others_is_known_after_a_few_calls() {
        let (knowledge, usual, slow) = (knowledge(), Belief::new(0.0), Belief::new(0.0));
        feed(&knowledge, &usual, CALM, 300);
        assert!((knowledge.service_of(7) - 10_000.0).abs() < 500.0, "{}", knowledge.service_of(7));
        feed(&knowledge, &slow, Answer { took: 30_000.0, ..CALM }, 24);
        assert!(slow.slowness(1_000_000) > 1.65, "{}", slow.slowness(1_000_000));
        feed(&knowledge, &slow, Answer { took: 30_000.0, ..CALM }, 100);
        assert!(slow.slowness(1_000_000) > 2.1, "{}", slow.slowness(1_000_000));
        assert_eq!(usual.slowness(1_000_000), 1.0);
        feed(&knowledge, &usual, CALM, 1_000);
        assert!((knowledge.service_of(7) - 10_000.0).abs() < 500.0, "the function did not change");
        // Another function needs no other knowledge of the node.
        assert_eq!(knowledge.service_of(8), knowledge.service());
    }

    #[test]
    fn a_function_that_is_slower_everywhere_makes_no_slow_nodes() {
        let (knowledge, nodes) = (knowledge(), [Belief::new(0.0), Belief::new(0.0), Belief::new(0.0)]);
        for took in [10_000.0, 30_000.0] {
            for _ in 0..500 {
                nodes.iter().for_each(|node| feed(&knowledge, node, Answer { took, ..CALM }, 1));
            }
        }
        let slowness: Vec<_> = nodes.iter().map(|node| node.slowness(1_000_000)).collect();
        let spread = slowness[0] / slowness[2];
        assert!((0.9..1.1).contains(&spread), "{slowness:?}");
        assert!(slowness[0] < 1.7, "{slowness:?}");
    }

    #[test]
    fn a_full_node_is_not_a_slow_one() {
        let (knowledge, usual, full) = (knowledge(), Belief::new(0.0), Belief::new(0.0));
        feed(&knowledge, &usual, CALM, 300);
        // Three calls for every slot: each takes three times as long.
        feed(&knowledge, &full, Answer { took: 30_000.0, busy: 12, ..CALM }, 500);
        assert_eq!(full.slowness(1_000_000), 1.0);
        // And one that is both is found out.
        feed(&knowledge, &full, Answer { took: 90_000.0, busy: 12, ..CALM }, 200);
        assert!(full.slowness(1_000_000) > 2.2, "{}", full.slowness(1_000_000));
    }

    #[test]
    fn the_speed_that_a_node_states_is_not_learned_again() {
        let (knowledge, usual, half) = (knowledge(), Belief::new(0.0), Belief::new(0.0));
        feed(&knowledge, &usual, CALM, 300);
        let place = Place { belief: &half, slots: 4.0, speed: 0.5 };
        (0..200).for_each(|_| learn(&knowledge, &place, Answer { took: 20_000.0, ..CALM }, 1_000_000));
        assert_eq!(half.slowness(1_000_000), 1.0);
    }
}
