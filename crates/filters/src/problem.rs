//! What is wrong with a list of filters, and what filters there are.

use onrush_types::{FilterUse, RouteSpec};
use serde::Serialize;

/// What a filter's rules may depend on beyond its parameters.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Whether the route's function may run a call twice.
    pub idempotent: bool,
    /// The route's methods; empty means every one.
    pub methods: &'a [String],
}

/// One thing that is wrong: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Problem {
    /// Such as `filters[1].rate`.
    pub place: String,
    /// What is wrong and what is allowed.
    pub why: String,
}

/// A filter, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilterDoc {
    /// Its name, as `use` spells it.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What it may be tuned to.
    pub parameters: Vec<ParameterDoc>,
    /// As in a manifest.
    pub example: &'static str,
}

/// A parameter, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParameterDoc {
    /// Its name.
    pub name: &'static str,
    /// What it looks like, such as `100/s`.
    pub form: &'static str,
    /// What it is where it is left out; none if it must be given.
    pub default: Option<String>,
    /// What it means, with unit and limits.
    pub meaning: &'static str,
}

/// Everything that is wrong with a route's filters; empty means that they may be committed.
pub fn check(filters: &[FilterUse], _surroundings: Surroundings<'_>) -> Vec<Problem> {
    let unknown = |(at, used): (usize, &FilterUse)| Problem {
        place: format!("filters[{at}].use"),
        why: format!("there is no filter {:?}", used.filter),
    };
    filters.iter().enumerate().map(unknown).collect()
}

/// The same for a whole route.
pub fn check_route(route: &RouteSpec, idempotent: bool) -> Vec<Problem> {
    check(&route.filters, Surroundings { idempotent, methods: &route.methods })
}

/// Every filter, in the order of the stack.
pub fn documentation() -> Vec<FilterDoc> {
    Vec::new()
}
