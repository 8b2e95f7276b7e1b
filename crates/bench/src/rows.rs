//! The rows: one file each, and what several of them need.

pub(crate) mod cached;
pub(crate) mod cold;
pub(crate) mod density;
pub(crate) mod fairness;
pub(crate) mod forwarded;
pub(crate) mod hello;
pub(crate) mod identical;
pub(crate) mod image;
pub(crate) mod outage;
pub(crate) mod overload;
mod sides;
pub(crate) mod simulated;
pub(crate) mod slow_node;
mod store;
pub(crate) mod warm;
pub(crate) mod writes;
