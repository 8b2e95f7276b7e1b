//! Routes and filters.

use std::str::FromStr;

use onrush_catalog::Route;
use onrush_filters::{FilterDoc, ParameterDoc};
use onrush_proto::v1;
use onrush_types::{FilterUse, Qualifier, Revision, RouteName, RouteSpec};
use serde_json::{Map, Value};

use super::{field, missing, namespace, request_id};
use crate::{
    ApiError,
    operations::{RouteSet, RouteWish},
};

/// A route as somebody sent it, before its names are read.
#[derive(Debug, Default)]
pub(crate) struct RouteText {
    pub(crate) host: Option<String>,
    pub(crate) path: String,
    pub(crate) methods: Vec<String>,
    pub(crate) function: String,
    /// Empty means the newest version.
    pub(crate) qualifier: String,
    /// Each with its `use`.
    pub(crate) filters: Vec<Map<String, Value>>,
}

/// A route's name.
pub(crate) fn route_name(namespace_text: &str, name: &str) -> Result<RouteName, ApiError> {
    Ok(RouteName::new(namespace(namespace_text)?, field("name", name)?))
}

/// A route's spec, or all of its places that cannot be read.
pub(crate) fn route_spec(name: &RouteName, text: RouteText) -> Result<RouteSpec, ApiError> {
    let mut problems = Vec::new();
    let function = read(&mut problems, "function", &text.function);
    let qualifier = match text.qualifier.as_str() {
        "" => Some(Qualifier::Latest),
        qualifier => read(&mut problems, "qualifier", qualifier),
    };
    let mut filters = Vec::with_capacity(text.filters.len());
    for (at, mut parameters) in text.filters.into_iter().enumerate() {
        match parameters.remove("use") {
            Some(Value::String(filter)) => filters.push(FilterUse { filter, parameters }),
            Some(_) => problems.push(format!("filters[{at}].use: must be a filter's name")),
            None => problems.push(format!("filters[{at}].use: missing; it names the filter")),
        }
    }
    match (function, qualifier) {
        (Some(function), Some(qualifier)) if problems.is_empty() => {
            Ok(RouteSpec { host: text.host, path: text.path, methods: text.methods, function, qualifier, filters })
        }
        _ => Err(ApiError::bad_request(format!("route \"{}\": {}", name.name, problems.join("; ")))),
    }
}

/// One field, or a problem of it.
fn read<T: FromStr>(problems: &mut Vec<String>, name: &str, text: &str) -> Option<T>
where
    T::Err: std::fmt::Display,
{
    if text.is_empty() {
        problems.push(format!("{name}: missing"));
        return None;
    }
    text.parse().map_err(|error| problems.push(format!("{name}: {error}"))).ok()
}

/// What somebody asks for over gRPC.
pub(crate) fn route_wish(request: v1::SetRouteRequest) -> Result<RouteWish, ApiError> {
    let route = request.route.ok_or_else(|| missing("route"))?;
    let name = route_name(&route.namespace, &route.name)?;
    let mut filters = Vec::with_capacity(route.filters.len());
    for (at, used) in route.filters.into_iter().enumerate() {
        let parameters = if used.parameters.is_empty() { "{}" } else { &used.parameters };
        let mut parameters: Map<String, Value> = serde_json::from_str(parameters).map_err(|error| {
            let place = format!("route \"{}\": filters[{at}].parameters", name.name);
            ApiError::bad_request(format!("{place}: must be a JSON object: {error}"))
        })?;
        parameters.insert("use".to_owned(), used.r#use.into());
        filters.push(parameters);
    }
    let text = RouteText {
        host: Some(route.host).filter(|host| !host.is_empty()),
        path: route.path,
        methods: route.methods,
        function: route.function,
        qualifier: route.qualifier,
        filters,
    };
    let spec = route_spec(&name, text)?;
    let expected = request.expected_revision.map(Revision);
    Ok(RouteWish { name, spec, expected, request: request_id(&request.request_id)? })
}

/// A route.
pub(crate) fn route_to(route: &Route) -> v1::Route {
    let spec = &route.spec;
    let used = |used: &FilterUse| v1::RouteFilter {
        r#use: used.filter.clone(),
        parameters: Value::Object(used.parameters.clone()).to_string(),
    };
    v1::Route {
        namespace: route.name.namespace.to_string(),
        name: route.name.name.to_string(),
        host: spec.host.clone().unwrap_or_default(),
        path: spec.path.clone(),
        methods: spec.methods.clone(),
        function: spec.function.to_string(),
        qualifier: spec.qualifier.to_string(),
        filters: spec.filters.iter().map(used).collect(),
        revision: route.changed.0,
    }
}

/// How setting a route ended.
pub(crate) fn route_set(set: &RouteSet) -> v1::SetRouteReply {
    v1::SetRouteReply { route: Some(route_to(&set.route)), revision: set.revision.0, changed: set.changed }
}

/// What filters there are.
pub(crate) fn filters_to(filters: Vec<FilterDoc>) -> Vec<v1::Filter> {
    let parameter = |parameter: ParameterDoc| v1::FilterParameter {
        name: parameter.name.to_owned(),
        form: parameter.form.to_owned(),
        default: parameter.default,
        meaning: parameter.meaning.to_owned(),
    };
    let filter = |filter: FilterDoc| v1::Filter {
        name: filter.name.to_owned(),
        summary: filter.summary.to_owned(),
        parameters: filter.parameters.into_iter().map(parameter).collect(),
        example: filter.example.to_owned(),
    };
    filters.into_iter().map(filter).collect()
}
