//! What comes back.

use std::{sync::Arc, time::Duration};

use crate::Body;

/// A worker's load, as it says so with every answer, refusals included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadReport {
    /// Calls in the house: queued, computing and waiting.
    pub in_flight: u32,
    /// Of those, calls that wait for a slot.
    pub queued: u32,
    /// Calls that can compute at once.
    pub slots: u32,
    /// How long a new call would wait for a slot.
    pub expected_wait: Duration,
    /// Calls that compute or would if there were slots for all; the others in flight wait for something else.
    pub busy: u32,
}

/// A call's reply: head now, body as a stream.
#[derive(Debug)]
pub struct Reply {
    /// What the function answered. Permits and the instance are held by its body.
    pub response: http::Response<Body>,
    /// The name of the node that ran it: `x-onrush-node`.
    pub node: Arc<str>,
    /// That node's load.
    pub load: LoadReport,
}
