//! One call on this node, from its arrival to the reply's head.

use std::{
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use onrush_catalog::{ArtifactStore, Catalog, LogQuery, LogStreamOf, serving, share_of_cap};
use onrush_invoke::{Invocation, Invoke, InvokeError, LoadReport, Reached, Reply, Target};
use onrush_runtime::{Prepared, Runtime};
use onrush_seams::WallClock;
use onrush_types::{ClusterView, Code, NodeId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    admission::{Admission, Visitor},
    config::Config,
    logs::LogRing,
    memory,
    metrics::Metrics,
    prefetch,
    refusal::late,
    turn::Turn,
    versions::{Sources, Version, Versions},
};

/// What a worker is made of.
pub struct Parts {
    /// This node's name, as replies say it.
    pub node: Arc<str>,
    /// This node's id.
    pub me: NodeId,
    /// What runs functions here.
    pub runtimes: Vec<Arc<dyn Runtime>>,
    /// Where their code comes from.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// What the cluster agreed on.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Who else there is: functions' cluster-wide caps are divided over the nodes that serve.
    pub view: watch::Receiver<Arc<ClusterView>>,
    /// The time of log lines.
    pub clock: Arc<dyn WallClock>,
}

/// Why the worker's background work ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Nobody keeps the catalog any more.
    #[error("the catalog is gone; this is a defect of the platform")]
    NoCatalog,
    /// Nobody follows the cluster any more.
    #[error("the view of the cluster is gone; this is a defect of the platform")]
    NoView,
}

/// Runs calls on this node.
pub struct Worker {
    catalog_wait: Duration,
    prefetch: usize,
    node: Arc<str>,
    me: NodeId,
    catalog: watch::Receiver<Arc<Catalog>>,
    view: watch::Receiver<Arc<ClusterView>>,
    nodes: RwLock<Nodes>,
    memory: (u8, Duration),
    admission: Arc<Admission>,
    versions: Arc<Versions>,
    logs: Arc<LogRing>,
    metrics: Arc<Metrics>,
}

/// The nodes that caps are divided over, and the number of this picture, which begins at 1.
struct Nodes {
    picture: u32,
    serving: Arc<[NodeId]>,
}

impl Worker {
    /// A worker that takes calls at once. Its background work is [`Worker::run`].
    pub fn new(config: Config, parts: Parts) -> Arc<Self> {
        let metrics = Arc::new(Metrics::new());
        let logs = LogRing::new(config.logs.clone(), Arc::clone(&parts.node), parts.clock);
        let sources = Sources {
            runtimes: parts.runtimes,
            artifacts: parts.artifacts,
            logs: Arc::clone(&logs),
            metrics: Arc::clone(&metrics),
        };
        let worker = Self {
            catalog_wait: config.catalog_wait,
            prefetch: config.prefetch.min(config.prepared_versions),
            node: parts.node,
            me: parts.me,
            catalog: parts.catalog,
            view: parts.view,
            nodes: RwLock::new(Nodes { picture: 0, serving: Arc::from([]) }),
            memory: (config.memory_share, config.memory_interval),
            admission: Admission::new(&config, Arc::clone(&metrics)),
            versions: Versions::new(config, sources),
            logs,
            metrics,
        };
        worker.look_around();
        Arc::new(worker)
    }

    /// Follows catalog and cluster: makes new versions ready ahead of their calls and lets removed ones go. Looks after
    /// memory.
    ///
    /// # Errors
    /// [`RunError`] when what it follows ends before `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), RunError> {
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            error = self.follow_catalog() => Err(error),
            error = self.follow_view() => Err(error),
            () = memory::watch(self.memory.0, self.memory.1, &self.admission) => Ok(()),
        };
        self.versions.shut_down().await;
        ended
    }

    /// From now on every new call is refused; those in the house go on.
    pub fn drain(&self) {
        self.admission.set_draining(true);
    }

    /// Takes calls again.
    pub fn undrain(&self) {
        self.admission.set_draining(false);
    }

    /// Whether new calls are refused.
    pub fn is_draining(&self) -> bool {
        self.admission.is_draining()
    }

    /// Calls in the house: waiting or running, to the last byte of their replies.
    pub fn in_flight(&self) -> usize {
        self.admission.in_flight()
    }

    /// Returns when nothing is in flight.
    pub async fn idle(&self) {
        self.admission.idle().await;
    }

    /// This node's load, as its answers say it.
    pub fn load(&self) -> LoadReport {
        self.admission.load()
    }

    /// A function's lines on this node.
    pub fn logs(&self, query: &LogQuery) -> LogStreamOf {
        self.logs.logs(query)
    }

    async fn follow_catalog(&self) -> RunError {
        let mut changes = self.catalog.clone();
        let mut catalog = changes.borrow_and_update().clone();
        loop {
            self.look_around();
            self.versions.keep_those_of(&catalog);
            let ahead = async {
                for version in prefetch::wanted(&catalog, self.prefetch) {
                    self.versions.prefetch(&self.versions.meet(&version)).await;
                }
                std::future::pending::<()>().await;
            };
            let other = async {
                loop {
                    changes.changed().await.ok()?;
                    let newest = changes.borrow_and_update().clone();
                    // A route's change is not worth a walk over ten thousand functions.
                    if !newest.functions.ptr_eq(&catalog.functions) {
                        return Some(newest);
                    }
                    self.look_around();
                }
            };
            let other = tokio::select! {
                other = other => other,
                () = ahead => None,
            };
            let Some(newest) = other else { return RunError::NoCatalog };
            catalog = newest;
        }
    }

    async fn follow_view(&self) -> RunError {
        let mut changes = self.view.clone();
        while changes.changed().await.is_ok() {
            self.look_around();
        }
        RunError::NoView
    }

    fn look_around(&self) {
        let new = serving(&self.view.borrow(), &self.catalog.borrow());
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if *nodes.serving != *new || nodes.picture == 0 {
            *nodes = Nodes { picture: nodes.picture.wrapping_add(1).max(1), serving: new.into() };
        }
    }

    async fn serve(&self, call: Invocation, stage: &Stage) -> Result<Reply, InvokeError> {
        let whole = call.request.body().as_whole().map(|whole| whole.len());
        let known = self.find_now(&call.target);
        let (prepared, permit) = match known.as_ref().and_then(|version| Some((version, version.ready()?))) {
            Some((version, prepared)) => {
                let permit = self.admission.enter(&self.visitor(&call, version, prepared, whole))?;
                (Arc::clone(prepared), permit)
            }
            None => {
                // Counted from here on, so that calls which wait for a catalog or a version are bounded as well.
                let held = self.admission.hold(whole.unwrap_or(0))?;
                let version = match known {
                    Some(version) => version,
                    None => self.find(&call.target).await?,
                };
                let prepared = self.versions.prepared(&version).await?;
                let permit = held.enter(&self.visitor(&call, &version, &prepared, whole))?;
                (prepared, permit)
            }
        };
        stage.entered(permit.turn());
        // The permit waits for its turn where the guest will run, so that a slot goes from one guest to the next without
        // a detour through the threads that serve sockets.
        let response = prepared.call(call, Box::new(permit)).await?;
        Ok(Reply { response, node: Arc::clone(&self.node), load: self.admission.load() })
    }

    fn visitor<'a>(
        &self,
        call: &Invocation,
        version: &'a Version,
        prepared: &Arc<dyn Prepared>,
        whole: Option<usize>,
    ) -> Visitor<'a> {
        let share = version.it.spec.limits.concurrency.map_or(usize::MAX, |cap| self.share(version, cap));
        Visitor {
            lane: version.lane.get_or_init(|| self.admission.lane(&call.target.function)),
            cap: share.min(prepared.capacity()),
            bytes: whole.unwrap_or(0),
            has_body: whole != Some(0),
            deadline: call.deadline.instant(),
            attempt: call.attempt,
        }
    }

    fn share(&self, version: &Version, cap: u32) -> usize {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let share = version.share.of(nodes.picture, || {
            // A node that drains is no longer among those that serve, but what still reaches it has a share as before;
            // and before gossip has shown anybody, this node is all there is.
            if nodes.serving.contains(&self.me) {
                return share_of_cap(cap, &version.it.function, &nodes.serving, self.me);
            }
            let mut with_me = nodes.serving.to_vec();
            with_me.push(self.me);
            with_me.sort_unstable();
            share_of_cap(cap, &version.it.function, &with_me, self.me)
        });
        usize::try_from(share).unwrap_or(usize::MAX)
    }

    /// The version, if this node's catalog is new enough and has it.
    fn find_now(&self, target: &Target) -> Option<Arc<Version>> {
        let catalog = self.catalog.borrow();
        if catalog.revision < target.revision {
            return None;
        }
        let met = self.versions.get(&target.function, target.version);
        met.or_else(|| catalog.version(&target.function, target.version).map(|it| self.versions.meet(it)))
    }

    /// The same, after a short wait for a catalog that is behind.
    async fn find(&self, target: &Target) -> Result<Arc<Version>, InvokeError> {
        let mut catalog = self.catalog.clone();
        let caught_up = catalog.wait_for(|catalog| catalog.revision >= target.revision);
        // The borrow ends here, before anything else waits.
        let caught_up = tokio::time::timeout(self.catalog_wait, caught_up).await.is_ok_and(|found| found.is_ok());
        if !caught_up {
            let here = self.catalog.borrow().revision;
            let why = format!("this node's catalog is at revision {here}, the call needs {}", target.revision);
            return Err(InvokeError::refused(Code::Behind, why).retry_after(Duration::from_secs(1)));
        }
        self.find_now(target).ok_or_else(|| {
            let why = format!("function {} has no version {}; it was removed", target.function, target.version);
            InvokeError::refused(Code::NotFound, why)
        })
    }
}

/// How far a call has come.
#[derive(Default)]
struct Stage(OnceLock<Option<Arc<Turn>>>);

impl Stage {
    /// It is past the door: inside, or with a turn to wait for.
    fn entered(&self, turn: Option<Arc<Turn>>) {
        // A call enters once.
        self.0.set(turn).ok();
    }

    fn reached(&self) -> Reached {
        let started = self.0.get().is_some_and(|turn| turn.as_ref().is_none_or(|turn| turn.has_started()));
        if started { Reached::MaybeRan } else { Reached::NotSent }
    }
}

#[async_trait]
impl Invoke for Worker {
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError> {
        let stage = Stage::default();
        let outcome = call.deadline.bound(self.serve(call, &stage)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(late(stage.reached())));
        self.metrics.count(outcome.as_ref().err().map(|error| error.code));
        outcome.map_err(|error| if error.load.is_some() { error } else { error.with_load(self.admission.load()) })
    }
}

#[cfg(test)]
mod tests;
