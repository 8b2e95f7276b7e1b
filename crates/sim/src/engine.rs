//! The clock, the nodes, the calls. Open loop: calls come whatever becomes of those before them, and each is timed from its
//! arrival.

use std::{cmp::Ordering, collections::BinaryHeap};

use onrush_router::policy::{Decision, Few, Report};
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;

use crate::{
    measure::Outcome,
    policies::{Answered, Policy},
    scenario::{Arrivals, Scenario},
};

mod nodes;

pub use self::nodes::Truth;

/// Slices of time in which it is counted who runs calls, in nanoseconds.
pub(crate) const SLICE: u64 = 20_000_000;

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Calls come to a gateway.
    Arrive,
    /// A call is at its node.
    Reach,
    /// It is computed.
    Done,
    /// Its reply is back.
    Back,
    /// The question is at the nodes.
    Read,
    /// Its answers are back.
    Told,
    /// The policy's own interval is over.
    Tick,
    /// Nodes become slow.
    Slow,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    at: u64,
    number: u64,
    kind: Kind,
    subject: u32,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The heap gives the greatest first: that is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

#[derive(Debug, Clone, Copy)]
struct Call {
    gateway: u32,
    node: u32,
    measured: bool,
    arrived: u64,
    sent: u64,
    reached: u64,
    started: u64,
    /// What it computes on a node of speed 1.
    work: u64,
    /// What its reply says.
    report: Report,
}

/// A question under way, for a call that waits for it or for none.
#[derive(Debug, Clone, Copy)]
struct Question {
    gateway: u32,
    call: Option<u32>,
    few: Few,
    reports: [Report; Few::MOST],
}

/// Things by number, with numbers used again.
#[derive(Debug)]
struct Slab<T> {
    list: Vec<T>,
    free: Vec<u32>,
}

impl<T: Copy> Slab<T> {
    fn new() -> Self {
        Self { list: Vec::new(), free: Vec::new() }
    }

    fn add(&mut self, thing: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.list[number as usize] = thing;
            return number;
        }
        self.list.push(thing);
        (self.list.len() - 1) as u32
    }

    fn remove(&mut self, number: u32) -> T {
        self.free.push(number);
        self.list[number as usize]
    }
}

struct Engine<'a, P> {
    scenario: &'a Scenario,
    policy: P,
    truth: Truth,
    events: BinaryHeap<Event>,
    number: u64,
    calls: Slab<Call>,
    questions: Slab<Question>,
    /// Arrivals and work: the same for every policy under the same seed.
    world: Pcg64Mcg,
    /// What the policy draws.
    dice: Pcg64Mcg,
    outcome: Outcome,
    arrived: u64,
    /// When measuring began.
    began: Option<u64>,
}

/// Runs a scenario under a policy. The same seed gives the same numbers.
pub fn run(scenario: &Scenario, policy: impl Policy, seed: u64) -> Outcome {
    let mut engine = Engine {
        scenario,
        policy,
        truth: Truth::new(scenario),
        events: BinaryHeap::new(),
        number: 0,
        calls: Slab::new(),
        questions: Slab::new(),
        world: Pcg64Mcg::seed_from_u64(seed),
        dice: Pcg64Mcg::seed_from_u64(seed ^ 0x5eed_d1ce),
        outcome: Outcome::new(),
        arrived: 0,
        began: None,
    };
    engine.run();
    engine.outcome
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

impl<P: Policy> Engine<'_, P> {
    fn run(&mut self) {
        self.after(0, Kind::Arrive, 0);
        if let Some(interval) = self.policy.interval() {
            self.after(nanos(interval), Kind::Tick, 0);
        }
        let all = self.scenario.warm_up + self.scenario.calls;
        // Calls that come later do not delay those before them, so none have to come; but every one that is measured is
        // waited for, or the long ones would be missing.
        let mut measured = u64::MAX;
        while self.outcome.calls() < measured
            && let Some(event) = self.events.pop()
        {
            self.truth.now = event.at;
            match event.kind {
                Kind::Arrive if self.arrived >= all => measured = self.arrived - self.scenario.warm_up,
                Kind::Arrive => self.arrive(),
                Kind::Reach => self.reach(event.subject),
                Kind::Done => self.done(event.subject),
                Kind::Back => self.back(event.subject),
                Kind::Read => self.read(event.subject),
                Kind::Told => self.told(event.subject),
                Kind::Tick => {
                    self.policy.tick(&self.truth);
                    self.after(nanos(self.policy.interval().unwrap_or(1.0)), Kind::Tick, 0);
                }
                Kind::Slow => self.truth.slow(self.scenario),
            }
        }
    }

    fn after(&mut self, delay: u64, kind: Kind, subject: u32) {
        self.number += 1;
        self.events.push(Event { at: self.truth.now + delay, number: self.number, kind, subject });
    }

    fn arrive(&mut self) {
        let gateway = self.world.random_range(0..self.scenario.nodes) as u32;
        let (count, mean) = match self.scenario.arrivals {
            Arrivals::Poisson => (1, 1.0),
            Arrivals::Batches(mean) => {
                let many: f64 = Exp1.sample(&mut self.world);
                (1 + (many * (mean - 0.5)) as u64, mean)
            }
        };
        for _ in 0..count {
            self.arrived += 1;
            let measured = self.arrived > self.scenario.warm_up;
            if measured && self.began.is_none() {
                self.began = Some(self.truth.now);
                if let Some(slowdown) = self.scenario.slowdown {
                    self.after(nanos(slowdown.at), Kind::Slow, 0);
                }
            }
            let work = self.scenario.service.draw(&mut self.world) * self.scenario.service_time;
            let now = self.truth.now;
            let (work, report) = (nanos(work).max(1), Report::default());
            let call = Call { gateway, node: 0, measured, arrived: now, sent: 0, reached: 0, started: 0, work, report };
            let call = self.calls.add(call);
            self.place(call, gateway);
        }
        let gap: f64 = Exp1.sample(&mut self.world);
        self.after(nanos(gap * mean / self.scenario.rate()), Kind::Arrive, 0);
    }

    fn place(&mut self, call: u32, gateway: u32) {
        let decision = self.policy.place(gateway as usize, &self.truth, &mut || self.dice.next_u64());
        let behind = self.policy.ask_behind();
        if !behind.is_empty() {
            self.ask(gateway, None, behind);
        }
        match decision {
            Decision::Go(node) => self.send(call, node),
            Decision::Ask(few) => self.ask(gateway, Some(call), few),
            Decision::Nobody => {}
        }
    }

    fn ask(&mut self, gateway: u32, call: Option<u32>, few: Few) {
        if self.began.is_some() {
            self.outcome.asked += few.len() as u64;
        }
        let reports = [Report::default(); Few::MOST];
        let question = self.questions.add(Question { gateway, call, few, reports });
        self.after(nanos(self.scenario.hop / 2.0), Kind::Read, question);
    }

    fn read(&mut self, number: u32) {
        let few = self.questions.list[number as usize].few;
        for (place, node) in few.iter().enumerate() {
            self.questions.list[number as usize].reports[place] = self.truth.report(node);
        }
        self.after(nanos(self.scenario.hop / 2.0), Kind::Told, number);
    }

    fn told(&mut self, number: u32) {
        let Question { gateway, call, few, reports } = self.questions.remove(number);
        for (node, report) in few.iter().zip(reports) {
            self.policy.told(gateway as usize, node, report, self.truth.now);
        }
        if let Some(call) = call {
            let node = self.policy.settle(gateway as usize, &few, &self.truth, &mut || self.dice.next_u64());
            self.send(call, node);
        }
    }

    fn send(&mut self, number: u32, node: usize) {
        let now = self.truth.now;
        let call = &mut self.calls.list[number as usize];
        (call.node, call.sent) = (node as u32, now);
        let away = call.gateway != call.node;
        let (gateway, measured) = (call.gateway as usize, call.measured);
        self.policy.sent(gateway, node);
        self.truth.expect(node);
        if measured {
            self.outcome.sent_away += u64::from(away);
            self.count(node);
        }
        if away {
            self.after(nanos(self.scenario.hop / 2.0), Kind::Reach, number);
        } else {
            self.reach(number);
        }
    }

    fn count(&mut self, node: usize) {
        let (Some(slowdown), Some(began)) = (self.scenario.slowdown, self.began) else { return };
        let slice = ((self.truth.now - began) / SLICE) as usize;
        if self.outcome.slices.len() <= slice {
            self.outcome.slices.resize(slice + 1, (0, 0));
        }
        let counts = &mut self.outcome.slices[slice];
        counts.0 += u64::from(node < slowdown.nodes);
        counts.1 += 1;
    }

    fn reach(&mut self, number: u32) {
        let now = self.truth.now;
        let call = &mut self.calls.list[number as usize];
        call.reached = now;
        let node = call.node as usize;
        if self.truth.enter(node, number) {
            self.start(number);
        }
    }

    fn start(&mut self, number: u32) {
        let now = self.truth.now;
        let call = &mut self.calls.list[number as usize];
        call.started = now;
        let takes = (call.work as f64 * self.truth.pace(call.node as usize)) as u64;
        self.after(takes.max(1), Kind::Done, number);
    }

    fn done(&mut self, number: u32) {
        let call = self.calls.list[number as usize];
        let node = call.node as usize;
        let computed = self.truth.now - call.started;
        let next = self.truth.leave(node, computed);
        if let Some(next) = next {
            self.start(next);
        }
        self.calls.list[number as usize].report = self.truth.report(node);
        if call.gateway == call.node {
            self.back(number);
        } else {
            self.after(nanos(self.scenario.hop / 2.0), Kind::Back, number);
        }
    }

    fn back(&mut self, number: u32) {
        let now = self.truth.now;
        let call = self.calls.remove(number);
        let (node, took) = (call.node as usize, now - call.sent);
        self.policy.answered(call.gateway as usize, &Answered { node, report: call.report, took, now });
        if call.measured {
            self.outcome.record(now - call.arrived, call.started - call.reached);
        }
    }
}
