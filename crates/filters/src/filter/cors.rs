//! `cors`: which pages of other origins a browser lets use the route.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
    request::Parts,
};
use serde::Deserialize;

use super::{Filter, Parameter, Wrong, wrong};
use crate::{
    stack::Gateways,
    value::{List, Name, Texts, Time},
};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    origins: Texts,
    #[serde(default)]
    methods: Texts,
    #[serde(default)]
    headers: Texts,
    #[serde(default)]
    expose: List<Name>,
    #[serde(default)]
    credentials: bool,
    #[serde(default = "max_age")]
    max_age: Time,
}

fn max_age() -> Time {
    Time(Duration::from_secs(600))
}

/// More origins than this are a registry.
const MOST: usize = 256;

/// The filter.
#[derive(Debug)]
pub(crate) struct Cors {
    /// None means every one.
    origins: Option<Vec<Origin>>,
    /// None means whatever is asked for.
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

#[derive(Debug, PartialEq, Eq)]
enum Origin {
    Exactly(String),
    /// `https://` and `.example.com`: any names in between.
    Below {
        scheme: String,
        suffix: String,
    },
}

impl Filter for Cors {
    const NAME: &'static str = "cors";
    const SUMMARY: &'static str = "Tells browsers which other origins' pages may use the route, and answers their preflight \
        requests without a call. Errors of the platform are readable to those pages, too.";
    const EXAMPLE: &'static str =
        r#"{ use = "cors", origins = ["https://app.example", "https://*.example.com"], headers = ["content-type"] }"#;
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "origins",
            form: r#"["https://app.example", "https://*.example.com"]"#,
            default: None,
            meaning: "scheme, host and port of the pages; `*` for every one; `*.` for any name in front",
        },
        Parameter {
            name: "methods",
            form: r#"["GET", "PUT"]"#,
            default: Some("(whatever is asked for)"),
            meaning: "allowed methods",
        },
        Parameter {
            name: "headers",
            form: r#"["content-type"]"#,
            default: Some("(whatever is asked for)"),
            meaning: "allowed request headers",
        },
        Parameter {
            name: "expose",
            form: r#"["x-total"]"#,
            default: Some("[]"),
            meaning: "reply headers that pages may read",
        },
        Parameter {
            name: "credentials",
            form: "true",
            default: Some("false"),
            meaning: "whether pages may send cookies and the like; not together with origins = \"*\"",
        },
        Parameter {
            name: "max-age",
            form: r#""10m""#,
            default: Some("10m"),
            meaning: "how long browsers remember the answer",
        },
    ];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        let mut found = Vec::new();
        let origins = settings.origins.into_vec();
        if origins.is_empty() || origins.len() > MOST {
            found.push(wrong("origins", format!("name 1 to {MOST} origins, or \"*\"")));
        }
        let every = origins.iter().any(|origin| origin == "*");
        if every && settings.credentials {
            let why = "not together with origins = \"*\": every page could then act for whoever is logged in";
            found.push(wrong("credentials", why));
        }
        let mut known = Vec::new();
        for (at, text) in origins.iter().enumerate().filter(|(_, text)| *text != "*") {
            match Origin::parse(text) {
                Ok(origin) => known.push(origin),
                Err(why) => found.push(wrong(format!("origins[{at}]"), why)),
            }
        }
        let mut list = |field: &str, texts: Vec<String>, good: fn(&str) -> bool| {
            for (at, text) in texts.iter().enumerate().filter(|(_, text)| !good(text)) {
                found.push(wrong(format!("{field}[{at}]"), format!("{text:?} is none of the {field} that HTTP has")));
            }
            HeaderValue::try_from(texts.join(", ")).ok().filter(|_| !texts.is_empty())
        };
        let methods = list("methods", settings.methods.into_vec(), |text| Method::from_bytes(text.as_bytes()).is_ok());
        let headers = list("headers", settings.headers.into_vec(), |text| Name::parse(text).is_ok());
        let expose = settings.expose.0.iter().map(|name| name.0.as_str().to_owned()).collect();
        let expose = list("expose", expose, |_| true);
        if !found.is_empty() {
            return Err(found);
        }
        let max_age = HeaderValue::from(settings.max_age.0.as_secs());
        let origins = (!every).then_some(known);
        Ok(Self { origins, methods, headers, expose, credentials: settings.credentials, max_age })
    }
}

impl Origin {
    fn parse(text: &str) -> Result<Self, String> {
        let why =
            || format!("{text:?} is no origin: write \"https://app.example\", with a port if it has one, no path");
        let (scheme, host) = text.split_once("://").ok_or_else(why)?;
        let plain = |text: &str, more: &[char]| {
            !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || more.contains(&char))
        };
        let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
        let bare = host.strip_prefix('*').unwrap_or(&host);
        if !plain(&scheme, &['+', '-', '.']) || !plain(bare, &['.', '-', ':', '[', ']']) {
            return Err(why());
        }
        match host.strip_prefix('*') {
            Some(suffix) if suffix.starts_with('.') => Ok(Self::Below { scheme, suffix: suffix.to_owned() }),
            Some(_) => Err(why()),
            None => Ok(Self::Exactly(format!("{scheme}://{host}"))),
        }
    }

    fn is(&self, text: &str) -> bool {
        match self {
            Self::Exactly(origin) => origin == text,
            Self::Below { scheme, suffix } => {
                let host = text.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_prefix("://"));
                host.and_then(|host| host.strip_suffix(suffix.as_str())).is_some_and(|name| !name.is_empty())
            }
        }
    }
}

/// The method that a preflight request asks about, if this is one.
pub(crate) fn asks_for(parts: &Parts) -> Option<&HeaderValue> {
    let preflight = parts.method == Method::OPTIONS && parts.headers.contains_key(ORIGIN);
    parts.headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| preflight)
}

impl Cors {
    /// The answer to a preflight request, if this is one.
    pub(crate) fn preflight(&self, parts: &Parts) -> Option<Response<()>> {
        let method = asks_for(parts)?;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        // What is allowed may depend on what is asked for.
        for name in [&ORIGIN, &ACCESS_CONTROL_REQUEST_METHOD, &ACCESS_CONTROL_REQUEST_HEADERS] {
            headers.append(VARY, HeaderValue::from(name.clone()));
        }
        let Some(origin) = self.allowed(parts.headers.get(ORIGIN)) else { return Some(response) };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone().unwrap_or_else(|| method.clone()));
        let asked = parts.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(allowed) = self.headers.as_ref().or(asked) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        Some(response)
    }

    /// Says in a reply, to a request from this origin, who may read it. What the function said of that is replaced:
    /// two answers would be none.
    pub(crate) fn answer(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS] {
            headers.remove(name);
        }
        if self.origins.is_some() {
            append_vary(headers, &ORIGIN);
        }
        let Some(allowed) = self.allowed(origin) else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }

    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        let origin = origin?;
        let Some(known) = &self.origins else { return Some(HeaderValue::from_static("*")) };
        let text = origin.to_str().ok()?;
        known.iter().any(|known| known.is(text)).then(|| origin.clone())
    }
}

/// Adds a name to `Vary`, once.
fn append_vary(headers: &mut HeaderMap, name: &HeaderName) {
    let listed = |value: &HeaderValue| {
        let mut names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|listed| listed.eq_ignore_ascii_case(name.as_str().as_bytes()) || listed == b"*")
    };
    if !headers.get_all(VARY).iter().any(listed) {
        headers.append(VARY, HeaderValue::from(name.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_itself_or_below_a_name() {
        let origin = |text| Origin::parse(text).unwrap();
        assert!(origin("https://App.example:8443").is("https://app.example:8443"));
        assert!(!origin("https://app.example").is("http://app.example"));
        let below = origin("https://*.example.com");
        assert!(below.is("https://a.example.com") && below.is("https://a.b.example.com"));
        for other in
            ["https://example.com", "https://.example.com", "https://evilexample.com", "http://a.example.com", "null"]
        {
            assert!(!below.is(other), "{other}");
        }
        for bad in ["app.example", "https://", "https://a/b", "https://*", "https://*x.com", "null", "https://a,b"] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }
}
