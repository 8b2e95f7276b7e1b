//! `[[route]]`: which requests go to the manifest's functions, and how filters are written.

use std::collections::BTreeMap;

use onrush_filters::check_route;
use onrush_types::{DEFAULT_NAMESPACE, FilterUse, FunctionRef, Label, Qualifier, RouteSpec};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Function;

/// Longest name of a route.
const LONGEST_NAME: usize = 63;

/// A route of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// As the manifest says, or made from function and path.
    pub(crate) name: Label,
    /// What it is.
    pub(crate) spec: RouteSpec,
}

/// One `[[route]]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: Option<String>,
    host: Option<String>,
    path: String,
    #[serde(default)]
    methods: Vec<String>,
    function: String,
    #[serde(default)]
    filters: Vec<toml::Table>,
}

/// All routes of a manifest, or everything that is wrong with them: one line each, with its place.
pub(super) fn read(tables: Vec<toml::Table>, functions: &BTreeMap<Label, Function>) -> Result<Vec<Route>, String> {
    let mut routes: Vec<(usize, Route)> = Vec::new();
    let mut problems = Vec::new();
    for (number, table) in (1..).zip(tables) {
        match one(table, functions) {
            Ok(route) => {
                let found = problems_of(&route, functions);
                let place = format!("[[route]] {number}: route \"{}\"", route.name);
                problems.extend(found.into_iter().map(|why| format!("{place}: {why}")));
                for (earlier, other) in &routes {
                    if other.name == route.name {
                        problems.push(format!(
                            "{place}: [[route]] {earlier} has this name too; give one of them another name"
                        ));
                    } else if let Some(why) = other.spec.clash(&route.spec) {
                        problems.push(format!("{place}: clashes with [[route]] {earlier} ({}): {why}", other.name));
                    }
                }
                routes.push((number, route));
            }
            Err(found) => problems.extend(found.into_iter().map(|why| format!("[[route]] {number}: {why}"))),
        }
    }
    if problems.is_empty() {
        return Ok(routes.into_iter().map(|(_, route)| route).collect());
    }
    Err(problems.join("\n"))
}

fn one(table: toml::Table, functions: &BTreeMap<Label, Function>) -> Result<Route, Vec<String>> {
    let named = table.get("name").and_then(toml::Value::as_str).map(|name| format!("route {name:?}: "));
    let place = named.unwrap_or_default();
    let table: Table =
        table.try_into().map_err(|error: toml::de::Error| vec![format!("{place}{}", error.message())])?;
    let mut problems = Vec::new();
    let target =
        function(&table.function, functions).map_err(|why| problems.push(format!("{place}function: {why}"))).ok();
    let mut filters = Vec::new();
    for (at, parameters) in table.filters.into_iter().enumerate() {
        match used(object(parameters)) {
            Ok(filter) => filters.push(filter),
            Err(why) => problems.push(format!("{place}filters[{at}].use: {why}")),
        }
    }
    let name = match &table.name {
        Some(name) => name.parse::<Label>().map_err(|error| problems.push(format!("name: {error}"))).ok(),
        None => default_name(&table.function, &table.path),
    };
    let (Some((function, qualifier)), Some(name), true) = (target, name, problems.is_empty()) else {
        if problems.is_empty() {
            problems.push("name: none can be made from function and path; give one".to_owned());
        }
        return Err(problems);
    };
    let Table { host, path, methods, .. } = table;
    Ok(Route { name, spec: RouteSpec { host, path, methods, function, qualifier, filters } })
}

/// `NAME[@VERSION]`, of this manifest.
fn function(text: &str, functions: &BTreeMap<Label, Function>) -> Result<(Label, Qualifier), String> {
    let namespace = DEFAULT_NAMESPACE.parse::<Label>().map_err(|error| error.to_string())?;
    let FunctionRef { function, qualifier } =
        FunctionRef::parse_in(text, &namespace).map_err(|error| error.to_string())?;
    if text.contains('.') || !functions.contains_key(&function.name) {
        let known: Vec<_> = functions.keys().map(Label::as_str).collect();
        return Err(format!("{text:?} is no function of this manifest; it has {}", known.join(", ")));
    }
    Ok((function.name, qualifier))
}

/// What the cluster would refuse, said before anything is built or sent.
fn problems_of(route: &Route, functions: &BTreeMap<Label, Function>) -> Vec<String> {
    let spec = &route.spec;
    let mut problems: Vec<_> = spec.problems().into_iter().map(|problem| (problem.place, problem.why)).collect();
    // What an older version was like is for the cluster to know.
    let newest = spec.qualifier == Qualifier::Latest;
    let idempotent = !newest || functions.get(&spec.function).is_some_and(|function| function.idempotent);
    for problem in check_route(spec, idempotent) {
        if problems.iter().all(|(place, _)| *place != problem.place) {
            problems.push((problem.place, problem.why));
        }
    }
    problems.into_iter().map(|(place, why)| format!("{place}: {why}")).collect()
}

/// `thumbnail` and `/thumb/{*rest}` make `thumbnail-thumb-rest`: always the same, so that the next deploy finds it.
fn default_name(function: &str, path: &str) -> Option<Label> {
    let mut name = String::new();
    for letter in format!("{function}/{path}").chars() {
        match letter {
            'a'..='z' | '0'..='9' => name.push(letter),
            'A'..='Z' => name.push(letter.to_ascii_lowercase()),
            _ if name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    name.truncate(LONGEST_NAME);
    name.trim_matches('-').parse().ok()
}

/// A filter as it is typed: `NAME`, `NAME KEY=VALUE...`, or the table of a manifest, `{ use = "NAME", ... }`.
pub(crate) fn filter_of(text: &str) -> Result<FilterUse, String> {
    let text = text.trim();
    if text.starts_with('{') {
        if let Ok(parameters) = serde_json::from_str(text) {
            return used(parameters);
        }
        let document: Result<toml::Table, _> = toml::from_str(&format!("filter = {text}"));
        let mut document = document.map_err(|error| error.message().to_owned())?;
        let (Some(toml::Value::Table(parameters)), true) = (document.remove("filter"), document.is_empty()) else {
            return Err("is no table like { use = \"cache\", ttl = \"60s\" }".to_owned());
        };
        return used(object(parameters));
    }
    let mut words = text.split_whitespace();
    let Some(filter) = words.next() else { return Err("names no filter".to_owned()) };
    let mut parameters = Map::new();
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is not KEY=VALUE"))?;
        if parameters.insert(key.to_owned(), typed(value)).is_some() {
            return Err(format!("{key} is there twice"));
        }
    }
    Ok(FilterUse { filter: filter.to_owned(), parameters })
}

/// A number, a flag, a list or a quoted text, as in a manifest; anything else is a text.
fn typed(text: &str) -> Value {
    let document = toml::from_str::<toml::Table>(&format!("value = {text}"));
    match document.ok().and_then(|mut table| table.remove("value").filter(|_| table.is_empty())) {
        None | Some(toml::Value::Datetime(_)) => text.into(),
        Some(value) => json(value),
    }
}

fn used(mut parameters: Map<String, Value>) -> Result<FilterUse, String> {
    match parameters.remove("use") {
        Some(Value::String(filter)) => Ok(FilterUse { filter, parameters }),
        Some(other) => Err(format!("must be a filter's name, not {other}")),
        None => Err("missing; it names the filter".to_owned()),
    }
}

fn object(table: toml::Table) -> Map<String, Value> {
    table.into_iter().map(|(key, value)| (key, json(value))).collect()
}

/// Times and dates become texts; infinities, which JSON does not have, become nothing, which no filter takes.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(table) => Value::Object(object(table)),
    }
}

#[cfg(test)]
mod tests;
