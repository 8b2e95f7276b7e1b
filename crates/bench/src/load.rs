//! Generators of load, on the core that servers do not have.
//!
//! `wrk` for the highest rate (closed loop: the next request waits for the last); `open` for latencies (requests are sent
//! when they are due, and their time counts from then, however late the answer to the one before was).

pub(crate) mod at_once;
pub(crate) mod connection;
pub(crate) mod open;
pub(crate) mod percentile;
pub(crate) mod wrk;
