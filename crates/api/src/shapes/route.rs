//! Routes and filters.

use onrush_proto::v1;
use serde::Serialize;
use serde_json::{Map, Value};

use super::said;

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteShape {
    /// Its name.
    pub name: String,
    /// The tenant it belongs to.
    pub namespace: String,
    /// Which host, where not every one.
    pub host: Option<String>,
    /// Which paths.
    pub path: String,
    /// Which methods; empty means every one.
    pub methods: Vec<String>,
    /// Which function of the namespace.
    pub function: String,
    /// Which version of it: `latest` or a number.
    pub qualifier: String,
    /// Each with its `use` and its parameters, as in a manifest.
    pub filters: Vec<Map<String, Value>>,
    /// The revision that changed it last; send it as `expected_revision` to change only this state.
    pub revision: u64,
}

impl From<v1::Route> for RouteShape {
    fn from(route: v1::Route) -> Self {
        Self {
            name: route.name,
            namespace: route.namespace,
            host: said(route.host),
            path: route.path,
            methods: route.methods,
            function: route.function,
            qualifier: said(route.qualifier).unwrap_or_else(|| "latest".to_owned()),
            filters: route.filters.into_iter().map(used).collect(),
            revision: route.revision,
        }
    }
}

fn used(filter: v1::RouteFilter) -> Map<String, Value> {
    let mut shape = Map::new();
    shape.insert("use".to_owned(), filter.r#use.into());
    // A node writes nothing but objects.
    let parameters: Map<String, Value> = serde_json::from_str(&filter.parameters).unwrap_or_default();
    shape.extend(parameters);
    shape
}

/// How setting a route ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteSetShape {
    /// The route as it is now.
    #[serde(flatten)]
    pub route: RouteShape,
    /// The catalog's revision after it.
    pub catalog_revision: u64,
    /// False where the route was the same already.
    pub changed: bool,
}

impl From<v1::SetRouteReply> for RouteSetShape {
    fn from(reply: v1::SetRouteReply) -> Self {
        Self { route: reply.route.unwrap_or_default().into(), catalog_revision: reply.revision, changed: reply.changed }
    }
}

/// A filter, for people and for forms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilterShape {
    /// Its name, as `use` spells it.
    pub name: String,
    /// What it does, in a sentence.
    pub summary: String,
    /// What it may be tuned to.
    pub parameters: Vec<ParameterShape>,
    /// As in a manifest.
    pub example: String,
}

/// A parameter of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParameterShape {
    /// Its name.
    pub name: String,
    /// What it looks like, such as `100/s`.
    pub form: String,
    /// What it is where it is left out; none where it must be given.
    pub default: Option<String>,
    /// What it means, with unit and limits.
    pub meaning: String,
}

impl From<v1::Filter> for FilterShape {
    fn from(filter: v1::Filter) -> Self {
        let parameter = |parameter: v1::FilterParameter| ParameterShape {
            name: parameter.name,
            form: parameter.form,
            default: parameter.default,
            meaning: parameter.meaning,
        };
        Self {
            name: filter.name,
            summary: filter.summary,
            parameters: filter.parameters.into_iter().map(parameter).collect(),
            example: filter.example,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_the_fields_that_are_promised() {
        let filter = v1::RouteFilter { r#use: "rate-limit".into(), parameters: r#"{"rate":"100/s"}"#.into() };
        let route = v1::Route { name: "r".into(), path: "/".into(), filters: vec![filter], ..Default::default() };
        let json = serde_json::to_value(RouteShape::from(route)).unwrap();
        let fields: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut promised =
            ["name", "namespace", "host", "path", "methods", "function", "qualifier", "filters", "revision"];
        promised.sort_unstable();
        let mut fields = fields;
        fields.sort_unstable();
        assert_eq!(fields, promised);
        assert_eq!(json["host"], Value::Null);
        assert_eq!(json["qualifier"], "latest");
        assert_eq!(json["filters"], serde_json::json!([{ "use": "rate-limit", "rate": "100/s" }]));
    }
}
