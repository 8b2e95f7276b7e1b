//! Routes: names and specs.

use onrush_types::{FilterUse, RouteName, RouteSpec};

use super::wrong;
use crate::{FormatError, internal};

impl From<&RouteName> for internal::RouteName {
    fn from(name: &RouteName) -> Self {
        Self { namespace: name.namespace.to_string(), name: name.name.to_string() }
    }
}

impl TryFrom<internal::RouteName> for RouteName {
    type Error = FormatError;

    fn try_from(wire: internal::RouteName) -> Result<Self, FormatError> {
        let namespace = wire.namespace.parse().map_err(|_| wrong("RouteName", "namespace"))?;
        let name = wire.name.parse().map_err(|_| wrong("RouteName", "name"))?;
        Ok(Self { namespace, name })
    }
}

impl From<&FilterUse> for internal::FilterUse {
    fn from(used: &FilterUse) -> Self {
        let parameters = serde_json::Value::Object(used.parameters.clone()).to_string();
        Self { filter: used.filter.clone(), parameters }
    }
}

impl TryFrom<internal::FilterUse> for FilterUse {
    type Error = FormatError;

    fn try_from(wire: internal::FilterUse) -> Result<Self, FormatError> {
        let parameters = serde_json::from_str(&wire.parameters).map_err(|_| wrong("FilterUse", "parameters"))?;
        Ok(Self { filter: wire.filter, parameters })
    }
}

impl From<&RouteSpec> for internal::RouteSpec {
    fn from(spec: &RouteSpec) -> Self {
        Self {
            host: spec.host.clone(),
            path: spec.path.clone(),
            methods: spec.methods.clone(),
            function: spec.function.to_string(),
            qualifier: spec.qualifier.to_string(),
            filters: spec.filters.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<internal::RouteSpec> for RouteSpec {
    type Error = FormatError;

    fn try_from(wire: internal::RouteSpec) -> Result<Self, FormatError> {
        const WHAT: &str = "RouteSpec";
        Ok(Self {
            host: wire.host,
            path: wire.path,
            methods: wire.methods,
            function: wire.function.parse().map_err(|_| wrong(WHAT, "function"))?,
            qualifier: wire.qualifier.parse().map_err(|_| wrong(WHAT, "qualifier"))?,
            filters: wire.filters.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}
