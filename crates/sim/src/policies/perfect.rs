//! Those that know everything at once, calls that are under way included. Nobody can; they say what there is to win.

use onrush_router::policy::Decision;

use super::{Policy, any};
use crate::{engine::Truth, scenario::Scenario};

/// The least loaded of so many random nodes.
#[derive(Debug)]
pub struct Fresh(pub u32);

impl Policy for Fresh {
    fn place(&mut self, _: usize, truth: &Truth, random: &mut dyn FnMut() -> u64) -> Decision {
        let mut best = any(truth.count(), random());
        for _ in 1..self.0 {
            let other = any(truth.count(), random());
            if truth.load(other) < truth.load(best) {
                best = other;
            }
        }
        Decision::Go(best)
    }
}

/// The least loaded of all nodes; ties break at random.
#[derive(Debug)]
pub struct Shortest;

impl Policy for Shortest {
    fn place(&mut self, _: usize, truth: &Truth, random: &mut dyn FnMut() -> u64) -> Decision {
        Decision::Go(truth.least(random()))
    }
}

/// Where the call is expected to end first: queue, way and speed of every node counted.
#[derive(Debug)]
pub struct LeastTime {
    service: f64,
    hop: f64,
}

impl LeastTime {
    /// In this scenario.
    pub fn new(scenario: &Scenario) -> Self {
        Self { service: scenario.service_time, hop: scenario.hop }
    }

    fn cost(&self, truth: &Truth, gateway: usize, node: usize) -> f64 {
        let ahead = (truth.load(node) + 1).saturating_sub(truth.slots()) as f64 / truth.slots() as f64;
        let hop = if node == gateway { 0.0 } else { self.hop };
        hop + (ahead + 1.0) * self.service * truth.pace(node)
    }
}

impl Policy for LeastTime {
    fn place(&mut self, gateway: usize, truth: &Truth, random: &mut dyn FnMut() -> u64) -> Decision {
        let (mut best, mut least) = (gateway, self.cost(truth, gateway, gateway));
        let from = any(truth.count(), random());
        for node in (from..truth.count()).chain(0..from) {
            let cost = self.cost(truth, gateway, node);
            if cost < least {
                (best, least) = (node, cost);
            }
        }
        Decision::Go(best)
    }
}
