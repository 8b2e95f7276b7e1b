//! `canary`: some of the calls go to another version.

use std::hash::{BuildHasherDefault, DefaultHasher};

use http::HeaderName;
use onrush_types::Qualifier;
use serde::{Deserialize, Deserializer, de::Error};

use super::{Filter, Parameter, Wrong, wrong};
use crate::{
    key::{Per, key},
    stack::{Gateways, Passing},
    value::Name,
};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    to: To,
    #[serde(default)]
    weight: Percent,
    #[serde(default)]
    by: By,
    header: Option<Name>,
}

/// Hundredths of a percent, written as percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Percent(u64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(D::Error::custom(format!("a weight is percent, 0 to 100, not {percent}")));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10000")]
        Ok(Self((percent * 100.0).round() as u64))
    }
}

/// An alias, or a version with or without quotes.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum To {
    Version(u64),
    Alias(String),
}

impl To {
    fn text(&self) -> String {
        match self {
            Self::Version(number) => number.to_string(),
            Self::Alias(text) => text.clone(),
        }
    }
}

/// What a call is drawn by.
#[derive(Debug, PartialEq, Eq, Default)]
enum By {
    #[default]
    Ip,
    Header(HeaderName),
    Chance,
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (text.as_str(), text.strip_prefix("header:")) {
            ("ip", _) => Ok(Self::Ip),
            ("chance", _) => Ok(Self::Chance),
            (_, Some(name)) => Name::parse(name).map(|name| Self::Header(name.0)).map_err(D::Error::custom),
            _ => Err(D::Error::custom(format!("{text:?} is none of \"ip\", \"chance\" and \"header:NAME\""))),
        }
    }
}

/// The filter. Its hash is the same on every gateway, so that a caller is not thrown to and fro.
#[derive(Debug)]
pub(crate) struct Canary {
    to: Qualifier,
    /// Of ten thousand.
    weight: u64,
    by: Per,
    chance: bool,
    header: Option<HeaderName>,
    hasher: BuildHasherDefault<DefaultHasher>,
}

impl Filter for Canary {
    const NAME: &'static str = "canary";
    const SUMMARY: &'static str = "Sends a share of the calls to another version or alias of the function. The same caller \
        gets the same one from every gateway. Where the other one does not exist, the route's own is called.";
    const EXAMPLE: &'static str = r#"{ use = "canary", to = "next", weight = 5, header = "x-canary" }"#;
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "to",
            form: r#""next" or "7""#,
            default: None,
            meaning: "an alias or a version of the function",
        },
        Parameter {
            name: "weight",
            form: "5",
            default: Some("0"),
            meaning: "percent of the callers, 0 to 100, such as 0.5",
        },
        Parameter {
            name: "by",
            form: r#""ip", "header:NAME" or "chance""#,
            default: Some("ip"),
            meaning: "who stays together: an address, a header's value (callers without it by their address), or nobody",
        },
        Parameter {
            name: "header",
            form: r#""x-canary""#,
            default: Some("(none)"),
            meaning: "a request header that decides by itself: `always` or `never`",
        },
    ];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        let to = settings.to.text().parse().map_err(|error| vec![wrong("to", format!("{error}"))])?;
        if settings.weight.0 == 0 && settings.header.is_none() {
            return Err(vec![wrong(
                "weight",
                "give `weight`, `header` or both: without them nobody gets the other version",
            )]);
        }
        let (by, chance) = match settings.by {
            By::Ip => (Per::Ip, false),
            By::Header(name) => (Per::Header(name), false),
            By::Chance => (Per::Ip, true),
        };
        let header = settings.header.map(|name| name.0);
        Ok(Self { to, weight: settings.weight.0, by, chance, header, hasher: BuildHasherDefault::default() })
    }
}

impl Canary {
    /// The other version, if this call is for it. `chance` is any number.
    pub(crate) fn choose(&self, passing: &Passing<'_>) -> Option<&Qualifier> {
        let headers = &passing.parts.headers;
        let said = self.header.as_ref().and_then(|name| headers.get(name)).map(http::HeaderValue::as_bytes);
        let chosen = match said {
            Some(b"always") => true,
            Some(b"never") => false,
            _ if self.chance => passing.chance % 10_000 < self.weight,
            _ => key(&self.hasher, &self.by, (passing.client, headers, None)) % 10_000 < self.weight,
        };
        chosen.then_some(&self.to)
    }
}
