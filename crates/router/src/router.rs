//! One call: choose, send, and perhaps once more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use async_trait::async_trait;
use http::request;
use onrush_catalog::Catalog;
use onrush_invoke::{Ask, Body, GuardedBody, Invocation, Invoke, InvokeError, LoadNow, LoadReport, Reply, Target};
use onrush_seams::Entropy;
use onrush_types::{ClusterView, Code, NodeId};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    attempt::{NextStep, Situation, connect_failed, next_step, node_failed},
    budget::Budget,
    config::Config,
    endpoints::{Endpoints, Watched, forget_strangers},
    lend::Lender,
    metrics::Metrics,
    node::{Node, report},
    outlier::Failure,
    policy::{Answer, Knowledge, Params, Place, learn},
};

mod owner;
mod pick;

use self::pick::function_key;

/// The way to another node.
#[derive(Clone)]
pub struct Way {
    /// For calls.
    pub invoke: Arc<dyn Invoke>,
    /// For the question how busy it is.
    pub ask: Arc<dyn Ask>,
}

/// This node's worker.
#[derive(Clone)]
pub struct Here {
    /// For calls.
    pub invoke: Arc<dyn Invoke>,
    /// How busy it is.
    pub load: LoadNow,
}

/// Makes the way to another node. It must not connect yet.
pub trait Nodes: Send + Sync {
    /// The way to this node.
    fn node(&self, id: NodeId) -> Way;
}

impl<F: Fn(NodeId) -> Way + Send + Sync> Nodes for F {
    fn node(&self, id: NodeId) -> Way {
        self(id)
    }
}

/// What a router is made of.
pub struct Parts {
    /// This node.
    pub me: NodeId,
    /// The worker of this node, if it is one.
    pub local: Option<Here>,
    /// The ways to the others.
    pub remote: Arc<dyn Nodes>,
    /// Who is there.
    pub view: watch::Receiver<Arc<ClusterView>>,
    /// What the cluster agreed on.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// This node's worker and what is known of it.
struct Local {
    node: Arc<Node>,
    load: LoadNow,
}

/// Carries calls to the least loaded worker of the cluster.
pub struct Router {
    config: Config,
    params: Params,
    me: NodeId,
    local: Option<Local>,
    remote: Arc<dyn Nodes>,
    watched: Watched,
    entropy: Arc<dyn Entropy>,
    endpoints: ArcSwap<Endpoints>,
    nodes: Mutex<BTreeMap<NodeId, Arc<Node>>>,
    knowledge: Knowledge,
    epoch: Instant,
    budget: Mutex<Budget>,
    successes: AtomicU32,
    metrics: Metrics,
}

impl Router {
    /// A router that can carry calls at once. Its background work is [`Router::run`].
    pub fn new(config: Config, parts: Parts) -> Arc<Self> {
        let now = Instant::now();
        let watched = Watched { view: parts.view, catalog: parts.catalog };
        let params = Params::from(&config);
        let here = |Here { invoke, load }| Local { node: Node::new(parts.me, invoke, None, 0.0), load };
        let router = Self {
            me: parts.me,
            local: parts.local.map(here),
            remote: parts.remote,
            endpoints: ArcSwap::from_pointee(Endpoints::new(watched.clone(), |_| None)),
            watched,
            entropy: parts.entropy,
            nodes: Mutex::default(),
            knowledge: Knowledge::new(&params, config.known_functions),
            epoch: now,
            budget: Mutex::new(Budget::new(config.retry_percent, config.retry_per_second, now)),
            successes: AtomicU32::new(0),
            metrics: Metrics::new(),
            params,
            config,
        };
        router.look_around();
        Arc::new(router)
    }

    /// Lets ejected nodes in again when they are well.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.config.readmission_interval.max(Duration::from_millis(1)));
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if stop.run_until_cancelled(self.readmit()).await.is_none() {
                return;
            }
        }
    }

    /// How many calls of this gateway are on this node now, to the last byte of their replies.
    pub fn in_flight(&self, id: NodeId) -> u32 {
        let own = |node: &Arc<Node>| node.belief.own();
        if id == self.me {
            return self.local.as_ref().map_or(0, |local| own(&local.node));
        }
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(&id).map_or(0, own)
    }

    /// The candidates of now. Costs two looks unless something changed.
    fn endpoints(&self) -> Guard<Arc<Endpoints>> {
        let current = self.endpoints.load();
        if !current.watched.has_changed() {
            return current;
        }
        self.look_around();
        self.endpoints.load()
    }

    fn look_around(&self) {
        let now = self.micros(Instant::now());
        // Those who were there from the start need no slow one.
        let late = now > self.params.slow_start;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        forget_strangers(&mut nodes, &self.watched.view.borrow());
        let new = Endpoints::new(self.watched.clone(), |id| {
            if id == self.me {
                return self.local.as_ref().map(|local| Arc::clone(&local.node));
            }
            let make = || {
                let Way { invoke, ask } = self.remote.node(id);
                let node = Node::new(id, invoke, Some(ask), self.params.hop);
                if late {
                    node.belief.joined(now);
                }
                node
            };
            Some(Arc::clone(nodes.entry(id).or_insert_with(make)))
        });
        self.endpoints.store(Arc::new(new));
    }

    async fn send(&self, node: &Arc<Node>, function: u64, call: Invocation) -> Result<Reply, InvokeError> {
        let sent = if node.id == self.me { &self.metrics.here } else { &self.metrics.elsewhere };
        sent.increment(1);
        let guard = node.count();
        let started = Instant::now();
        match node.invoke.invoke(call).await {
            Ok(reply) => {
                let now = Instant::now();
                let took = now.saturating_duration_since(started).as_secs_f64() * 1e6;
                let answer = Answer { function, took, busy: reply.load.busy };
                self.hear(node, reply.load, Some(answer), now);
                self.successes.fetch_add(1, Ordering::Relaxed);
                let Reply { response, node, load } = reply;
                // A whole body is here to its last byte.
                let response = response.map(|body| match body.as_whole() {
                    Some(_) => body,
                    None => Body::stream(GuardedBody::new(body, guard)),
                });
                Ok(Reply { response, node, load })
            }
            Err(error) => {
                if let Some(load) = error.load {
                    self.hear(node, load, None, Instant::now());
                }
                self.blame(&self.endpoints(), node, &error);
                Err(error)
            }
        }
    }

    /// The node answered: it is well, this is its load, and perhaps a call says how fast it is.
    fn hear(&self, node: &Node, load: LoadReport, answer: Option<Answer>, now: Instant) {
        let now = self.micros(now);
        node.succeeded();
        let (slots, speed) = (f64::from(load.slots.max(1)), node.speed());
        node.belief.report(report(load), slots, &self.knowledge, now);
        if let Some(answer) = answer {
            learn(&self.knowledge, &Place { belief: &node.belief, slots, speed }, answer, now);
        }
    }

    /// Holds a failure against the node, where it is the node's.
    fn blame(&self, endpoints: &Endpoints, node: &Node, error: &InvokeError) {
        if !node_failed(error) {
            return;
        }
        let failure = if connect_failed(error) { Failure::Connect } else { Failure::Call };
        let all = endpoints.list.len();
        let ejected = endpoints.list.iter().filter(|endpoint| endpoint.node.is_ejected()).count();
        let percent = usize::try_from(self.config.ejection_percent).unwrap_or(100);
        let too_many = (ejected + 1) * 100 > all * percent;
        if node.failed(failure, Instant::now(), too_many, &self.config) {
            self.metrics.ejected.increment(1);
        }
    }

    /// Whether the call goes on, and as which try.
    fn again(&self, error: &InvokeError, target: &Target, mut situation: Situation) -> NextStep {
        let endpoints = self.endpoints();
        let version = endpoints.catalog.version(&target.function, target.version);
        situation.idempotent = version.is_some_and(|version| version.spec.idempotent);
        let step = next_step(error, situation);
        if step != NextStep::Move {
            return step;
        }
        let successes = self.successes.swap(0, Ordering::Relaxed);
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if budget.take(Instant::now(), successes) {
            return NextStep::Move;
        }
        self.metrics.over_budget.increment(1);
        NextStep::GiveUp
    }
}

/// A copy of the request for another try; its body, if it can be had again.
enum Spare {
    Nothing,
    Whole(request::Parts, Body),
    Lent(request::Parts, Lender),
}

impl Spare {
    fn of(request: http::Request<Body>) -> (Self, http::Request<Body>) {
        let (parts, body) = request.into_parts();
        match body.as_whole() {
            Some(bytes) => {
                let spare = Self::Whole(parts.clone(), Body::whole(bytes));
                (spare, http::Request::from_parts(parts, body))
            }
            None => {
                let (lender, loan) = Lender::lend(body);
                (Self::Lent(parts.clone(), lender), http::Request::from_parts(parts, loan))
            }
        }
    }

    fn request(self) -> Option<http::Request<Body>> {
        match self {
            Self::Nothing => None,
            Self::Whole(parts, body) => Some(http::Request::from_parts(parts, body)),
            Self::Lent(parts, lender) => Some(http::Request::from_parts(parts, lender.take_back()?)),
        }
    }
}

#[async_trait]
impl Invoke for Router {
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError> {
        let Invocation { id, target, deadline, mut attempt, sharing, mut request } = call;
        let function = function_key(&target);
        let (mut tried, mut failed_connects, mut moved) = (Vec::new(), 0, false);
        let Some(mut node) = self.pick_for(sharing.as_deref(), &target, &tried).await else {
            self.metrics.no_worker.increment(1);
            return Err(no_worker());
        };
        loop {
            // Where there is nobody else, nothing has to be kept for another try.
            let (spare, sent) = if self.endpoints().list.len() > 1 || node.id != self.me {
                Spare::of(request)
            } else {
                (Spare::Nothing, request)
            };
            let shared = sharing.clone();
            let call = Invocation { id, target: target.clone(), deadline, attempt, sharing: shared, request: sent };
            let error = match self.send(&node, function, call).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            tried.push(node.id);
            let spare = spare.request();
            let situation = Situation {
                idempotent: false,
                replayable: spare.is_some(),
                remaining: deadline.remaining(),
                least_remaining: self.config.least_remaining,
                moved,
                failed_connects,
                connect_tries: self.config.connect_tries,
            };
            // Looked for first: a call that has nowhere to go takes nothing from the budget.
            let (Some(next), Some(again)) = (self.pick_for(sharing.as_deref(), &target, &tried).await, spare) else {
                return Err(error);
            };
            match self.again(&error, &target, situation) {
                NextStep::GiveUp => return Err(error),
                NextStep::Redirect => {
                    failed_connects += 1;
                    self.metrics.redirected.increment(1);
                }
                NextStep::Move => {
                    moved = true;
                    attempt = attempt.saturating_add(1);
                    self.metrics.moved.increment(1);
                }
            }
            tracing::debug!(invocation = %id, from = %node.id, to = %next.id, %error, "call goes to another node");
            (node, request) = (next, again);
        }
    }
}

fn no_worker() -> InvokeError {
    let why = "no node can run functions now: start one with the role worker, or end the draining or cordon of one \
               (see `onrush node list`)";
    InvokeError::refused(Code::Unavailable, why).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
