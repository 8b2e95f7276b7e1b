//! What every route must be, whatever filters there are.

use serde_json::Value;

use super::{
    FilterUse, ROUTE_METHODS, RouteProblem, RouteSpec,
    path::{self, shortened},
};
use crate::{Label, Qualifier};

/// Longest host, in bytes (RFC 1035).
const LONGEST_HOST: usize = 253;

/// Most filters of one route.
const MOST_FILTERS: usize = 32;

/// Most bytes of the parameters of all filters of one route, as JSON.
const MOST_PARAMETER_BYTES: usize = 32 << 10;

/// How deep lists and tables in a parameter may lie in each other.
const DEEPEST_PARAMETER: usize = 16;

impl RouteSpec {
    /// Everything that is wrong with it by itself; empty means that it may be committed. Which filters there are and what
    /// they may be tuned to is for `onrush-filters` to say, and whether the function exists for the catalog.
    ///
    /// Checked before a command is proposed *and* inside `apply`, so that no replica ever holds a route that its gateway
    /// cannot match.
    pub fn problems(&self) -> Vec<RouteProblem> {
        let mut problems = Vec::new();
        let mut add = |place: &str, why: String| problems.push(RouteProblem { place: place.to_owned(), why });
        if let Some(why) = self.host.as_deref().and_then(host_problem) {
            add("host", why);
        }
        for why in path::problems(&self.path) {
            add("path", why);
        }
        for (at, method) in self.methods.iter().enumerate().take(2 * ROUTE_METHODS.len()) {
            if let Some(why) = method_problem(method, &self.methods[..at]) {
                add(&format!("methods[{at}]"), why);
            }
        }
        if let Qualifier::Alias(alias) = &self.qualifier {
            add(
                "qualifier",
                format!("{alias:?} would be an alias; those come with a later release. Say a version's number"),
            );
        }
        if self.filters.len() > MOST_FILTERS {
            add("filters", format!("at most {MOST_FILTERS}, not {}", self.filters.len()));
            return problems;
        }
        for (at, used) in self.filters.iter().enumerate() {
            filter_problems(used, |field, why| add(&format!("filters[{at}]{field}"), why));
        }
        let bytes: usize = self.filters.iter().map(parameter_bytes).sum();
        if bytes > MOST_PARAMETER_BYTES {
            add("filters", format!("their parameters have at most {MOST_PARAMETER_BYTES} bytes in all, not {bytes}"));
        }
        problems
    }
}

fn host_problem(host: &str) -> Option<String> {
    let form = || {
        let shown = shortened(host);
        format!("must be a name in lower case without a port, such as example.com or *.example.com, not {shown:?}")
    };
    if host.len() > LONGEST_HOST {
        return Some(format!("has at most {LONGEST_HOST} bytes, not {}", host.len()));
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    name.split('.').any(|label| label.parse::<Label>().is_err()).then(form)
}

fn method_problem(method: &str, before: &[String]) -> Option<String> {
    if !ROUTE_METHODS.contains(&method) {
        let (known, shown) = (ROUTE_METHODS.join(", "), shortened(method));
        return Some(format!("must be one of {known}, not {shown:?}; leave methods out for all"));
    }
    before.iter().any(|earlier| earlier == method).then(|| format!("{method} is there twice"))
}

fn filter_problems(used: &FilterUse, mut add: impl FnMut(&str, String)) {
    if used.filter.parse::<Label>().is_err() {
        add(
            ".use",
            format!("{:?} is no filter's name; `onrush filter list` shows those there are", shortened(&used.filter)),
        );
    }
    for (name, value) in &used.parameters {
        let field = format!(".{}", shortened(name));
        if name == "use" {
            add(&field, "is the filter's name and no parameter".to_owned());
        }
        if depth(value) > DEEPEST_PARAMETER {
            add(&field, format!("lists and tables lie in each other at most {DEEPEST_PARAMETER} deep"));
        } else if !reads_back(value) {
            add(&field, "has a number with more digits than are kept; write fewer".to_owned());
        }
    }
}

/// Replicas read parameters from text. One that does not read back as itself would differ between them.
fn reads_back(value: &Value) -> bool {
    serde_json::to_string(value).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok()).as_ref() == Some(value)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn parameter_bytes(used: &FilterUse) -> usize {
    serde_json::to_string(&used.parameters).map_or(usize::MAX / 64, |text| text.len())
}
