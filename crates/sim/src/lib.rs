//! Thousands of simulated nodes under the very policies that the router runs.
//!
//! Knows: queueing, arrivals, what a node is told of another and when.
//! Does not know: sockets, tokio, guests.
