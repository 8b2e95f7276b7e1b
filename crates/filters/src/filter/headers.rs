//! `headers`: sets, adds and removes headers.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;

use super::{Filter, Parameter, Wrong, wrong};
use crate::{
    stack::Gateways,
    value::{List, Name, Texts},
};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default)]
    request: Written,
    #[serde(default)]
    response: Written,
}

#[derive(Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    add: BTreeMap<String, Texts>,
    #[serde(default)]
    remove: List<String>,
}

/// More than this is a program.
const MOST: usize = 64;
const LONGEST: usize = 4_096;

/// The filter.
#[derive(Debug)]
pub(crate) struct Headers {
    pub(crate) request: Edits,
    pub(crate) response: Edits,
}

/// What becomes of headers: first some go, then some are set, then some are added.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl Filter for Headers {
    const NAME: &'static str = "headers";
    const SUMMARY: &'static str = "Removes, sets and adds headers, in this order: of the request before the function sees \
        it, of the reply before the client does.";
    const EXAMPLE: &'static str = r#"{ use = "headers", request = { remove = ["x-debug"] }, response = { set = { "cache-control" = "no-store" } } }"#;
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "request",
            form: r#"{ remove = ["x-debug"], set = { "x-tenant" = "shop" }, add = { "x-tag" = ["a", "b"] } }"#,
            default: Some("{}"),
            meaning: "what becomes of the request's headers; at most 64 in all, values up to 4096 bytes",
        },
        Parameter {
            name: "response",
            form: r#"{ set = { "strict-transport-security" = "max-age=31536000" } }"#,
            default: Some("{}"),
            meaning: "the same for the reply's. Not for headers of one connection, `host`, `content-length`, `x-onrush-...`",
        },
    ];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        let mut found = Vec::new();
        let request = compile("request", settings.request, &mut found);
        let response = compile("response", settings.response, &mut found);
        if found.is_empty() && request.is_empty() && response.is_empty() {
            found.push(wrong("", "give `request`, `response` or both: this changes nothing"));
        }
        if found.is_empty() { Ok(Self { request, response }) } else { Err(found) }
    }
}

fn compile(side: &str, written: Written, found: &mut Vec<Wrong>) -> Edits {
    let mut edits = Edits::default();
    let mut name = |verb: &str, text: &str| match editable(text) {
        Ok(name) => Some(name),
        Err(why) => {
            found.push(wrong(format!("{side}.{verb}"), why));
            None
        }
    };
    edits.remove = written.remove.0.iter().filter_map(|text| name("remove", text)).collect();
    let set = written.set.iter().filter_map(|(text, value)| Some((name("set", text)?, value.clone())));
    let set: Vec<_> = set.collect();
    let add = written.add.into_iter().filter_map(|(text, values)| Some((name("add", &text)?, values.into_vec())));
    let add: Vec<_> =
        add.flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value))).collect();
    let mut value = |verb: &str, (name, text): (HeaderName, String)| match HeaderValue::try_from(&text) {
        Ok(value) if text.len() <= LONGEST => Some((name, value)),
        _ => {
            found.push(wrong(
                format!("{side}.{verb}.{name}"),
                format!("a value has no control characters and at most {LONGEST} bytes"),
            ));
            None
        }
    };
    edits.set = set.into_iter().filter_map(|pair| value("set", pair)).collect();
    edits.add = add.into_iter().filter_map(|pair| value("add", pair)).collect();
    if edits.remove.len() + edits.set.len() + edits.add.len() > MOST {
        found.push(wrong(side, format!("at most {MOST} headers")));
    }
    edits
}

/// Headers of one connection and of the platform are nobody's to change.
fn editable(text: &str) -> Result<HeaderName, String> {
    let name = Name::parse(text)?.0;
    let fixed = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::HOST,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    if fixed.contains(&name) || name.as_str() == "keep-alive" || name.as_str().starts_with("x-onrush-") {
        return Err(format!("{name} is the platform's and cannot be changed"));
    }
    Ok(name)
}

impl Edits {
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}
