//! One call: choose, send, and perhaps once more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::request;
use onrush_catalog::Catalog;
use onrush_invoke::{Body, GuardedBody, Invocation, Invoke, InvokeError, Reply, Target};
use onrush_seams::Entropy;
use onrush_types::{ClusterView, Code, NodeId};
use tokio::{sync::watch, time::Instant};

use crate::{
    attempt::{NextStep, Situation, connect_failed, next_step, node_failed},
    budget::Budget,
    config::Config,
    endpoints::{Endpoints, forget_strangers},
    lend::Lender,
    load::micros,
    metrics::Metrics,
    node::Node,
    outlier::Failure,
};

mod pick;

use self::pick::Summary;

/// Makes the way to another node. It must not connect yet.
pub trait Nodes: Send + Sync {
    /// Calls for this node.
    fn node(&self, id: NodeId) -> Arc<dyn Invoke>;
}

impl<F: Fn(NodeId) -> Arc<dyn Invoke> + Send + Sync> Nodes for F {
    fn node(&self, id: NodeId) -> Arc<dyn Invoke> {
        self(id)
    }
}

/// What a router is made of.
pub struct Parts {
    /// This node.
    pub me: NodeId,
    /// The worker of this node, if it is one.
    pub local: Option<Arc<dyn Invoke>>,
    /// The ways to the others.
    pub remote: Arc<dyn Nodes>,
    /// Who is there.
    pub view: watch::Receiver<Arc<ClusterView>>,
    /// What the cluster agreed on.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Carries calls to the least loaded worker of the cluster.
pub struct Router {
    config: Config,
    me: NodeId,
    local: Option<Arc<Node>>,
    remote: Arc<dyn Nodes>,
    view: watch::Receiver<Arc<ClusterView>>,
    catalog: watch::Receiver<Arc<Catalog>>,
    entropy: Arc<dyn Entropy>,
    endpoints: ArcSwap<Endpoints>,
    nodes: Mutex<BTreeMap<NodeId, Arc<Node>>>,
    summary: Summary,
    /// What calls take lately, in microseconds.
    service: AtomicU64,
    budget: Mutex<Budget>,
    successes: AtomicU32,
    metrics: Metrics,
}

impl Router {
    /// A router that can carry calls at once.
    pub fn new(config: Config, parts: Parts) -> Arc<Self> {
        let now = Instant::now();
        let nothing = Endpoints::new(Arc::new(ClusterView::empty(parts.me)), &Catalog::default(), |_| None);
        Arc::new(Self {
            me: parts.me,
            local: parts.local.map(|local| Node::new(parts.me, local, 0.0)),
            remote: parts.remote,
            view: parts.view,
            catalog: parts.catalog,
            entropy: parts.entropy,
            endpoints: ArcSwap::from_pointee(nothing),
            nodes: Mutex::default(),
            summary: Summary::new(now),
            service: AtomicU64::new(u64::try_from(config.service.as_micros()).unwrap_or(u64::MAX).max(1)),
            budget: Mutex::new(Budget::new(config.retry_percent, config.retry_per_second, now)),
            successes: AtomicU32::new(0),
            metrics: Metrics::new(),
            config,
        })
    }

    /// How many calls of this gateway are on this node now, to the last byte of their replies.
    pub fn in_flight(&self, id: NodeId) -> u32 {
        let own = |node: &Arc<Node>| node.own();
        if id == self.me {
            return self.local.as_ref().map_or(0, own);
        }
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(&id).map_or(0, own)
    }

    /// The candidates of now. Costs two short looks unless something changed.
    fn endpoints(&self) -> Arc<Endpoints> {
        let current = self.endpoints.load();
        if current.are_of(&self.view.borrow(), &self.catalog.borrow()) {
            return Arc::clone(&current);
        }
        let (view, catalog) = (self.view.borrow().clone(), self.catalog.borrow().clone());
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        forget_strangers(&mut nodes, &view);
        let new = Arc::new(Endpoints::new(view, &catalog, |id| {
            if id == self.me {
                return self.local.clone();
            }
            let make = || Node::new(id, self.remote.node(id), micros(self.config.hop));
            Some(Arc::clone(nodes.entry(id).or_insert_with(make)))
        }));
        self.endpoints.store(Arc::clone(&new));
        new
    }

    fn service(&self) -> Duration {
        Duration::from_micros(self.service.load(Ordering::Relaxed))
    }

    fn took(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let old = self.service.load(Ordering::Relaxed);
        self.service.store((old - old / 16 + time / 16).max(1), Ordering::Relaxed);
    }

    async fn send(&self, endpoints: &Endpoints, node: &Arc<Node>, call: Invocation) -> Result<Reply, InvokeError> {
        let sent = if node.id == self.me { &self.metrics.here } else { &self.metrics.elsewhere };
        sent.increment(1);
        let guard = node.count();
        let started = Instant::now();
        node.begin_trial_if_due(started, &self.config);
        match node.invoke.invoke(call).await {
            Ok(reply) => {
                let now = Instant::now();
                node.report(reply.load, now);
                node.succeeded();
                self.took(now.saturating_duration_since(started));
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
                self.learn(endpoints, node, &error);
                Err(error)
            }
        }
    }

    fn learn(&self, endpoints: &Endpoints, node: &Node, error: &InvokeError) {
        let now = Instant::now();
        if let Some(load) = error.load {
            node.report(load, now);
            node.succeeded();
        }
        if node_failed(error) {
            let failure = if connect_failed(error) { Failure::Connect } else { Failure::Call };
            let all = endpoints.list.len();
            let ejected = endpoints.list.iter().filter(|endpoint| endpoint.node.is_ejected(now)).count();
            let percent = usize::try_from(self.config.ejection_percent).unwrap_or(100);
            let too_many = (ejected + 1) * 100 > all * percent;
            if node.failed(failure, now, too_many, &self.config) {
                self.metrics.ejected.increment(1);
            }
        }
    }

    /// Whether the call goes on, and as which try.
    fn again(&self, error: &InvokeError, target: &Target, mut situation: Situation) -> NextStep {
        let catalog = self.catalog.borrow();
        let version = catalog.version(&target.function, target.version);
        situation.idempotent = version.is_some_and(|version| version.spec.idempotent);
        drop(catalog);
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
        let endpoints = self.endpoints();
        let Invocation { id, target, deadline, mut attempt, sharing, mut request } = call;
        let (mut tried, mut failed_connects, mut moved) = (Vec::new(), 0, false);
        let Some(mut node) = self.pick(&endpoints, &target, &tried) else {
            self.metrics.no_worker.increment(1);
            return Err(no_worker());
        };
        loop {
            // Where there is nobody else, nothing has to be kept for another try.
            let (spare, sent) = if endpoints.list.len() > 1 || node.id != self.me {
                Spare::of(request)
            } else {
                (Spare::Nothing, request)
            };
            let sharing = sharing.clone();
            let call = Invocation { id, target: target.clone(), deadline, attempt, sharing, request: sent };
            let error = match self.send(&endpoints, &node, call).await {
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
            let (Some(next), Some(again)) = (self.pick(&endpoints, &target, &tried), spare) else {
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
