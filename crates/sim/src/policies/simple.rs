//! Those that know little.

use onrush_router::policy::Decision;

use super::{Answered, Policy, any};
use crate::engine::Truth;

/// Any node.
#[derive(Debug)]
pub struct Random;

impl Policy for Random {
    fn place(&mut self, _: usize, truth: &Truth, random: &mut dyn FnMut() -> u64) -> Decision {
        Decision::Go(any(truth.count(), random()))
    }
}

/// Each gateway goes round; they start at different places.
#[derive(Debug)]
pub struct RoundRobin(Vec<usize>);

impl RoundRobin {
    /// For so many gateways.
    pub fn new(nodes: usize) -> Self {
        // Spread by a number that has nothing to do with the count.
        Self((0..nodes).map(|gateway| gateway * 7_919 % nodes).collect())
    }
}

impl Policy for RoundRobin {
    fn place(&mut self, gateway: usize, truth: &Truth, _: &mut dyn FnMut() -> u64) -> Decision {
        let next = &mut self.0[gateway];
        *next = (*next + 1) % truth.count();
        Decision::Go(*next)
    }
}

/// Of two random nodes the one with fewer calls of this gateway: what most proxies call "least requests".
#[derive(Debug)]
pub struct LeastRequests {
    nodes: usize,
    own: Vec<u16>,
}

impl LeastRequests {
    /// For so many gateways and nodes.
    pub fn new(nodes: usize) -> Self {
        Self { nodes, own: vec![0; nodes * nodes] }
    }
}

impl Policy for LeastRequests {
    fn place(&mut self, gateway: usize, _: &Truth, random: &mut dyn FnMut() -> u64) -> Decision {
        let (one, other) = (any(self.nodes, random()), any(self.nodes, random()));
        let own = |node: usize| self.own[gateway * self.nodes + node];
        Decision::Go(if own(other) < own(one) { other } else { one })
    }

    fn sent(&mut self, gateway: usize, node: usize) {
        self.own[gateway * self.nodes + node] += 1;
    }

    fn answered(&mut self, gateway: usize, answered: &Answered) {
        self.own[gateway * self.nodes + answered.node] -= 1;
    }
}

/// Of two random nodes the one that said it had fewer calls when it last answered this gateway, however long ago.
#[derive(Debug)]
pub struct Piggyback {
    nodes: usize,
    said: Vec<u32>,
}

impl Piggyback {
    /// For so many gateways and nodes.
    pub fn new(nodes: usize) -> Self {
        Self { nodes, said: vec![0; nodes * nodes] }
    }
}

impl Policy for Piggyback {
    fn place(&mut self, gateway: usize, _: &Truth, random: &mut dyn FnMut() -> u64) -> Decision {
        let (one, other) = (any(self.nodes, random()), any(self.nodes, random()));
        let said = |node: usize| self.said[gateway * self.nodes + node];
        Decision::Go(if said(other) < said(one) { other } else { one })
    }

    fn answered(&mut self, gateway: usize, answered: &Answered) {
        self.said[gateway * self.nodes + answered.node] = answered.report.in_flight;
    }
}
