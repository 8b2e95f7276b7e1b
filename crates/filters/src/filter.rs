//! One file per filter. Each says what it is called, what it may be tuned to, and how it is built from that.

pub(crate) mod auth;
pub(crate) mod body_limit;
pub(crate) mod cache;
pub(crate) mod canary;
pub(crate) mod coalesce;
pub(crate) mod compress;
pub(crate) mod concurrency_limit;
pub(crate) mod cors;
pub(crate) mod headers;
pub(crate) mod ip_allow;
pub(crate) mod rate_limit;
pub(crate) mod retry;
pub(crate) mod rewrite;
pub(crate) mod timeout;

use onrush_types::FilterUse;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{problem::Problem, stack::Gateways};

/// Names that are taken and not served yet.
pub(crate) const LATER: [&str; 2] = ["wasm", "mirror"];

/// What every filter says of itself.
pub(crate) trait Filter: Sized {
    /// As `use` spells it.
    const NAME: &'static str;
    /// What it does, in a sentence or two.
    const SUMMARY: &'static str;
    /// As in a manifest.
    const EXAMPLE: &'static str;
    /// What it may be tuned to, as people read it.
    const PARAMETERS: &'static [Parameter];
    /// The same, as it is read.
    type Settings: DeserializeOwned;

    /// Checks the settings and makes the filter.
    fn build(settings: Self::Settings, gateways: &Gateways) -> Result<Self, Vec<Wrong>>;
}

/// A parameter, for people.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) form: &'static str,
    /// None where it must be given; in parentheses where it is no value.
    pub(crate) default: Option<&'static str>,
    pub(crate) meaning: &'static str,
}

/// What is wrong with a field of a filter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) field: String,
    pub(crate) why: String,
}

/// One wrong field.
pub(crate) fn wrong(field: impl Into<String>, why: impl Into<String>) -> Wrong {
    Wrong { field: field.into(), why: why.into() }
}

/// Reads and builds the filter that is used at this position.
pub(crate) fn build<F: Filter>(at: usize, used: &FilterUse, gateways: &Gateways) -> Result<F, Vec<Problem>> {
    let unknown = unknown_fields::<F>(used);
    let problems = |wrong: Vec<Wrong>| wrong.iter().map(|wrong| Problem::of(at, &wrong.field, &wrong.why)).collect();
    if !unknown.is_empty() {
        return Err(problems(unknown));
    }
    let parameters = Value::Object(used.parameters.clone());
    let settings = serde_path_to_error::deserialize(parameters).map_err(|error| {
        let path = error.path().to_string();
        problems(vec![misread::<F>(if path == "." { "" } else { &path }, &error.into_inner().to_string())])
    })?;
    F::build(settings, gateways).map_err(problems)
}

fn unknown_fields<F: Filter>(used: &FilterUse) -> Vec<Wrong> {
    let names = || F::PARAMETERS.iter().map(|parameter| parameter.name);
    let unknown = used.parameters.keys().filter(|key| !names().any(|name| name == key.as_str()));
    unknown
        .map(|key| {
            let known: Vec<_> = names().collect();
            wrong(key, format!("{} has no such parameter{}; it has {}", F::NAME, meant(key, names()), known.join(", ")))
        })
        .collect()
}

/// A missing parameter is named as the place; the rest of the reader's words is good enough.
fn misread<F: Filter>(path: &str, message: &str) -> Wrong {
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match missing {
        Some(name) => {
            let form = F::PARAMETERS.iter().find(|parameter| parameter.name == name).map(|parameter| parameter.form);
            let form = form.map(|form| format!(", such as {form}")).unwrap_or_default();
            let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            wrong(field, format!("must be given{form}"))
        }
        None => wrong(path, message),
    }
}

/// ` (did you mean "rate"?)`, if something is near enough.
pub(crate) fn meant<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|name| (strsim::jaro_winkler(text, name), name)).filter(|(score, _)| *score > 0.8);
    let best = near.max_by(|one, other| one.0.total_cmp(&other.0));
    best.map(|(_, name)| format!(" (did you mean {name:?}?)")).unwrap_or_default()
}
