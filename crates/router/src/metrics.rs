//! What this crate measures. Handles are looked up once.

use metrics::Counter;

/// Calls given to a node, second tries included, by where it is (`to`: `here` or `elsewhere`).
pub(crate) const SENT: &str = "onrush_router_sent_calls_total";
/// Calls that went to another node after a failure, by `why`: `connect` costs no try, `refused` does.
pub(crate) const MOVED: &str = "onrush_router_moved_calls_total";
/// Calls that might have moved but for the retry budget.
pub(crate) const OVER_BUDGET: &str = "onrush_router_over_budget_calls_total";
/// Nodes asked for their load before a call was placed.
pub(crate) const ASKED: &str = "onrush_router_asked_nodes_total";
/// Calls that did not get every answer in time.
pub(crate) const UNANSWERED: &str = "onrush_router_unanswered_asks_total";
/// Nodes ejected.
pub(crate) const EJECTED: &str = "onrush_router_ejected_nodes_total";
/// Calls for which there was no worker at all.
pub(crate) const NO_WORKER: &str = "onrush_router_no_worker_calls_total";

pub(crate) struct Metrics {
    pub(crate) here: Counter,
    pub(crate) elsewhere: Counter,
    pub(crate) redirected: Counter,
    pub(crate) moved: Counter,
    pub(crate) over_budget: Counter,
    pub(crate) asked: Counter,
    pub(crate) unanswered: Counter,
    pub(crate) ejected: Counter,
    pub(crate) no_worker: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            here: metrics::counter!(SENT, "to" => "here"),
            elsewhere: metrics::counter!(SENT, "to" => "elsewhere"),
            redirected: metrics::counter!(MOVED, "why" => "connect"),
            moved: metrics::counter!(MOVED, "why" => "refused"),
            over_budget: metrics::counter!(OVER_BUDGET),
            asked: metrics::counter!(ASKED),
            unanswered: metrics::counter!(UNANSWERED),
            ejected: metrics::counter!(EJECTED),
            no_worker: metrics::counter!(NO_WORKER),
        }
    }
}
