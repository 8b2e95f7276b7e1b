//! Who places calls, and how.

use onrush_router::policy::{Decision, Few, Report};

use crate::{
    engine::{Truth, run},
    measure::Outcome,
    scenario::Scenario,
};

mod gossip;
mod ours;
mod perfect;
mod prequal;
mod simple;

pub use self::{
    gossip::Gossip,
    ours::Ours,
    perfect::{Fresh, LeastTime, Shortest},
    prequal::Prequal,
    simple::{LeastRequests, Piggyback, Random, RoundRobin},
};

/// A call is answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// Where it ran.
    pub node: usize,
    /// What that node said with the reply.
    pub report: Report,
    /// From sending to the reply, in nanoseconds.
    pub took: u64,
    /// Nanoseconds from the start.
    pub now: u64,
}

/// Places calls, for all gateways; what each of them knows is its own.
pub trait Policy {
    /// Where a call goes.
    fn place(&mut self, gateway: usize, truth: &Truth, random: &mut dyn FnMut() -> u64) -> Decision;

    /// Where a call goes after these answered.
    fn settle(&mut self, gateway: usize, _few: &Few, _truth: &Truth, _random: &mut dyn FnMut() -> u64) -> usize {
        gateway
    }

    /// Whom to ask besides, without waiting.
    fn ask_behind(&mut self) -> Few {
        Few::default()
    }

    /// A call was sent.
    fn sent(&mut self, _gateway: usize, _node: usize) {}

    /// A call is back.
    fn answered(&mut self, _gateway: usize, _answered: &Answered) {}

    /// A node that was asked has said this.
    fn told(&mut self, _gateway: usize, _node: usize, _report: Report, _now: u64) {}

    /// How often [`Policy::tick`] comes, in seconds.
    fn interval(&self) -> Option<f64> {
        None
    }

    /// Every interval, everybody hears everything.
    fn tick(&mut self, _truth: &Truth) {}
}

/// All of them, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each has its name")]
pub enum Kind {
    Random,
    RoundRobin,
    LeastRequests,
    Gossip,
    Piggyback,
    Prequal,
    Fresh,
    Shortest,
    LeastTime,
    Ours,
    OursWithoutAsking,
    OursWithoutPace,
}

impl Kind {
    /// Those that are compared everywhere.
    pub const COMPARED: [Self; 10] = [
        Self::Random,
        Self::RoundRobin,
        Self::LeastRequests,
        Self::Gossip,
        Self::Piggyback,
        Self::Prequal,
        Self::Fresh,
        Self::LeastTime,
        Self::Shortest,
        Self::Ours,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round robin",
            Self::LeastRequests => "least requests of two",
            Self::Gossip => "least loaded by gossip",
            Self::Piggyback => "least reported of two",
            Self::Prequal => "Prequal's rule",
            Self::Fresh => "two choices, omniscient",
            Self::Shortest => "shortest queue, omniscient",
            Self::LeastTime => "least time, omniscient",
            Self::Ours => "Onrush",
            Self::OursWithoutAsking => "Onrush, never asks",
            Self::OursWithoutPace => "Onrush, blind to pace",
        }
    }

    /// Runs a scenario under it.
    pub fn run(self, scenario: &Scenario, seed: u64) -> Outcome {
        let nodes = scenario.nodes;
        match self {
            Self::Random => run(scenario, Random, seed),
            Self::RoundRobin => run(scenario, RoundRobin::new(nodes), seed),
            Self::LeastRequests => run(scenario, LeastRequests::new(nodes), seed),
            Self::Gossip => run(scenario, Gossip::new(nodes), seed),
            Self::Piggyback => run(scenario, Piggyback::new(nodes), seed),
            Self::Prequal => run(scenario, Prequal::new(nodes), seed),
            Self::Fresh => run(scenario, Fresh(2), seed),
            Self::Shortest => run(scenario, Shortest, seed),
            Self::LeastTime => run(scenario, LeastTime::new(scenario), seed),
            Self::Ours => run(scenario, Ours::new(scenario, |_| {}), seed),
            Self::OursWithoutAsking => run(scenario, Ours::new(scenario, |config| config.ask_percent = 0), seed),
            Self::OursWithoutPace => run(scenario, Ours::blind(scenario), seed),
        }
    }
}

/// One of `count`, by a random number.
fn any(count: usize, random: u64) -> usize {
    (random % count as u64) as usize
}
