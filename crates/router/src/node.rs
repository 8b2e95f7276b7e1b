//! What this gateway knows of one node: its own calls there, the last report, its record. Lives as long as gossip knows
//! the node, whatever becomes of the candidates.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use onrush_invoke::{Invoke, LoadReport};
use onrush_types::NodeId;
use tokio::time::Instant;

use crate::{
    config::Config,
    load::{Estimate, Known, estimate},
    outlier::{Failure, Health},
};

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) invoke: Arc<dyn Invoke>,
    /// What it costs to get there, in microseconds; zero for this node.
    pub(crate) hop: f64,
    own: AtomicU32,
    known: Mutex<Option<Known>>,
    health: Mutex<Health>,
    /// Whether `health` says anything: a node that never failed costs no lock.
    troubled: AtomicBool,
}

impl Node {
    pub(crate) fn new(id: NodeId, invoke: Arc<dyn Invoke>, hop: f64) -> Arc<Self> {
        let (own, troubled) = (AtomicU32::new(0), AtomicBool::new(false));
        Arc::new(Self { id, invoke, hop, own, known: Mutex::default(), health: Mutex::default(), troubled })
    }

    /// Own calls there now.
    pub(crate) fn own(&self) -> u32 {
        self.own.load(Ordering::Relaxed)
    }

    /// Counts a call until the guard is dropped.
    pub(crate) fn count(self: &Arc<Self>) -> InFlight {
        self.own.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Takes a report in.
    pub(crate) fn report(&self, report: LoadReport, now: Instant) {
        *lock(&self.known) = Some(Known::new(report, self.own(), now));
    }

    /// The last report.
    pub(crate) fn known(&self) -> Option<Known> {
        *lock(&self.known)
    }

    /// What its load probably is.
    pub(crate) fn estimate(&self, mean: f64, tau: Duration, now: Instant) -> Estimate {
        estimate(self.known(), self.own(), mean, tau, now)
    }

    /// Whether it gets no calls now.
    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.troubled.load(Ordering::Relaxed) && lock(&self.health).is_ejected(now)
    }

    /// It answered.
    pub(crate) fn succeeded(&self) {
        if self.troubled.load(Ordering::Relaxed) {
            let mut health = lock(&self.health);
            if !health.is_clean() {
                tracing::info!(node = %self.id, "node answers again");
            }
            health.succeeded();
            self.troubled.store(false, Ordering::Relaxed);
        }
    }

    /// It failed. Returns whether it is newly ejected.
    pub(crate) fn failed(&self, failure: Failure, now: Instant, others_ejected: bool, config: &Config) -> bool {
        let mut health = lock(&self.health);
        self.troubled.store(true, Ordering::Relaxed);
        let before = health.is_ejected(now);
        let ejected = health.failed(failure, now, others_ejected, config) && !before;
        if ejected {
            tracing::warn!(node = %self.id, ?failure, "node ejected, calls go elsewhere");
        }
        ejected
    }

    /// Called by whoever is about to send to it.
    pub(crate) fn begin_trial_if_due(&self, now: Instant, config: &Config) {
        if self.troubled.load(Ordering::Relaxed) {
            lock(&self.health).begin_trial(now, config);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One own call. Kept to the last byte of its reply.
pub(crate) struct InFlight(Arc<Node>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.own.fetch_sub(1, Ordering::Relaxed);
    }
}
