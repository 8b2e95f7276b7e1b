//! Routes: which requests, by host, path and method, go to which function, and through which filters.

use std::fmt;

use serde::{Deserialize, Serialize};

mod check;
mod path;

pub use self::path::{RESERVED_PATHS, Segment, segments};
use crate::{FunctionName, Label, Qualifier};

/// The methods that a route may name.
pub const ROUTE_METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A route's full name. Written `name.namespace`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteName {
    /// The tenant it belongs to.
    pub namespace: Label,
    /// Its name there.
    pub name: Label,
}

impl RouteName {
    /// Puts the two together.
    pub fn new(namespace: Label, name: Label) -> Self {
        Self { namespace, name }
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.namespace)
    }
}

/// A filter on a route: its name and what it is tuned to. What the parameters mean is the filter's affair
/// (`onrush-filters`); here they are a JSON object, so that a node keeps what only a newer one understands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterUse {
    /// Which filter, such as `rate-limit`.
    #[serde(rename = "use")]
    pub filter: String,
    /// Its parameters.
    #[serde(flatten)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

/// What a route is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// `example.com`, or `*.example.com` for any one label in front; none means every host. Lower case, without a port.
    #[serde(default)]
    pub host: Option<String>,
    /// `/thumb/{size}/{*rest}`: `{name}` is one segment, `{*name}` the rest, which is not empty.
    ///
    /// A parameter is a whole segment. Everything else is compared byte by byte with the request's path in its normal
    /// form: percent-encoding only where a character needs it, in upper case, and neither `.` nor `..`.
    pub path: String,
    /// `GET`, `POST`...; empty means every method.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Which function of the route's namespace.
    pub function: Label,
    /// Which version of it.
    #[serde(default, with = "qualifier")]
    pub qualifier: Qualifier,
    /// What a request passes through. The order is the stack's own (`onrush-filters`), not this list's.
    #[serde(default)]
    pub filters: Vec<FilterUse>,
}

/// One thing that is wrong with a route: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct RouteProblem {
    /// The field as the manifest spells it, such as `path` or `methods[1]`.
    pub place: String,
    /// What is wrong and what is allowed.
    pub why: String,
}

/// Why two routes cannot both be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteClash {
    /// There are requests that both mean, and nothing says which of them wins.
    SameRequests,
    /// One has `{name}` where the other has `{*name}`: a path tree holds one of the two at a place.
    ParameterOrRest,
}

impl fmt::Display for RouteClash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SameRequests => "both would take the same requests",
            Self::ParameterOrRest => "one has {name} where the other has {*name}, and only one of the two can be there",
        })
    }
}

impl RouteSpec {
    /// The function of a route in this namespace.
    pub fn target(&self, namespace: &Label) -> FunctionName {
        FunctionName::new(namespace.clone(), self.function.clone())
    }

    /// Why this route and another cannot both be; none means that they can. Both are without problems.
    ///
    /// Where the hosts are spelled differently there is no clash: the exact one goes before `*.`, that before none. Where
    /// the paths differ, what is spelled out goes before `{name}` and before `{*name}`.
    pub fn clash(&self, other: &Self) -> Option<RouteClash> {
        if self.host != other.host {
            return None;
        }
        let shared = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method));
        let (mut own, mut theirs) = (segments(&self.path), segments(&other.path));
        loop {
            match (own.next(), theirs.next()) {
                (None, None) => return shared.then_some(RouteClash::SameRequests),
                (Some(Segment::Literal(a)), Some(Segment::Literal(b))) if a == b => {}
                (Some(Segment::Parameter(_)), Some(Segment::Parameter(_)))
                | (Some(Segment::Rest(_)), Some(Segment::Rest(_))) => {}
                (Some(Segment::Parameter(_)), Some(Segment::Rest(_)))
                | (Some(Segment::Rest(_)), Some(Segment::Parameter(_))) => return Some(RouteClash::ParameterOrRest),
                (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => return None,
            }
        }
    }
}

mod qualifier {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::Qualifier;

    pub(super) fn serialize<S: Serializer>(qualifier: &Qualifier, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(qualifier)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Qualifier, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
