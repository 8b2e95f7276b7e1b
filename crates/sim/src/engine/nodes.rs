//! The nodes as they are, whoever knows it.

use std::collections::VecDeque;

use onrush_router::policy::Report;

use crate::scenario::Scenario;

#[derive(Debug)]
struct Node {
    running: usize,
    queue: VecDeque<u32>,
    /// How many times longer a call takes than on a node of speed 1.
    pace: f64,
    /// What calls take here lately, in nanoseconds, as a worker keeps it.
    average: f64,
    /// What it says of itself, and in which interval it said so.
    said: Report,
    interval: u64,
}

/// The nodes as they are now.
#[derive(Debug)]
pub struct Truth {
    /// Nanoseconds from the start.
    pub(crate) now: u64,
    slots: usize,
    stale: u64,
    nodes: Vec<Node>,
    ranks: Ranks,
}

impl Truth {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let average = scenario.service_time * 1e9;
        let node = |index| Node {
            running: 0,
            queue: VecDeque::new(),
            pace: 1.0 / scenario.speed(index),
            average: average / scenario.speed(index),
            said: Report::default(),
            interval: 0,
        };
        let nodes = (0..scenario.nodes).map(node).collect();
        let stale = (scenario.stale * 1e9) as u64;
        Self { now: 0, slots: scenario.slots, stale, nodes, ranks: Ranks::new(scenario.nodes) }
    }

    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// How many times longer a call takes there.
    pub(crate) fn pace(&self, node: usize) -> f64 {
        self.nodes[node].pace
    }

    /// Calls there and under way there.
    pub(crate) fn load(&self, node: usize) -> usize {
        self.ranks.load(node)
    }

    /// One of those with the fewest.
    pub(crate) fn least(&self, random: u64) -> usize {
        self.ranks.least(random)
    }

    /// What a node says of itself: as it is, or as it was when the last interval began.
    pub(crate) fn report(&mut self, node: usize) -> Report {
        self.look(node);
        if self.stale == 0 { self.exact(node) } else { self.nodes[node].said }
    }

    /// As it is.
    pub(crate) fn exact(&self, index: usize) -> Report {
        let node = &self.nodes[index];
        let in_flight = (node.running + node.queue.len()) as u32;
        let behind = (node.queue.len() + 1) as f64 * node.average / self.slots as f64;
        let wait = if node.running < self.slots { 0.0 } else { behind / 1e3 };
        Report { in_flight, busy: in_flight, wait }
    }

    /// Before anything changes in a new interval, what was true at its beginning is kept.
    fn look(&mut self, index: usize) {
        if let Some(interval) = self.now.checked_div(self.stale)
            && interval != self.nodes[index].interval
        {
            self.nodes[index].said = self.exact(index);
            self.nodes[index].interval = interval;
        }
    }

    /// A call is sent there.
    pub(crate) fn expect(&mut self, node: usize) {
        self.ranks.up(node);
    }

    /// A call is there. Returns whether it starts.
    pub(crate) fn enter(&mut self, index: usize, call: u32) -> bool {
        self.look(index);
        let node = &mut self.nodes[index];
        if node.running < self.slots {
            node.running += 1;
            return true;
        }
        node.queue.push_back(call);
        false
    }

    /// A call is computed, in so many nanoseconds. Returns the one that starts in its place.
    pub(crate) fn leave(&mut self, index: usize, computed: u64) -> Option<u32> {
        self.look(index);
        self.ranks.down(index);
        let node = &mut self.nodes[index];
        node.average += (computed as f64 - node.average) / 8.0;
        let next = node.queue.pop_front();
        if next.is_none() {
            node.running -= 1;
        }
        next
    }

    /// The scenario's slow nodes become slow, for calls that start from now on.
    pub(crate) fn slow(&mut self, scenario: &Scenario) {
        if let Some(slowdown) = scenario.slowdown {
            self.nodes[..slowdown.nodes].iter_mut().for_each(|node| node.pace *= slowdown.times);
        }
    }
}

/// Nodes by how many calls they have, so that one with the fewest is found at once.
#[derive(Debug)]
struct Ranks {
    loads: Vec<u32>,
    /// Nodes of each load, and where each node is there.
    by_load: Vec<Vec<u32>>,
    places: Vec<u32>,
    least: usize,
}

impl Ranks {
    fn new(count: usize) -> Self {
        let all: Vec<u32> = (0..count as u32).collect();
        Self { loads: vec![0; count], places: all.clone(), by_load: vec![all], least: 0 }
    }

    fn load(&self, node: usize) -> usize {
        self.loads[node] as usize
    }

    fn least(&self, random: u64) -> usize {
        let nodes = &self.by_load[self.least];
        nodes[(random % nodes.len() as u64) as usize] as usize
    }

    fn up(&mut self, node: usize) {
        self.shift(node, self.load(node) + 1);
        while self.by_load[self.least].is_empty() {
            self.least += 1;
        }
    }

    fn down(&mut self, node: usize) {
        self.shift(node, self.load(node) - 1);
        self.least = self.least.min(self.load(node));
    }

    fn shift(&mut self, node: usize, load: usize) {
        let (old, place) = (self.load(node), self.places[node] as usize);
        self.by_load[old].swap_remove(place);
        if let Some(moved) = self.by_load[old].get(place) {
            self.places[*moved as usize] = place as u32;
        }
        if self.by_load.len() <= load {
            self.by_load.resize(load + 1, Vec::new());
        }
        self.places[node] = self.by_load[load].len() as u32;
        self.by_load[load].push(node as u32);
        self.loads[node] = load as u32;
    }
}
