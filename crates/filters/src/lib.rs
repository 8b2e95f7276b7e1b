//! What an operator may put between a request and its function: each filter with its parameters, defaults and doc.
//!
//! Knows: which filters exist, what they may be tuned to, the order in which a request passes them.
//! Does not know: routes, the catalog, how a call runs.
mod document; // what `onrush filter list` and docs/filters.md say
mod filter; // one file per filter, and what they have in common
mod key; // by what limits tell callers apart
mod problem; // what is wrong with a list of filters
mod rules; // what filters demand of each other and of their function
mod sharing; // which question a request asks
mod stack; // the order, and the way of a request through it
mod table; // a bounded table of rate limits
mod value; // how rates, sizes, times and networks are written

pub use self::{
    document::{FilterDoc, ParameterDoc, documentation, markdown},
    filter::{concurrency_limit::Permit, retry::Retry},
    problem::{Problem, Surroundings, check, check_route},
    sharing::{Asked, Share},
    stack::{Gateways, Notes, Passage, Passing, Stack, Stop, preflight_of},
};
