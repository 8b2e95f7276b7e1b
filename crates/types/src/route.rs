//! Routes: which requests, by host, path and method, go to which function, and through which filters.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::{FunctionName, Label, Qualifier};

/// A route's full name. Written `name.namespace`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteName {
    /// The tenant it belongs to.
    pub namespace: Label,
    /// Its name there.
    pub name: Label,
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
pub struct RouteSpec {
    /// `example.com`, or `*.example.com` for any one label in front; none means every host.
    #[serde(default)]
    pub host: Option<String>,
    /// `/thumb/{size}/{*rest}`: `{name}` is one segment, `{*name}` the rest.
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

impl RouteSpec {
    /// The function of a route in this namespace.
    pub fn target(&self, namespace: &Label) -> FunctionName {
        FunctionName::new(namespace.clone(), self.function.clone())
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
