//! Prequal (NSDI 2024), as far as the paper states it: a pool of answers from random nodes, filled behind the calls. A node
//! with more calls than the pool's 84 % quantile is hot; the fastest of those that are not is chosen, or the one with the
//! fewest calls where all are. An answer serves a few calls, each of which counts as one more on that node, and the worst
//! or oldest goes with every call.

use onrush_router::policy::{Decision, Few, Report};

use super::{Answered, Policy, any};
use crate::engine::Truth;

const POOL: usize = 16;
const ASKED_PER_CALL: usize = 3;
const HOT: f64 = 0.84;
const OLDEST_NS: u64 = 1_000_000_000;
const USES: u32 = 3;

#[derive(Debug, Clone, Copy)]
struct Answer {
    node: usize,
    in_flight: u32,
    latency: f64,
    at: u64,
    uses: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Prequal {
    pools: Vec<Vec<Answer>>,
    calls: u64,
    ask: Few,
    /// What calls take, in microseconds: a node's latency is that and the wait.
    service: f64,
}

impl Prequal {
    /// For so many gateways.
    pub fn new(nodes: usize) -> Self {
        Self {
            pools: vec![Vec::with_capacity(POOL + ASKED_PER_CALL); nodes],
            calls: 0,
            ask: Few::default(),
            service: 0.0,
        }
    }

    fn forget(pool: &mut Vec<Answer>, oldest: bool, hot: u32) {
        let worst =
            |answer: &Answer| if answer.in_flight > hot { f64::from(answer.in_flight) * 1e9 } else { answer.latency };
        let found = if oldest {
            pool.iter().enumerate().min_by_key(|(_, answer)| answer.at).map(|(index, _)| index)
        } else {
            pool.iter().enumerate().max_by(|a, b| worst(a.1).total_cmp(&worst(b.1))).map(|(index, _)| index)
        };
        if let Some(index) = found {
            pool.swap_remove(index);
        }
    }
}

fn hot_line(pool: &[Answer]) -> u32 {
    let mut loads = [0; POOL + ASKED_PER_CALL];
    let count = pool.len().min(loads.len());
    for (load, answer) in loads.iter_mut().zip(pool) {
        *load = answer.in_flight;
    }
    loads[..count].sort_unstable();
    if count == 0 { 0 } else { loads[((count - 1) as f64 * HOT).round() as usize] }
}

impl Policy for Prequal {
    fn place(&mut self, gateway: usize, truth: &Truth, random: &mut dyn FnMut() -> u64) -> Decision {
        self.calls += 1;
        self.ask = Few::default();
        (0..ASKED_PER_CALL).for_each(|_| self.ask.push(any(truth.count(), random())));
        let pool = &mut self.pools[gateway];
        pool.retain(|answer| truth.now - answer.at < OLDEST_NS && answer.uses < USES);
        if pool.len() < 2 {
            return Decision::Go(any(truth.count(), random()));
        }
        let hot = hot_line(pool);
        let all_hot = pool.iter().all(|answer| answer.in_flight > hot);
        let rank = |answer: &Answer| if all_hot { f64::from(answer.in_flight) } else { answer.latency };
        let cold = pool.iter_mut().filter(|answer| all_hot || answer.in_flight <= hot);
        let Some(best) = cold.min_by(|a, b| rank(a).total_cmp(&rank(b))) else {
            return Decision::Go(any(truth.count(), random()));
        };
        best.uses += 1;
        best.in_flight += 1;
        let node = best.node;
        if pool.len() > POOL / 2 {
            Self::forget(pool, self.calls.is_multiple_of(2), hot);
        }
        Decision::Go(node)
    }

    fn ask_behind(&mut self) -> Few {
        std::mem::take(&mut self.ask)
    }

    fn answered(&mut self, _: usize, answered: &Answered) {
        let took = answered.took as f64 / 1e3;
        self.service = if self.service == 0.0 { took } else { self.service + (took - self.service) / 1024.0 };
    }

    fn told(&mut self, gateway: usize, node: usize, report: Report, now: u64) {
        let pool = &mut self.pools[gateway];
        if pool.len() >= POOL {
            Self::forget(pool, true, 0);
        }
        let latency = report.wait + self.service;
        pool.push(Answer { node, in_flight: report.in_flight, latency, at: now, uses: 0 });
    }
}
