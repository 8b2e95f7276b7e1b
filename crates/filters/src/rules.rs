//! What filters demand of each other, of their route and of its function.

use http::header::HeaderName;
use onrush_types::FilterUse;

use crate::{
    filter::{
        self, Filter, auth::Auth, cache::Cache, coalesce::Coalesce, rate_limit::RateLimit, retry::Retry,
        rewrite::Rewrite,
    },
    problem::{Problem, Surroundings},
    stack::{Gateways, Stack},
};

fn position<F: Filter>(filters: &[FilterUse]) -> usize {
    filters.iter().position(|used| used.filter == F::NAME).unwrap_or_default()
}

/// What is wrong with filters that are right each by itself.
pub(crate) fn broken(filters: &[FilterUse], stack: &Stack, surroundings: Surroundings<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if stack.retry.is_some() && !surroundings.idempotent {
        let why = "only calls that may run twice may be tried again: declare the function idempotent = true";
        problems.push(Problem::of(position::<Retry>(filters), "use", why));
    }
    if stack.rate_limit.as_ref().is_some_and(RateLimit::needs_caller)
        && !filters.iter().any(|used| used.filter == Auth::NAME)
    {
        let why = "\"key\" counts callers that auth recognised, and this route has no auth";
        problems.push(Problem::of(position::<RateLimit>(filters), "per", why));
    }
    if stack.cache.is_some() {
        problems.extend(shared(Cache::NAME, position::<Cache>(filters), stack, surroundings));
    }
    if stack.coalesce.is_some() {
        problems.extend(shared(Coalesce::NAME, position::<Coalesce>(filters), stack, surroundings));
    }
    if let (Some(cache), Some(coalesce)) = (&stack.cache, &stack.coalesce) {
        let contradictions = coalesce.question.contradictions(&cache.question);
        problems.extend(contradictions.into_iter().map(|field| {
            let why =
                format!("cache says otherwise: what is the same question is the same for both, so give {field} once");
            Problem::of(position::<Coalesce>(filters), field, why)
        }));
    }
    problems
}

/// Sharing needs calls that are harmless to share, and answers that are nobody's own.
fn shared(name: &str, at: usize, stack: &Stack, surroundings: Surroundings<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Surroundings { idempotent, methods } = surroundings;
    let safe = !methods.is_empty() && methods.iter().all(|method| matches!(method.as_str(), "GET" | "HEAD"));
    if !idempotent && !safe {
        let why = format!(
            "{name} answers several requests with one call: declare the function idempotent = true, or give the route \
             methods = [\"GET\", \"HEAD\"]"
        );
        problems.push(Problem::of(at, "use", why));
    }
    let Some(plan) = &stack.plan else { return problems };
    if plan.bodies() && !idempotent {
        let why = "requests with bodies are shared for functions alone that are declared idempotent = true";
        problems.push(Problem::of(at, "body", why));
    }
    if let Some(auth) = stack.auth.as_ref().filter(|auth| auth.forwards()) {
        let open: Vec<_> = auth.credentials().filter(|name| !plan.varies(name)).map(HeaderName::as_str).collect();
        if !open.is_empty() {
            let why = format!(
                "the function sees who calls, in {}, and one caller's reply could go to another: list it here, or say \
                 forward = false in auth",
                open.join(" and ")
            );
            problems.push(Problem::of(at, "vary", why));
        }
    }
    problems
}

/// Parameters that `rewrite` takes from a path that does not have them.
pub(crate) fn unknown_parameters(filters: &[FilterUse], path: &str) -> Vec<Problem> {
    let used = filters.iter().enumerate().find(|(_, used)| used.filter == Rewrite::NAME);
    let built = used.and_then(|(at, used)| Some((at, filter::build::<Rewrite>(at, used, &Gateways::default()).ok()?)));
    let Some((at, rewrite)) = built else { return Vec::new() };
    let known: Vec<_> = path.split('/').filter_map(parameter_of).collect();
    let unknown = rewrite.parameters().filter(|name| !known.contains(name));
    unknown
        .map(|name| Problem::of(at, "to", format!("the route's path {path:?} has no parameter {{{name}}}")))
        .collect()
}

/// `size` of `{size}`, `rest` of `{*rest}`.
fn parameter_of(segment: &str) -> Option<&str> {
    let (_, name) = segment.split_once('{')?;
    name.strip_suffix('}').map(|name| name.trim_start_matches('*'))
}

#[cfg(test)]
mod tests;
