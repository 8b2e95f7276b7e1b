//! Chooses a node for a call and gets the call there.
//!
//! Knows: which functions exist (`Catalog`), who is alive (`ClusterView`), how busy nodes said they are, who fails.
//! Does not know: HTTP, how members are found, how functions run, how a node is dialled.
mod attempt; // after a failure: another node, or the end
mod budget; // how many second tries there may be
mod config;
mod endpoints; // view and catalog -> candidates
mod lend; // a body that comes back unread
mod metrics;
mod node; // what this gateway knows of one node
mod outlier; // nodes that fail, and when they may try again
pub mod policy; // candidates -> one: the rules
mod router;

pub use self::{
    config::Config,
    router::{Here, Nodes, Parts, Router, Way},
};
