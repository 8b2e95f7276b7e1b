//! What an operator may put between a request and its function: each filter with its parameters, defaults and doc.
//!
//! Knows: which filters exist, what they may be tuned to, the order in which a request passes them.
//! Does not know: routes, the catalog, how a call runs.
mod problem;

pub use self::problem::{FilterDoc, ParameterDoc};
pub use self::problem::{Problem, Surroundings, check, check_route, documentation};
