//! The harness of the cluster tests: real `onrush` processes on loopback, found ports, conditions instead of sleeps.
//!
//! Knows: the command line and the public HTTP interface, as a user does.
//! Does not know: anything inside.
pub mod cluster;
pub mod guests;
pub mod load;
pub mod ports;
pub mod process;
pub mod wait;

pub use self::{
    cluster::{Cluster, Member},
    process::{NodeProcess, Output},
};
