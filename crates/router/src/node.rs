//! One node and this gateway's record of it. Lives as long as gossip knows the node, whatever becomes of the candidates.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use onrush_invoke::{Ask, Invoke, LoadReport};
use onrush_types::NodeId;
use tokio::time::Instant;

use crate::{
    config::Config,
    outlier::{Failure, Health},
    policy::{Belief, Report},
};

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) invoke: Arc<dyn Invoke>,
    /// None for this node: it is looked at, not asked.
    pub(crate) ask: Option<Arc<dyn Ask>>,
    pub(crate) belief: Belief,
    /// How fast a slot is by its own account, in percent; 100 is a usual core.
    pub(crate) speed: AtomicU32,
    health: Mutex<Health>,
    /// Whether `health` says anything: a node that never failed costs no lock.
    troubled: AtomicBool,
}

impl Node {
    pub(crate) fn new(id: NodeId, invoke: Arc<dyn Invoke>, ask: Option<Arc<dyn Ask>>, hop: f64) -> Arc<Self> {
        let (belief, speed) = (Belief::new(hop), AtomicU32::new(100));
        Arc::new(Self { id, invoke, ask, belief, speed, health: Mutex::default(), troubled: AtomicBool::new(false) })
    }

    /// How fast a slot is by its own account; 1 is a usual core.
    pub(crate) fn speed(&self) -> f64 {
        f64::from(self.speed.load(Ordering::Relaxed)) / 100.0
    }

    /// Counts a call until the guard is dropped.
    pub(crate) fn count(self: &Arc<Self>) -> InFlight {
        self.belief.enter();
        InFlight(Arc::clone(self))
    }

    /// Whether it gets no calls now.
    pub(crate) fn is_ejected(&self) -> bool {
        self.is_troubled() && lock(&self.health).is_ejected()
    }

    /// Whether it failed and has not answered since.
    pub(crate) fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Relaxed)
    }

    /// It answered a call.
    pub(crate) fn succeeded(&self) {
        if self.is_troubled() {
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
        let before = health.is_ejected();
        let ejected = health.failed(failure, now, others_ejected, config) && !before;
        if ejected {
            tracing::warn!(node = %self.id, ?failure, "node ejected, calls go elsewhere");
        }
        ejected
    }

    /// Whether it has been ejected long enough to be asked if it is well. Whoever asks this must do so.
    pub(crate) fn trial_is_due(&self, now: Instant, config: &Config) -> bool {
        self.is_troubled() && lock(&self.health).begin_trial(now, config)
    }

    /// It said that it is well.
    pub(crate) fn readmit(&self, now: u64) {
        tracing::info!(node = %self.id, "node is well again, calls come back little by little");
        lock(&self.health).readmit();
        self.belief.joined(now);
    }
}

/// A load report as the rules read it.
pub(crate) fn report(load: LoadReport) -> Report {
    Report { in_flight: load.in_flight, busy: load.busy, wait: load.expected_wait.as_secs_f64() * 1e6 }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One own call. Kept to the last byte of its reply.
pub(crate) struct InFlight(Arc<Node>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.belief.leave();
    }
}
