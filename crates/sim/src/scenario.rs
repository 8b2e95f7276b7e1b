//! What is simulated.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp1};

/// How long calls compute, as a multiple of the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Service {
    /// Exponential.
    Exponential,
    /// All the same.
    Constant,
    /// Bounded Pareto with exponent 1.5 over three powers of ten: a few calls take a hundred times as long as most.
    HeavyTail,
}

impl Service {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exponential => "exponential",
            Self::Constant => "constant",
            Self::HeavyTail => "heavy tail",
        }
    }

    /// One call's, of mean 1.
    pub fn draw(self, random: &mut impl Rng) -> f64 {
        match self {
            Self::Exponential => Exp1.sample(random),
            Self::Constant => 1.0,
            Self::HeavyTail => {
                const ALPHA: f64 = 1.5;
                const RANGE: f64 = 1_000.0;
                let tail = 1.0 - RANGE.powf(-ALPHA);
                // Of least value 1; the mean divides it out.
                let mean = ALPHA / (ALPHA - 1.0) * (1.0 - RANGE.powf(1.0 - ALPHA)) / tail;
                let uniform: f64 = random.random();
                (1.0 - uniform * tail).powf(-1.0 / ALPHA) / mean
            }
        }
    }
}

/// When calls come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// One by one at any gateway.
    Poisson,
    /// Many at the same moment at one gateway, this many on average.
    Batches(f64),
}

/// Nodes that become slow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slowdown {
    /// How many, from the first on.
    pub nodes: usize,
    /// How many times longer calls take there.
    pub times: f64,
    /// When, in seconds from the start of what is measured.
    pub at: f64,
}

/// A cluster, its load, and how long it is watched. Every node is a gateway.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Nodes.
    pub nodes: usize,
    /// Calls that compute at once on a node.
    pub slots: usize,
    /// Speeds of nodes, in turn; scaled so that their mean is 1.
    pub speeds: Vec<f64>,
    /// Of the capacity, what is offered.
    pub load: f64,
    /// How long calls compute on average, in seconds.
    pub service_time: f64,
    /// How that is distributed.
    pub service: Service,
    /// When calls come.
    pub arrivals: Arrivals,
    /// The way to another node and back, in seconds.
    pub hop: f64,
    /// How old what a node says of itself may be, in seconds.
    pub stale: f64,
    /// Nodes that become slow.
    pub slowdown: Option<Slowdown>,
    /// Calls that are measured.
    pub calls: u64,
    /// Calls before that.
    pub warm_up: u64,
}

impl Scenario {
    /// A thousand equal nodes of eight slots, 0.3 ms apart, with exponential calls.
    pub fn new(load: f64, service_time: f64, calls: u64) -> Self {
        Self {
            nodes: 1_000,
            slots: 8,
            speeds: vec![1.0],
            load,
            service_time,
            service: Service::Exponential,
            arrivals: Arrivals::Poisson,
            hop: 300e-6,
            stale: 0.0,
            slowdown: None,
            calls,
            warm_up: calls / 3,
        }
    }

    /// Calls per second that are offered.
    pub fn rate(&self) -> f64 {
        self.load * (self.nodes * self.slots) as f64 / self.service_time
    }

    /// A node's speed; the mean over all is 1.
    pub fn speed(&self, node: usize) -> f64 {
        let mean = self.speeds.iter().sum::<f64>() / self.speeds.len() as f64;
        self.speeds[node % self.speeds.len()] / mean
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_distribution_has_mean_one() {
        let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(1);
        for service in [Service::Exponential, Service::Constant, Service::HeavyTail] {
            let mean = (0..400_000).map(|_| service.draw(&mut random)).sum::<f64>() / 400_000.0;
            assert!((mean - 1.0).abs() < 0.03, "{service:?} {mean}");
        }
    }
}
