//! From candidates to one node: shows the rules what they decide on, and asks nodes where they say so.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use onrush_types::{FunctionName, NodeId, RuntimeKind};
use tokio::time::{Instant, timeout};

use super::{Router, Target};
use crate::{
    attempt::connect_failed,
    endpoints::Endpoints,
    node::{Node, report},
    policy::{Call, Decision, Few, Field, Place, decide, key, prefer, settle},
};

/// What this node is believed to have is read anew when it is this old, in microseconds, or when it matters.
const LOOK_AGAIN: f64 = 1_000.0;

/// The nodes of one call.
struct Around<'a> {
    router: &'a Router,
    endpoints: &'a Endpoints,
    tried: &'a [NodeId],
    /// The function and its cap, where the cap is too small for every node to have a part.
    cap: Option<(&'a FunctionName, u32)>,
    /// It has processes, which stay where they are warm.
    kept_warm: bool,
    now: u64,
}

impl Field for Around<'_> {
    fn count(&self) -> usize {
        self.endpoints.list.len()
    }

    fn here(&self) -> Option<usize> {
        self.endpoints.here
    }

    fn place(&self, index: usize) -> Place<'_> {
        let endpoint = &self.endpoints.list[index];
        Place { belief: &endpoint.node.belief, slots: endpoint.slots, speed: endpoint.node.speed() }
    }

    fn id(&self, index: usize) -> u64 {
        self.endpoints.list[index].node.id.0
    }

    fn may(&self, index: usize) -> bool {
        let node = &self.endpoints.list[index].node;
        !self.tried.contains(&node.id)
            && !node.is_ejected()
            && self.cap.is_none_or(|(function, cap)| self.endpoints.has_share(index, function, cap))
    }

    fn sample(&self, random: u64) -> Option<usize> {
        self.endpoints.sample(random)
    }

    fn look_here(&self) {
        let Router { local, knowledge, params, .. } = self.router;
        let (Some(local), Some(here)) = (local, self.endpoints.here) else { return };
        let Place { belief, slots, .. } = self.place(here);
        let young = belief.age(self.now).is_some_and(|age| age < LOOK_AGAIN);
        // The worker's own count takes a lock, which a node with room to spare need not.
        if !young || belief.standing(slots, knowledge, params, self.now).busy + 2.0 > slots {
            belief.report(report((local.load)()), slots, knowledge, self.now);
        }
    }
}

impl Router {
    /// The node for a call, none of `tried`. The last resort is this node, whatever gossip says of it.
    pub(super) async fn pick(&self, target: &Target, tried: &[NodeId]) -> Option<Arc<Node>> {
        let (call, asked, endpoints) = {
            let endpoints = self.endpoints();
            if let ([only], []) = (&*endpoints.list, tried)
                && endpoints.here == Some(0)
            {
                return Some(Arc::clone(&only.node));
            }
            let around = self.around(&endpoints, target, tried);
            let call = Call { function: function_key(target), now: around.now, may_ask: tried.is_empty() };
            let Router { knowledge, params, .. } = self;
            let warm = || prefer(&around, knowledge, params, call.function, call.now);
            let warm = around.kept_warm.then(warm).flatten();
            let random = &mut || self.entropy.next_u64();
            let decision = warm.map_or_else(|| decide(&around, knowledge, params, call, random), Decision::Go);
            match decision {
                Decision::Go(index) => return Some(Arc::clone(&endpoints.list[index].node)),
                Decision::Nobody => return self.last_resort(&endpoints, tried),
                Decision::Ask(few) => (call, few, Arc::clone(&endpoints)),
            }
        };
        let answered = self.ask(&endpoints, &asked).await;
        let around = self.around(&endpoints, target, tried);
        let call = Call { now: around.now, ..call };
        let random = &mut || self.entropy.next_u64();
        let index = settle(&around, &self.knowledge, &self.params, (call, &answered), random);
        let index = index.or_else(|| {
            let call = Call { may_ask: false, ..call };
            match decide(&around, &self.knowledge, &self.params, call, random) {
                Decision::Go(index) => Some(index),
                Decision::Ask(_) | Decision::Nobody => None,
            }
        });
        index.map(|index| Arc::clone(&endpoints.list[index].node)).or_else(|| self.last_resort(&endpoints, tried))
    }

    fn around<'a>(&'a self, endpoints: &'a Endpoints, target: &'a Target, tried: &'a [NodeId]) -> Around<'a> {
        let version = endpoints.catalog.version(&target.function, target.version);
        let cap = version.and_then(|version| version.spec.limits.concurrency);
        let small = cap.filter(|cap| usize::try_from(*cap).is_ok_and(|cap| cap < endpoints.list.len()));
        let cap = small.map(|cap| (&target.function, cap));
        let kept_warm = version.is_some_and(|version| version.spec.runtime == RuntimeKind::Process);
        Around { router: self, endpoints, tried, cap, kept_warm, now: self.micros(Instant::now()) }
    }

    /// Asks these nodes for their load, all at once and not for long. Returns who answered.
    async fn ask(&self, endpoints: &Endpoints, few: &Few) -> Few {
        self.metrics.asked.increment(few.len() as u64);
        let started = Instant::now();
        let ask = |index: usize| async move {
            let node = &endpoints.list[index].node;
            let answer = match &node.ask {
                Some(ask) => Some(ask.load().await),
                None => None,
            };
            (index, answer)
        };
        let mut asking: FuturesUnordered<_> = few.iter().map(ask).collect();
        let mut answered = Few::default();
        let all = async {
            while let Some((index, answer)) = asking.next().await {
                let endpoint = &endpoints.list[index];
                let now = Instant::now();
                match answer {
                    Some(Ok(load)) => {
                        let belief = &endpoint.node.belief;
                        belief.report(report(load), endpoint.slots, &self.knowledge, self.micros(now));
                        belief.answered_in(now.saturating_duration_since(started).as_secs_f64() * 1e6);
                        answered.push(index);
                    }
                    // Anything else may be the question's fault; calls will show.
                    Some(Err(error)) if connect_failed(&error) => self.blame(endpoints, &endpoint.node, &error),
                    Some(Err(_)) | None => {}
                }
            }
        };
        if timeout(self.config.ask_patience, all).await.is_err() {
            self.metrics.unanswered.increment(1);
        }
        answered
    }

    /// Since this router began, in microseconds.
    pub(super) fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX)
    }

    fn last_resort(&self, endpoints: &Endpoints, tried: &[NodeId]) -> Option<Arc<Node>> {
        if let Some(local) = self.local.as_ref().filter(|local| !tried.contains(&local.node.id)) {
            return Some(Arc::clone(&local.node));
        }
        // Everybody is ejected and this node runs nothing: better to try one than to refuse all.
        let random = self.entropy.next_u64();
        let index = if tried.is_empty() { endpoints.sample(random) } else { None };
        index.map(|index| Arc::clone(&endpoints.list[index].node))
    }

    /// Asks ejected nodes whose time is over if they are well.
    pub(super) async fn readmit(&self) {
        /// A node that does not answer this soon is not well.
        const PATIENCE: Duration = Duration::from_secs(1);
        let now = Instant::now();
        let endpoints = Arc::clone(&self.endpoints());
        let due = endpoints.list.iter().map(|endpoint| &endpoint.node);
        let due = due.filter(|node| node.ask.is_some() && node.trial_is_due(now, &self.config));
        let asking: FuturesUnordered<_> = due
            .map(|node| async move {
                let Some(ask) = &node.ask else { return };
                if let Ok(Ok(_)) = timeout(PATIENCE, ask.load()).await {
                    node.readmit(self.micros(Instant::now()));
                }
            })
            .collect();
        asking.collect::<()>().await;
    }
}

/// What times and warm places of a version are kept under.
pub(super) fn function_key(target: &Target) -> u64 {
    key(target.function.namespace.as_str(), target.function.name.as_str(), target.version.0)
}
