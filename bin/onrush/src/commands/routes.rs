//! `route set|list|remove`, `filter list`, and the routes of a manifest.

use std::path::Path;

use onrush_api::shapes::{FilterShape, RouteSetShape, RouteShape};
use onrush_proto::v1::{
    ListFiltersRequest, ListRoutesRequest, RemoveRouteRequest, Route as WireRoute, RouteFilter, SetRouteRequest,
};
use onrush_types::{Code, FilterUse, FunctionRef, Label, Qualifier, RequestId, RouteName, RouteSpec};
use serde_json::{Value, json};

use super::Caller;
use crate::{
    args::{FilterVerb, Format, RouteSet, RouteVerb},
    client::{self, Client},
    failure::Failure,
    manifest::{Manifest, Route},
    output,
};

pub(super) async fn route(caller: &Caller, verb: RouteVerb) -> Result<(), Failure> {
    match verb {
        RouteVerb::Set(verb) => match &verb.file {
            Some(file) => set_from(caller, file, verb.name.as_deref()).await,
            None => set_one(caller, &verb).await,
        },
        RouteVerb::List(verb) => list(caller, verb.fresh).await,
        RouteVerb::Remove(verb) => remove(caller, &verb.name).await,
    }
}

async fn set_one(caller: &Caller, verb: &RouteSet) -> Result<(), Failure> {
    let (Some(name), Some(path), Some(function)) = (&verb.name, &verb.path, &verb.function) else {
        return Err(Failure::Usage("a route has a name, a --path and a --function".to_owned()));
    };
    let name = client::route(name, caller.namespace.as_deref())?;
    let FunctionRef { function, qualifier } = client::reference(function, Some(name.namespace.as_str()))?;
    if function.namespace != name.namespace {
        let why = format!("--function: {function} is in another namespace than the route {name}");
        return Err(Failure::Usage(why));
    }
    let spec = RouteSpec {
        host: verb.host.clone(),
        path: path.clone(),
        methods: verb.methods.clone(),
        function: function.name,
        qualifier,
        filters: verb.filters.clone(),
    };
    let set = set(&caller.connect().await?, &name, &spec).await?;
    match caller.format {
        Format::Json => output::json(&set),
        Format::Table => output::line(told(&set)),
    }
}

async fn set_from(caller: &Caller, file: &Path, name: Option<&str>) -> Result<(), Failure> {
    let manifest = Manifest::read(file)?;
    let chosen: Vec<_> =
        manifest.routes.iter().filter(|route| name.is_none_or(|name| route.name.as_str() == name)).collect();
    if chosen.is_empty() {
        let known: Vec<_> = manifest.routes.iter().map(|route| route.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::bad_request(format!("{}: no such route; it has {known}", file.display())));
    }
    let namespace = namespace(caller)?;
    let (set, outcome) = apply(&caller.connect().await?, &namespace, &chosen).await;
    match (caller.format, name) {
        (Format::Table, _) => set.iter().try_for_each(|set| output::line(told(set)))?,
        (Format::Json, None) => output::json(&set)?,
        (Format::Json, Some(_)) => set.first().map_or(Ok(()), output::json)?,
    }
    outcome
}

/// The namespace of what a manifest names.
pub(super) fn namespace(caller: &Caller) -> Result<Label, Failure> {
    let namespace = caller.namespace.as_deref().unwrap_or(onrush_types::DEFAULT_NAMESPACE);
    namespace.parse().map_err(|error| Failure::Usage(format!("--namespace: {error}")))
}

/// Sets routes one after the other. One that is refused does not hold up the others; all refusals are told at the end.
pub(super) async fn apply(
    client: &Client,
    namespace: &Label,
    routes: &[&Route],
) -> (Vec<RouteSetShape>, Result<(), Failure>) {
    let (mut done, mut codes, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for route in routes {
        match set(client, &RouteName::new(namespace.clone(), route.name.clone()), &route.spec).await {
            Ok(set) => done.push(set),
            Err(Failure::Failed { code, message }) => {
                codes.push(code);
                refusals.push(message);
            }
            Err(other @ (Failure::Usage(_) | Failure::ReaderGone)) => return (done, Err(other)),
        }
    }
    let failure = codes.first().map(|code| Failure::new(*code, refusals.join("\n")));
    (done, failure.map_or(Ok(()), Err))
}

async fn set(client: &Client, name: &RouteName, spec: &RouteSpec) -> Result<RouteSetShape, Failure> {
    let request = SetRouteRequest {
        route: Some(wire(name, spec)),
        expected_revision: None,
        request_id: RequestId::new().to_string(),
    };
    Ok(client.routes().set(request).await?.into_inner().into())
}

fn wire(name: &RouteName, spec: &RouteSpec) -> WireRoute {
    let filter = |used: &FilterUse| RouteFilter {
        r#use: used.filter.clone(),
        parameters: Value::Object(used.parameters.clone()).to_string(),
    };
    WireRoute {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        host: spec.host.clone().unwrap_or_default(),
        path: spec.path.clone(),
        methods: spec.methods.clone(),
        function: spec.function.to_string(),
        qualifier: if spec.qualifier == Qualifier::Latest { String::new() } else { spec.qualifier.to_string() },
        filters: spec.filters.iter().map(filter).collect(),
        revision: 0,
    }
}

/// One line that says what became of a route.
pub(super) fn told(set: &RouteSetShape) -> String {
    let RouteShape { name, namespace, .. } = &set.route;
    let [methods, place, target] = [methods(&set.route), place(&set.route), target(&set.route)];
    let verb = if set.changed { "set" } else { "unchanged" };
    format!("{verb} route {name}.{namespace}: {methods} {place} to {target} (revision {})", set.catalog_revision)
}

/// Says which routes lead to functions of the manifest without being in it. They stay: somebody may have set them by
/// hand.
pub(super) async fn tell_leftovers(client: &Client, namespace: &Label, manifest: &Manifest) {
    let request = ListRoutesRequest { namespace: namespace.to_string(), fresh: false };
    // A hint only: whatever is wrong with it must not make a deploy look failed.
    let Ok(reply) = client.routes().list(request).await else { return };
    let routes = reply.into_inner().routes.into_iter().map(RouteShape::from);
    for route in leftovers(routes, manifest) {
        eprintln!(
            "route {name} ({place}) leads to {function}, but is not in the manifest. It stays; `onrush route remove \
             {name} -n {namespace}` removes it",
            name = route.name,
            place = place(&route),
            function = route.function,
        );
    }
}

fn leftovers(routes: impl Iterator<Item = RouteShape>, manifest: &Manifest) -> impl Iterator<Item = RouteShape> {
    let of_manifest = move |route: &RouteShape| manifest.functions.keys().any(|name| name.as_str() == route.function);
    let named = move |route: &RouteShape| manifest.routes.iter().any(|known| known.name.as_str() == route.name);
    routes.filter(move |route| of_manifest(route) && !named(route))
}

async fn list(caller: &Caller, fresh: bool) -> Result<(), Failure> {
    let client = caller.connect().await?;
    let request = ListRoutesRequest { namespace: caller.namespace.clone().unwrap_or_default(), fresh };
    let routes = client.routes().list(request).await?.into_inner().routes;
    let routes: Vec<RouteShape> = routes.into_iter().map(Into::into).collect();
    match caller.format {
        Format::Json => output::json(&routes),
        Format::Table if routes.is_empty() => {
            let place = caller.namespace.as_ref().map(|name| format!(" in namespace {name}")).unwrap_or_default();
            eprintln!("no routes{place} yet; `onrush route set NAME --path PATH --function NAME` adds one");
            Ok(())
        }
        Format::Table => {
            let head = ["NAME", "NAMESPACE", "METHODS", "PLACE", "FUNCTION", "FILTERS"];
            output::line(output::table(head, routes.into_iter().map(row)))
        }
    }
}

fn row(route: RouteShape) -> [String; 6] {
    let filters = route.filters.iter().filter_map(|used| used.get("use")?.as_str());
    let filters = filters.collect::<Vec<_>>().join(",");
    let [methods, place, target] = [methods(&route), place(&route), target(&route)];
    [route.name, route.namespace, methods, place, target, filters]
}

fn methods(route: &RouteShape) -> String {
    if route.methods.is_empty() { "*".to_owned() } else { route.methods.join(",") }
}

fn place(route: &RouteShape) -> String {
    format!("{}{}", route.host.as_deref().unwrap_or_default(), route.path)
}

fn target(route: &RouteShape) -> String {
    match route.qualifier.as_str() {
        "latest" => route.function.clone(),
        qualifier => format!("{}@{qualifier}", route.function),
    }
}

async fn remove(caller: &Caller, name: &str) -> Result<(), Failure> {
    let name = client::route(name, caller.namespace.as_deref())?;
    let request = RemoveRouteRequest {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        request_id: RequestId::new().to_string(),
    };
    let revision = caller.connect().await?.routes().remove(request).await?.into_inner().revision;
    match caller.format {
        Format::Json => output::json(&json!({ "name": name.name, "namespace": name.namespace, "revision": revision })),
        Format::Table => output::line(format_args!("removed route {name} (revision {revision})")),
    }
}

pub(super) async fn filter(caller: &Caller, verb: FilterVerb) -> Result<(), Failure> {
    let FilterVerb::List(verb) = verb;
    let client = caller.connect().await?;
    let filters = client.routes().list_filters(ListFiltersRequest {}).await?.into_inner().filters;
    let mut filters: Vec<FilterShape> = filters.into_iter().map(Into::into).collect();
    let Some(name) = &verb.name else {
        return match caller.format {
            Format::Json => output::json(&filters),
            Format::Table => {
                let rows = filters.into_iter().map(|filter| [filter.name, filter.summary]);
                output::line(output::table(["NAME", "WHAT IT DOES"], rows))
            }
        };
    };
    let known = filters.iter().map(|filter| filter.name.as_str()).collect::<Vec<_>>().join(", ");
    let missing = Failure::new(Code::NotFound, format!("there is no filter {name:?}; there are {known}"));
    filters.retain(|filter| filter.name == *name);
    let filter = filters.pop().ok_or(missing)?;
    match caller.format {
        Format::Json => output::json(&filter),
        Format::Table => detail(filter),
    }
}

fn detail(filter: FilterShape) -> Result<(), Failure> {
    output::line(format_args!("{}: {}", filter.name, filter.summary))?;
    if !filter.parameters.is_empty() {
        let rows = filter.parameters.into_iter().map(|parameter| {
            let default = parameter.default.unwrap_or_else(|| "(must be given)".to_owned());
            [parameter.name, parameter.form, default, parameter.meaning]
        });
        output::line("")?;
        output::line(output::table(["PARAMETER", "FORM", "DEFAULT", "MEANING"], rows))?;
    }
    output::line(format_args!("\nExample: {}", filter.example))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str, function: &str) -> RouteShape {
        let wire = WireRoute {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            host: "*.example.com".to_owned(),
            path: "/thumb/{*rest}".to_owned(),
            methods: vec!["GET".to_owned(), "PUT".to_owned()],
            function: function.to_owned(),
            qualifier: "3".to_owned(),
            filters: vec![RouteFilter { r#use: "cache".to_owned(), parameters: "{}".to_owned() }],
            revision: 7,
        };
        wire.into()
    }

    #[test]
    fn a_row_shows_where_a_route_leads_and_through_what() {
        let expected = ["r", "default", "GET,PUT", "*.example.com/thumb/{*rest}", "thumbnail@3", "cache"];
        assert_eq!(row(shape("r", "thumbnail")), expected);
        let set = RouteSetShape { route: shape("r", "thumbnail"), catalog_revision: 7, changed: true };
        let text = "set route r.default: GET,PUT *.example.com/thumb/{*rest} to thumbnail@3 (revision 7)";
        assert_eq!(told(&set), text);
    }

    #[test]
    fn what_is_sent_is_what_was_asked_for() {
        let parameters = [("ttl".to_owned(), Value::from("60s"))].into_iter().collect();
        let spec = RouteSpec {
            host: None,
            path: "/".to_owned(),
            methods: vec![],
            function: "f".parse().unwrap(),
            qualifier: Qualifier::Latest,
            filters: vec![FilterUse { filter: "cache".to_owned(), parameters }],
        };
        let name = RouteName::new("shop".parse().unwrap(), "r".parse().unwrap());
        let shape = RouteShape::from(wire(&name, &spec));
        assert_eq!((shape.name.as_str(), shape.namespace.as_str(), shape.host), ("r", "shop", None));
        assert_eq!(shape.qualifier, "latest");
        assert_eq!(shape.filters, [json!({ "use": "cache", "ttl": "60s" }).as_object().unwrap().clone()]);
    }

    #[test]
    fn routes_that_left_the_manifest_are_told() {
        let text = "[function.thumbnail]\nsource = 'a'\n[[route]]\nname = 'kept'\npath = '/'\nfunction = 'thumbnail'";
        let manifest = Manifest::parse(text, ".".into()).unwrap();
        let routes = [shape("kept", "thumbnail"), shape("gone", "thumbnail"), shape("theirs", "other")];
        let names: Vec<_> = leftovers(routes.into_iter(), &manifest).map(|route| route.name).collect();
        assert_eq!(names, ["gone"]);
    }
}
