//! Runs calls on this node within its limits.
//!
//! Knows: which calls may run now, which wait and which are refused; which versions are ready; what functions wrote.
//! Does not know: HTTP, other nodes, how a guest is run. It never forwards a call.
mod admission; // the door: a permit and a slot at once, or a place in the queue
mod codel; // what a queue that does not go away means
mod config;
mod counts; // the house in one word
mod estimate; // what calls cost, how long they would wait
mod fair; // whose turn it is
mod lane; // what is known of a function and of a namespace
mod logs;
mod memory; // is there enough left?
mod metrics;
mod permit; // what one call holds
mod prefetch;
mod queue; // who waits
mod refusal; // why not, in words
mod turn; // how a waiting call hears that it may
mod versions;
mod worker;

pub use self::{
    config::{Config, LogConfig},
    logs::LogRing,
    worker::{Parts, RunError, Worker},
};
