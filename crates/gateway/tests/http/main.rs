//! The gateway over real sockets, with a scripted `Invoke` behind it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod bodies;
mod calls;
mod filters;
mod harness;
mod routes;
