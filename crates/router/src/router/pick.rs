//! From candidates to one node: gathers what the policy decides on.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use onrush_types::FunctionName;
use tokio::time::Instant;

use super::{NodeId, Router, Target};
use crate::{
    endpoints::Endpoints,
    load::{self, micros},
    node::Node,
    policy::{Candidate, choose, quantile},
};

/// Larger clusters look at one more node per call.
const LARGE: usize = 200;
/// How often the summary over all nodes is made, in microseconds.
const REFRESH_US: u64 = 50_000;
/// Of all nodes' fullness: fuller ones are hot (Prequal's value).
const HOT: f64 = 0.84;

/// All nodes in two numbers, made now and then by whichever call finds them old.
pub(super) struct Summary {
    epoch: Instant,
    due: AtomicU64,
    mean: AtomicU64,
    hot: AtomicU64,
}

impl Summary {
    pub(super) fn new(epoch: Instant) -> Self {
        let far = f64::INFINITY.to_bits();
        Self { epoch, due: AtomicU64::new(0), mean: AtomicU64::new(0), hot: AtomicU64::new(far) }
    }

    /// Whether the caller is the one to make it new.
    fn claim(&self, now: Instant) -> bool {
        let now = u64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX);
        let due = self.due.load(Ordering::Relaxed);
        now >= due && self.due.compare_exchange(due, now + REFRESH_US, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn mean(&self) -> f64 {
        f64::from_bits(self.mean.load(Ordering::Relaxed))
    }

    fn hot(&self) -> f64 {
        f64::from_bits(self.hot.load(Ordering::Relaxed))
    }
}

impl Router {
    /// The node for a call, none of `tried`. The last resort is this node, whatever gossip says of it.
    pub(super) fn pick(&self, endpoints: &Endpoints, target: &Target, tried: &[NodeId]) -> Option<Arc<Node>> {
        let now = Instant::now();
        if let ([only], []) = (&*endpoints.list, tried)
            && endpoints.here == Some(0)
        {
            return Some(Arc::clone(&only.node));
        }
        let cap = self.cap(endpoints, target);
        let may = |index: usize| {
            let node = &endpoints.list[index].node;
            !tried.contains(&node.id) && !node.is_ejected(now) && cap_allows(endpoints, index, cap.as_ref())
        };
        let sampled = self.sample(endpoints, may);
        let chosen = self.choose(endpoints, &sampled, now);
        let node = chosen.map(|index| &endpoints.list[index].node).or_else(|| self.last_resort(endpoints, tried));
        node.cloned()
    }

    /// The function and its cap, where the cap is too small for every node to have a part.
    fn cap(&self, endpoints: &Endpoints, target: &Target) -> Option<(FunctionName, u32)> {
        let catalog = self.catalog.borrow();
        let cap = catalog.version(&target.function, target.version)?.spec.limits.concurrency?;
        let small = usize::try_from(cap).is_ok_and(|cap| cap < endpoints.list.len());
        small.then(|| (target.function.clone(), cap))
    }

    /// This node and a few others, or all where there are no more than that.
    fn sample(&self, endpoints: &Endpoints, may: impl Fn(usize) -> bool) -> Vec<usize> {
        let count = endpoints.list.len();
        let others = if count > LARGE { self.config.sampled_large } else { self.config.sampled };
        if count <= others + 1 {
            return (0..count).filter(|index| may(*index)).collect();
        }
        let mut sampled: Vec<_> = Vec::with_capacity(others + 1);
        sampled.extend(endpoints.here.filter(|here| may(*here)));
        let wanted = sampled.len() + others;
        for _ in 0..others * 4 {
            if sampled.len() < wanted
                && let Some(index) = endpoints.sample(self.entropy.next_u64())
                && !sampled.contains(&index)
                && may(index)
            {
                sampled.push(index);
            }
        }
        if sampled.len() < wanted {
            // Few are left that may be chosen: look for them one by one, from a random place on.
            let from = usize::try_from(self.entropy.next_u64() % count as u64).unwrap_or(0);
            let missing = wanted - sampled.len();
            let found: Vec<_> = (from..from + count)
                .map(|index| index % count)
                .filter(|index| !sampled.contains(index) && may(*index))
                .take(missing)
                .collect();
            sampled.extend(found);
        }
        sampled
    }

    fn choose(&self, endpoints: &Endpoints, sampled: &[usize], now: Instant) -> Option<usize> {
        if let [only] = sampled {
            return Some(*only);
        }
        let service = self.service();
        let tau = load::tau(service);
        if self.summary.claim(now) {
            self.summarise(endpoints, now);
        }
        let mean = self.summary.mean();
        let candidates: Vec<_> = sampled
            .iter()
            .map(|index| {
                let endpoint = &endpoints.list[*index];
                let estimate = endpoint.node.estimate(mean, tau, now);
                let (slots, speed) = (endpoint.slots, endpoint.speed);
                Candidate { in_flight: estimate.in_flight, slots, speed, hop: endpoint.node.hop, wait: estimate.wait }
            })
            .collect();
        let best = choose(&candidates, micros(service), self.summary.hot(), self.entropy.next_u64())?;
        sampled.get(best).copied()
    }

    fn summarise(&self, endpoints: &Endpoints, now: Instant) {
        let tau = load::tau(self.service());
        let mean = load::mean(endpoints.list.iter().filter_map(|endpoint| endpoint.node.known()), tau, now);
        let ratio =
            |endpoint: &crate::endpoints::Endpoint| endpoint.node.estimate(mean, tau, now).in_flight / endpoint.slots;
        let mut ratios: Vec<_> = endpoints.list.iter().map(ratio).collect();
        self.summary.mean.store(mean.to_bits(), Ordering::Relaxed);
        self.summary.hot.store(quantile(&mut ratios, HOT).to_bits(), Ordering::Relaxed);
    }

    fn last_resort<'a>(&'a self, endpoints: &'a Endpoints, tried: &[NodeId]) -> Option<&'a Arc<Node>> {
        if let Some(local) = self.local.as_ref().filter(|local| !tried.contains(&local.id)) {
            return Some(local);
        }
        // Everybody is ejected and this node runs nothing: better to try one than to refuse all.
        let random = self.entropy.next_u64();
        let index = if tried.is_empty() { endpoints.sample(random) } else { None };
        index.map(|index| &endpoints.list[index].node)
    }
}

fn cap_allows(endpoints: &Endpoints, index: usize, cap: Option<&(FunctionName, u32)>) -> bool {
    cap.is_none_or(|(function, cap)| endpoints.has_share(index, function, *cap))
}
