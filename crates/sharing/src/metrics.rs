//! What this crate measures. Handles are looked up once.

use metrics::{Counter, Gauge};
use onrush_invoke::Scope;

/// Calls that may share, by `scope` (`gateway`, `cluster`) and `result`: `hit`; `stale`, a hit that is not fresh;
/// `run`, an execution that others may share; `collapsed`, somebody else's execution; `bypass`, passed through.
pub(crate) const CALLS: &str = "onrush_sharing_calls_total";
/// Bytes of replies that are kept.
pub(crate) const KEPT: &str = "onrush_sharing_kept_bytes";
/// Replies that came to be kept.
pub(crate) const STORED: &str = "onrush_sharing_stored_replies_total";
/// Refreshes in the background, by `outcome` (`ok`, `failed`).
pub(crate) const REFRESHED: &str = "onrush_sharing_refreshes_total";
/// Kept replies that stood in for a failure.
pub(crate) const COVERED: &str = "onrush_sharing_covered_failures_total";
/// Executions that failed while others waited for them.
pub(crate) const FAILED: &str = "onrush_sharing_failed_leaders_total";

pub(crate) struct Metrics {
    pub(crate) hit: Counter,
    pub(crate) stale: Counter,
    pub(crate) run: Counter,
    pub(crate) collapsed: Counter,
    pub(crate) bypass: Counter,
    pub(crate) kept: Gauge,
    pub(crate) stored: Counter,
    pub(crate) refreshed: Counter,
    pub(crate) not_refreshed: Counter,
    pub(crate) covered: Counter,
    pub(crate) failed: Counter,
}

impl Metrics {
    pub(crate) fn new(scope: Scope) -> Self {
        let scope = match scope {
            Scope::Gateway => "gateway",
            Scope::Cluster => "cluster",
        };
        let calls = |result: &'static str| metrics::counter!(CALLS, "scope" => scope, "result" => result);
        Self {
            hit: calls("hit"),
            stale: calls("stale"),
            run: calls("run"),
            collapsed: calls("collapsed"),
            bypass: calls("bypass"),
            kept: metrics::gauge!(KEPT, "scope" => scope),
            stored: metrics::counter!(STORED, "scope" => scope),
            refreshed: metrics::counter!(REFRESHED, "scope" => scope, "outcome" => "ok"),
            not_refreshed: metrics::counter!(REFRESHED, "scope" => scope, "outcome" => "failed"),
            covered: metrics::counter!(COVERED, "scope" => scope),
            failed: metrics::counter!(FAILED, "scope" => scope),
        }
    }
}
