//! Runs calls on this node within its limits.
//!
//! Knows: which calls may run now, which wait and which are refused; which versions are ready; what functions wrote.
//! Does not know: HTTP, other nodes, how a guest is run. It never forwards a call.
mod admission;
mod config;
mod logs;
mod metrics;
mod prefetch;
mod queue;
mod versions;
mod worker;

pub use self::{
    config::{Config, LogConfig},
    logs::LogRing,
    worker::{Parts, RunError, Worker},
};
