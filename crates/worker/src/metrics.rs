//! What this crate measures. Handles are looked up once.

use metrics::{Counter, Gauge, Histogram};
use onrush_types::Code;

use crate::{counts::Seen, refusal::Why};

/// Calls that ended with a reply's head or with an error, by `code` (`ok` for a reply).
pub(crate) const CALLS: &str = "onrush_worker_calls_total";
/// Calls that were refused before anything of them ran, by `reason`.
pub(crate) const REFUSED: &str = "onrush_worker_refused_calls_total";
/// Calls that hold a slot now: they compute.
pub(crate) const COMPUTING: &str = "onrush_worker_computing_calls";
/// Calls in the house that wait for a slot to go on.
pub(crate) const RESUMING: &str = "onrush_worker_resuming_calls";
/// Functions of which more calls come than are served, now.
pub(crate) const OVERLOADS: &str = "onrush_worker_overloaded_functions";
/// Calls with a permit now, whether they compute or wait for something.
pub(crate) const RUNNING: &str = "onrush_worker_running_calls";
/// Calls that wait now.
pub(crate) const QUEUED: &str = "onrush_worker_queued_calls";
/// Bytes of whole bodies that wait now.
pub(crate) const QUEUED_BYTES: &str = "onrush_worker_queued_bytes";
/// How long calls that had to wait did so, in seconds.
pub(crate) const WAIT: &str = "onrush_worker_wait_seconds";
/// How long guests were held by a call, in seconds.
pub(crate) const SERVICE: &str = "onrush_worker_service_seconds";
/// Versions made ready, by `outcome`.
pub(crate) const PREPARED: &str = "onrush_worker_prepared_versions_total";
/// How long making a version ready took, in seconds.
pub(crate) const PREPARE: &str = "onrush_worker_prepare_seconds";

pub(crate) struct Metrics {
    replies: Counter,
    errors: [Counter; Code::ALL.len()],
    refused: [Counter; Why::ALL.len()],
    computing: Gauge,
    resuming: Gauge,
    overloads: Gauge,
    running: Gauge,
    queued: Gauge,
    queued_bytes: Gauge,
    pub(crate) wait: Histogram,
    pub(crate) service: Histogram,
    pub(crate) prepared: Counter,
    pub(crate) not_prepared: Counter,
    pub(crate) prepare: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            replies: metrics::counter!(CALLS, "code" => "ok"),
            errors: Code::ALL.map(|code| metrics::counter!(CALLS, "code" => code.name())),
            refused: Why::ALL.map(|why| metrics::counter!(REFUSED, "reason" => why.name())),
            computing: metrics::gauge!(COMPUTING),
            resuming: metrics::gauge!(RESUMING),
            overloads: metrics::gauge!(OVERLOADS),
            running: metrics::gauge!(RUNNING),
            queued: metrics::gauge!(QUEUED),
            queued_bytes: metrics::gauge!(QUEUED_BYTES),
            wait: metrics::histogram!(WAIT),
            service: metrics::histogram!(SERVICE),
            prepared: metrics::counter!(PREPARED, "outcome" => "ok"),
            not_prepared: metrics::counter!(PREPARED, "outcome" => "failed"),
            prepare: metrics::histogram!(PREPARE),
        }
    }

    pub(crate) fn refused(&self, why: Why) {
        // `Why::ALL` is in declaration order, and so is the discriminant.
        self.refused[why as usize].increment(1);
    }

    /// The gauges, as of now.
    #[allow(clippy::cast_precision_loss, reason = "a gauge need not be exact beyond 2^52")]
    pub(crate) fn show(&self, seen: Seen, held: usize, queued_bytes: usize, overloads: usize) {
        self.computing.set(seen.computing() as f64);
        self.resuming.set(seen.resuming() as f64);
        self.running.set(seen.inside() as f64);
        self.queued.set((seen.queued() + held) as f64);
        self.queued_bytes.set(queued_bytes as f64);
        self.overloads.set(overloads as f64);
    }

    pub(crate) fn count(&self, error: Option<Code>) {
        match error {
            None => self.replies.increment(1),
            // `Code::ALL` is in declaration order, and so is the discriminant.
            Some(code) => self.errors[code as usize].increment(1),
        }
    }
}
