//! The least loaded node by what gossip said last: everybody sends to the same few.

use onrush_router::policy::Decision;

use super::{Policy, any};
use crate::engine::Truth;

/// Everybody hears everybody's load at the same time, and sends to the nodes that had the least until the next time.
#[derive(Debug)]
pub struct Gossip {
    least: Vec<usize>,
}

impl Gossip {
    /// How often loads go round, in seconds: five times as often as is usual, in its favour.
    const INTERVAL: f64 = 0.2;

    /// For so many nodes, all idle.
    pub fn new(nodes: usize) -> Self {
        Self { least: (0..nodes).collect() }
    }
}

impl Policy for Gossip {
    fn place(&mut self, _: usize, _: &Truth, random: &mut dyn FnMut() -> u64) -> Decision {
        Decision::Go(self.least[any(self.least.len(), random())])
    }

    fn interval(&self) -> Option<f64> {
        Some(Self::INTERVAL)
    }

    fn tick(&mut self, truth: &Truth) {
        let load = |node: &usize| truth.exact(*node).in_flight;
        let least = (0..truth.count()).map(|node| load(&node)).min().unwrap_or(0);
        self.least = (0..truth.count()).filter(|node| load(node) == least).collect();
    }
}
