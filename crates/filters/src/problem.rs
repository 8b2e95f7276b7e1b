//! What is wrong with a list of filters.

use onrush_types::{FilterUse, RouteSpec};

use crate::{rules, stack};

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

impl Problem {
    /// A problem of a field of the filter at this position.
    pub(crate) fn of(at: usize, field: &str, why: impl Into<String>) -> Self {
        let place = if field.is_empty() { format!("filters[{at}]") } else { format!("filters[{at}].{field}") };
        Self { place, why: why.into() }
    }
}

/// Everything that is wrong with a route's filters; empty means that they may be committed.
pub fn check(filters: &[FilterUse], surroundings: Surroundings<'_>) -> Vec<Problem> {
    let (stack, mut problems) = stack::assemble(filters, &stack::Gateways::default());
    problems.extend(rules::broken(filters, &stack, surroundings));
    problems
}

/// The same for a whole route.
pub fn check_route(route: &RouteSpec, idempotent: bool) -> Vec<Problem> {
    let mut problems = check(&route.filters, Surroundings { idempotent, methods: &route.methods });
    problems.extend(rules::unknown_parameters(&route.filters, &route.path));
    problems
}
