//! Onrush: the rules of `onrush_router::policy`, unchanged, with a gateway's beliefs around them.

use onrush_router::{
    Config,
    policy::{self, Answer, Belief, Call, Capacity, Decision, Few, Field, Knowledge, Params, Place, Report},
};

use super::{Answered, Policy};
use crate::{engine::Truth, scenario::Scenario};

/// All gateways.
#[derive(Debug)]
pub struct Ours {
    params: Params,
    capacity: Capacity,
    speeds: Vec<f64>,
    slots: f64,
    gateways: Vec<Gateway>,
    blind: bool,
}

#[derive(Debug)]
struct Gateway {
    knowledge: Knowledge,
    beliefs: Vec<Belief>,
}

/// What one gateway sees.
struct View<'a> {
    all: &'a Ours,
    gateway: usize,
    truth: &'a Truth,
}

/// There is one function.
const FUNCTION: u64 = 0;

impl Ours {
    /// With the defaults that nodes have, but for what `change` does. A gateway begins by knowing how long calls take.
    pub fn new(scenario: &Scenario, change: impl FnOnce(&mut Config)) -> Self {
        let mut config =
            Config { service: std::time::Duration::from_secs_f64(scenario.service_time), ..Config::default() };
        change(&mut config);
        let params = Params::from(&config);
        let nodes = scenario.nodes;
        let hop = |gateway, node| if gateway == node { 0.0 } else { params.hop };
        let gateway = |gateway| Gateway {
            knowledge: Knowledge::new(&params, 1),
            beliefs: (0..nodes).map(|node| Belief::new(hop(gateway, node))).collect(),
        };
        let speeds: Vec<_> = (0..nodes).map(|node| scenario.speed(node)).collect();
        Self {
            capacity: Capacity::new(speeds.iter().map(|speed| (speed * 1e4) as u64)),
            gateways: (0..nodes).map(gateway).collect(),
            slots: scenario.slots as f64,
            speeds,
            params,
            blind: false,
        }
    }

    /// One that does not learn how fast nodes are.
    pub fn blind(scenario: &Scenario) -> Self {
        Self { blind: true, ..Self::new(scenario, |_| {}) }
    }
}

impl Field for View<'_> {
    fn count(&self) -> usize {
        self.all.speeds.len()
    }

    fn here(&self) -> Option<usize> {
        Some(self.gateway)
    }

    fn place(&self, index: usize) -> Place<'_> {
        let belief = &self.all.gateways[self.gateway].beliefs[index];
        Place { belief, slots: self.all.slots, speed: self.all.speeds[index] }
    }

    fn id(&self, index: usize) -> u64 {
        index as u64
    }

    fn may(&self, _: usize) -> bool {
        true
    }

    fn sample(&self, random: u64) -> Option<usize> {
        self.all.capacity.sample(random)
    }

    fn look_here(&self) {
        let Gateway { knowledge, beliefs } = &self.all.gateways[self.gateway];
        let report = self.truth.exact(self.gateway);
        beliefs[self.gateway].report(report, self.all.slots, knowledge, self.truth.now / 1_000);
    }
}

impl Policy for Ours {
    fn place(&mut self, gateway: usize, truth: &Truth, mut random: &mut dyn FnMut() -> u64) -> Decision {
        let view = View { all: self, gateway, truth };
        let call = Call { function: FUNCTION, now: truth.now / 1_000, may_ask: true };
        policy::decide(&view, &self.gateways[gateway].knowledge, &self.params, call, &mut random)
    }

    fn settle(&mut self, gateway: usize, few: &Few, truth: &Truth, mut random: &mut dyn FnMut() -> u64) -> usize {
        let view = View { all: self, gateway, truth };
        let call = Call { function: FUNCTION, now: truth.now / 1_000, may_ask: false };
        let knowledge = &self.gateways[gateway].knowledge;
        policy::settle(&view, knowledge, &self.params, (call, few), &mut random).unwrap_or(gateway)
    }

    fn sent(&mut self, gateway: usize, node: usize) {
        self.gateways[gateway].beliefs[node].enter();
    }

    fn answered(&mut self, gateway: usize, answered: &Answered) {
        let Gateway { knowledge, beliefs } = &self.gateways[gateway];
        let Answered { node, report, took, now } = *answered;
        let belief = &beliefs[node];
        belief.leave();
        belief.report(report, self.slots, knowledge, now / 1_000);
        // Whoever is blind to pace keeps nothing of what it learns about a node.
        let forgotten = Belief::new(belief.hop());
        let belief = if self.blind { &forgotten } else { belief };
        let place = Place { belief, slots: self.slots, speed: self.speeds[node] };
        let answer = Answer { function: FUNCTION, took: took as f64 / 1e3, busy: report.busy };
        policy::learn(knowledge, &place, answer, now / 1_000);
    }

    fn told(&mut self, gateway: usize, node: usize, report: Report, now: u64) {
        let Gateway { knowledge, beliefs } = &self.gateways[gateway];
        beliefs[node].report(report, self.slots, knowledge, now / 1_000);
    }
}
