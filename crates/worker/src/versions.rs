//! Versions that are ready for calls. One is made ready once, however many calls wait for it; the one that was not used
//! for longest goes when there are too many; one that could not be made ready is not tried again for a while.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use onrush_catalog::{ArtifactError, ArtifactStore, Catalog, FunctionVersion};
use onrush_invoke::{InvokeError, Reached};
use onrush_runtime::{Artifact, PrepareError, Prepared, Runtime};
use onrush_types::{Code, FunctionName, VersionNumber};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::Config, lane::Lane, logs::LogRing, metrics::Metrics};

/// One version as this node has it.
pub(crate) struct Version {
    pub(crate) it: Arc<FunctionVersion>,
    /// What the door knows of the function; asked for at the first call.
    pub(crate) lane: OnceLock<Arc<Lane>>,
    pub(crate) share: Share,
    ready: OnceLock<Arc<dyn Prepared>>,
    progress: watch::Sender<Progress>,
    used: AtomicU64,
}

/// This node's share of the function's cap, and the picture of the cluster (by number) that it was computed from.
#[derive(Default)]
pub(crate) struct Share(AtomicU64);

impl Share {
    /// `compute` runs once per picture.
    pub(crate) fn of(&self, picture: u32, compute: impl FnOnce() -> u32) -> u32 {
        let known = self.0.load(Ordering::Relaxed);
        if known >> 32 == u64::from(picture) && known != 0 {
            return known as u32;
        }
        let share = compute();
        self.0.store(u64::from(picture) << 32 | u64::from(share), Ordering::Relaxed);
        share
    }
}

#[derive(Clone)]
enum Progress {
    Idle,
    Busy { failures: u32 },
    Ready,
    Failed { failures: u32, error: InvokeError, until: Instant },
}

impl Version {
    fn new(it: Arc<FunctionVersion>) -> Arc<Self> {
        Arc::new(Self {
            it,
            lane: OnceLock::new(),
            share: Share::default(),
            ready: OnceLock::new(),
            progress: watch::Sender::new(Progress::Idle),
            used: AtomicU64::new(0),
        })
    }

    /// The prepared version, if it is ready now.
    pub(crate) fn ready(&self) -> Option<&Arc<dyn Prepared>> {
        self.ready.get()
    }

    fn is_busy(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Busy { .. })
    }

    fn has_failed(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Failed { .. })
    }
}

/// What is needed to make versions ready.
pub(crate) struct Sources {
    pub(crate) runtimes: Vec<Arc<dyn Runtime>>,
    pub(crate) artifacts: Arc<dyn ArtifactStore>,
    pub(crate) logs: Arc<LogRing>,
    pub(crate) metrics: Arc<Metrics>,
}

type Table = HashMap<FunctionName, Vec<Arc<Version>>>;

/// The versions of this node.
pub(crate) struct Versions {
    config: Config,
    sources: Sources,
    table: RwLock<Table>,
    room: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
    uses: AtomicU64,
}

impl Versions {
    pub(crate) fn new(config: Config, sources: Sources) -> Arc<Self> {
        let room = Semaphore::new(config.prepare_parallel.max(1));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Arc::new(Self { config, sources, table: RwLock::default(), room, tasks, stop, uses: AtomicU64::new(0) })
    }

    /// A version that was met before.
    pub(crate) fn get(&self, function: &FunctionName, number: VersionNumber) -> Option<Arc<Version>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let version = table.get(function)?.iter().find(|version| version.it.number == number)?;
        version.used.store(self.uses.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Some(Arc::clone(version))
    }

    /// This version, met now or before.
    pub(crate) fn meet(&self, it: &Arc<FunctionVersion>) -> Arc<Version> {
        if let Some(version) = self.get(&it.function, it.number) {
            return version;
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let versions = table.entry(it.function.clone()).or_default();
        let known = versions.iter().find(|version| version.it.number == it.number);
        let version = known.cloned().unwrap_or_else(|| {
            let new = Version::new(Arc::clone(it));
            new.used.store(self.uses.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            versions.push(Arc::clone(&new));
            new
        });
        trim(&mut table, self.config.prepared_versions.max(1));
        version
    }

    /// How many versions are known here, ready or not.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.read().unwrap_or_else(PoisonError::into_inner).values().map(Vec::len).sum()
    }

    /// Forgets what the catalog no longer has. Calls that run go on: they hold what they need.
    pub(crate) fn keep_those_of(&self, catalog: &Catalog) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.retain(|function, versions| {
            versions.retain(|version| catalog.version(function, version.it.number).is_some());
            !versions.is_empty()
        });
    }

    /// Waits until the version is ready, making it so if nobody does already. The work goes on when the caller goes.
    pub(crate) async fn prepared(self: &Arc<Self>, version: &Arc<Version>) -> Result<Arc<dyn Prepared>, InvokeError> {
        let mut progress = version.progress.subscribe();
        self.start(version);
        let done = progress.wait_for(|progress| matches!(progress, Progress::Ready | Progress::Failed { .. })).await;
        match done.as_deref() {
            Ok(Progress::Failed { error, until, .. }) => Err(error
                .clone()
                .retry_after(until.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)))),
            Ok(_) | Err(_) => version.ready.get().cloned().ok_or_else(|| unavailable("the version was let go")),
        }
    }

    /// Makes the version ready ahead of its first call, unless that failed lately.
    pub(crate) async fn prefetch(self: &Arc<Self>, version: &Arc<Version>) {
        let kind = version.it.spec.runtime;
        let runs_here = self.sources.runtimes.iter().any(|runtime| runtime.kind() == kind);
        if runs_here && version.ready.get().is_none() && !version.has_failed() {
            // Whoever calls it next hears of a failure; the log has it already.
            self.prepared(version).await.ok();
        }
    }

    /// Ends what is under way.
    pub(crate) async fn shut_down(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn start(self: &Arc<Self>, version: &Arc<Version>) {
        let now = Instant::now();
        let begun = version.progress.send_if_modified(|progress| {
            let failures = match progress {
                Progress::Idle => 0,
                Progress::Failed { failures, until, .. } if *until <= now => *failures,
                Progress::Busy { .. } | Progress::Ready | Progress::Failed { .. } => return false,
            };
            *progress = Progress::Busy { failures };
            true
        });
        if begun {
            let (versions, version) = (Arc::clone(self), Arc::clone(version));
            self.tasks.spawn(async move {
                let work = AssertUnwindSafe(versions.prepare(&version.it)).catch_unwind();
                let done = tokio::select! {
                    done = work => done.unwrap_or_else(|_| Err(unavailable("making the version ready panicked"))),
                    () = versions.stop.cancelled() => Err(unavailable("this node is stopping")),
                };
                versions.finish(&version, done);
            });
        }
    }

    async fn prepare(&self, it: &Arc<FunctionVersion>) -> Result<Arc<dyn Prepared>, InvokeError> {
        let kind = it.spec.runtime;
        let runtime = self.sources.runtimes.iter().find(|runtime| runtime.kind() == kind);
        let runtime = runtime.ok_or_else(|| unavailable(format!("this node runs no {} functions", kind.name())))?;
        let work = async {
            let path = self.sources.artifacts.open(it.spec.artifact).await.map_err(|error| no_artifact(&error))?;
            // Taken after the pull: a slow peer must not keep others from compiling.
            let _room = self.room.acquire().await.map_err(|_| unavailable("this node is stopping"))?;
            let artifact = Artifact {
                function: it.function.clone(),
                version: it.number,
                path,
                digest: it.spec.artifact.digest,
                spec: Arc::new(it.spec.clone()),
                log: self.sources.logs.guest(it.function.clone(), it.number),
            };
            runtime.prepare(artifact).await.map_err(unfit)
        };
        let started = Instant::now();
        let done = tokio::time::timeout(self.config.prepare_timeout, work).await;
        self.sources.metrics.prepare.record(started.elapsed());
        done.unwrap_or_else(|_| Err(unavailable("making the version ready took too long")))
    }

    fn finish(&self, version: &Version, done: Result<Arc<dyn Prepared>, InvokeError>) {
        let it = &version.it;
        match done {
            Ok(prepared) => {
                self.sources.metrics.prepared.increment(1);
                // Only the one task that is busy with it gets here.
                version.ready.set(prepared).ok();
                version.progress.send_replace(Progress::Ready);
            }
            Err(error) => {
                self.sources.metrics.not_prepared.increment(1);
                tracing::warn!(function = %it.function, version = %it.number, %error, "version is not ready");
                version.progress.send_modify(|progress| {
                    let failures = if let Progress::Busy { failures } = progress { *failures } else { 0 };
                    let until = Instant::now() + self.backoff(failures);
                    *progress = Progress::Failed { failures: failures + 1, error, until };
                });
            }
        }
    }

    fn backoff(&self, failures: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failures.min(20));
        self.config.prepare_backoff.saturating_mul(factor).min(self.config.prepare_backoff_max)
    }
}

/// Lets the versions go that were not used for longest. One that is being made ready stays: somebody waits for it.
fn trim(table: &mut Table, limit: usize) {
    let count: usize = table.values().map(Vec::len).sum();
    for _ in limit..count {
        let idle = table.values().flatten().filter(|version| !version.is_busy());
        let Some(oldest) = idle.min_by_key(|version| version.used.load(Ordering::Relaxed)) else { return };
        let (function, number) = (oldest.it.function.clone(), oldest.it.number);
        if let Some(versions) = table.get_mut(&function) {
            versions.retain(|version| version.it.number != number);
            if versions.is_empty() {
                table.remove(&function);
            }
        }
    }
}

fn unavailable(why: impl Into<String>) -> InvokeError {
    InvokeError::refused(Code::Unavailable, why).retry_after(Duration::from_secs(1))
}

fn no_artifact(error: &ArtifactError) -> InvokeError {
    unavailable(format!("the function's code cannot be had here: {error}"))
}

/// An unfit artifact is the function's fault, on every node alike; nothing of it has run.
fn unfit(error: PrepareError) -> InvokeError {
    match error {
        PrepareError::Unfit(why) => {
            let mut error = InvokeError::function(Code::FunctionFailed, format!("the function cannot be run: {why}"));
            error.reached = Reached::NotSent;
            error
        }
        PrepareError::Failed(why) => unavailable(format!("the function could not be made ready here: {why}")),
    }
}
