//! The rules by which a gateway chooses a node for a call. Pure: time and randomness are handed in, nothing is sent, and
//! the simulator (`onrush-sim`) runs the very same code. `docs/simulation.md` shows what each part of it is worth.
//!
//! 1. A call runs where it arrived while that node has a free slot and is as fast as others.
//! 2. Otherwise two other nodes (three in large clusters) are sampled by capacity, and the lowest expected time wins: the
//!    way there, the wait there, the call itself at that node's pace.
//! 3. Where too little is known of those sampled, and knowing could save more time than asking takes, they are asked
//!    first, within a budget.
mod ask; // how often nodes may be asked
mod belief; // what is believed of one node
mod capacity; // sampling
mod choice; // candidates -> one
mod params; // the configuration as the rules use it
mod service; // how long calls take, and what all nodes have in common
mod warm; // where the processes of a function are

pub use self::{
    belief::{Belief, Report, Standing},
    capacity::Capacity,
    choice::{Call, Decision, Few, Field, Place, decide, settle},
    params::Params,
    service::{Answer, Knowledge, learn},
    warm::{key, prefer},
};
pub use crate::{
    budget::Budget,
    outlier::{Failure, Health},
};
