//! One execution, or one stored reply, for many identical calls.
//!
//! Knows: which replies may be kept and for how long (RFC 9111, RFC 5861), which conditions a kept reply answers, who
//! waits for whom, and what to say about it (RFC 9211).
//! Does not know: routes, filters, how a key is made, who owns one, how a call runs.
mod answer; // a reply that several calls are given
mod condition; // If-None-Match, If-Modified-Since (pure)
mod config;
#[cfg(test)]
mod cross_check;
mod directives; // Cache-Control, in both directions (pure)
mod execution; // one run, detached from whoever started it
mod flight; // who leads, who waits
mod freshness; // how old, how long fresh, what a stale reply may still do (pure)
mod metrics;
mod room; // the bound on what is being collected
mod shared; // the way of a call: `SharedInvoke`
mod status; // Cache-Status (pure)
mod storage; // may this reply be shared, or kept (pure)
mod store; // what is kept
mod tape; // a body that many read while it comes
mod vary; // secondary keys (pure)

pub use self::{config::Config, shared::SharedInvoke};
