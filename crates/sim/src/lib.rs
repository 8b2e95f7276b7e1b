//! Thousands of simulated nodes under the very policies that the router runs.
//!
//! Knows: queueing, arrivals, what a node is told of another and when.
//! Does not know: sockets, tokio, guests.
pub mod compare; // scenarios x policies -> tables
mod engine; // the clock, the nodes, the calls
mod measure; // what came out, and how sure it is
mod plot; // SVG
pub mod policies; // who places calls, and how
mod scenario; // what is simulated
mod slowed; // how fast a slowed node loses its share
mod tables; // Markdown
pub mod theory; // mean-field fixed points
pub mod validate; // the simulator against theory

pub use self::{
    engine::{Truth, run},
    measure::{Estimate, Outcome},
    scenario::{Arrivals, Scenario, Service, Slowdown},
};
