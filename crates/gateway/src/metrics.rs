//! What the gateway counts. The handles are made once: a request costs no look-up.

use std::sync::Arc;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram};
use onrush_filters::Permit;
use tokio::time::Instant;

/// Requests by class of their response: `1xx` to `5xx`, or `cancelled` where the client left first.
const REQUESTS: &str = "onrush_gateway_requests_total";
/// Seconds from a request's head to its reply's last byte.
const DURATION: &str = "onrush_gateway_request_duration_seconds";
/// Requests between the two.
const IN_FLIGHT: &str = "onrush_gateway_requests_in_flight";

const CLASSES: [&str; 6] = ["cancelled", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The handles.
pub(crate) struct Metrics {
    classes: [Counter; 6],
    duration: Histogram,
    in_flight: Gauge,
}

impl Metrics {
    /// Finds the handles of the recorder that is installed now.
    pub(crate) fn new() -> Arc<Self> {
        metrics::describe_counter!(REQUESTS, "requests by class of their response");
        metrics::describe_histogram!(
            DURATION,
            metrics::Unit::Seconds,
            "from a request's head to its reply's last byte"
        );
        metrics::describe_gauge!(IN_FLIGHT, "requests that have begun and not ended");
        Arc::new(Self {
            classes: CLASSES.map(|class| metrics::counter!(REQUESTS, "class" => class)),
            duration: metrics::histogram!(DURATION),
            in_flight: metrics::gauge!(IN_FLIGHT),
        })
    }

    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.increment(1);
        InFlight { metrics: Arc::clone(self), began: Instant::now(), class: 0, permit: None }
    }
}

/// One request; counted when it is dropped.
pub(crate) struct InFlight {
    metrics: Arc<Metrics>,
    began: Instant,
    class: usize,
    /// Its place among those that its route lets run at once.
    pub(crate) permit: Option<Permit>,
}

impl InFlight {
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.class = usize::from(status.as_u16() / 100).min(CLASSES.len() - 1);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.decrement(1);
        self.metrics.duration.record(self.began.elapsed());
        self.metrics.classes[self.class].increment(1);
    }
}
