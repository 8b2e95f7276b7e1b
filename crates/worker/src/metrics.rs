//! What this crate measures. Handles are looked up once.

use metrics::{Counter, Gauge, Histogram};
use onrush_types::Code;

/// Calls that ended with a reply's head or with an error, by `code` (`ok` for a reply).
pub(crate) const CALLS: &str = "onrush_worker_calls_total";
/// Calls inside guests now.
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
    pub(crate) running: Gauge,
    pub(crate) queued: Gauge,
    pub(crate) queued_bytes: Gauge,
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

    pub(crate) fn count(&self, error: Option<Code>) {
        match error {
            None => self.replies.increment(1),
            // `Code::ALL` is in declaration order, and so is the discriminant.
            Some(code) => self.errors[code as usize].increment(1),
        }
    }
}
