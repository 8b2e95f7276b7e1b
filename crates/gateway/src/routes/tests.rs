use onrush_types::{FilterUse, Revision, RouteSpec};
use serde_json::json;

use super::*;

fn route(name: &str, spec: serde_json::Value) -> (RouteName, Arc<Route>) {
    let name = RouteName { namespace: "default".parse().unwrap(), name: name.parse().unwrap() };
    let mut spec = spec;
    spec["function"] = "f".into();
    let spec: RouteSpec = serde_json::from_value(spec).unwrap();
    assert_eq!(spec.problems(), []);
    (name.clone(), Arc::new(Route { name, changed: Revision(1), spec, needs_idempotence: false }))
}

fn table(routes: Vec<(RouteName, Arc<Route>)>) -> Table {
    Table::build(&routes.into_iter().collect(), &Table::default(), &Gateways::default())
}

fn found(table: &Table, host: &str, path: &str, method: &str) -> String {
    match table.find(host, path, &method.parse().unwrap()) {
        Ok(found) => found.entry.name.name.to_string(),
        Err(Miss::Path) => "404".to_owned(),
        Err(Miss::Method(allow)) => format!("405 {}", allow.to_str().unwrap()),
    }
}

#[test]
fn hosts_go_from_the_exact_to_all_and_paths_from_the_literal_to_the_rest() {
    let table = table(vec![
        route("exact", json!({ "host": "a.example.com", "path": "/x" })),
        route("wild", json!({ "host": "*.example.com", "path": "/{one}" })),
        route("wild-x", json!({ "host": "*.example.com", "path": "/x" })),
        route("every", json!({ "path": "/{*rest}" })),
        route("every-deep", json!({ "path": "/a/{b}/c" })),
        route("every-literal", json!({ "path": "/a/b/c" })),
        route("root", json!({ "path": "/" })),
    ]);
    for (host, path, expected) in [
        ("a.example.com", "/x", "exact"),
        ("A.Example.com", "/x", "exact"),
        ("a.example.com.", "/x", "exact"),
        ("b.example.com", "/x", "wild-x"),
        ("a.example.com", "/y", "wild"),
        ("b.example.com", "/y", "wild"),
        ("a.b.example.com", "/y", "every"),
        ("example.com", "/y", "every"),
        (".example.com", "/y", "every"),
        ("a.example.com", "/y/z", "every"),
        ("other", "/a/b/c", "every-literal"),
        ("other", "/a/x/c", "every-deep"),
        ("other", "/a/x/d", "every"),
        ("other", "/", "root"),
        ("", "/x", "every"),
    ] {
        assert_eq!(found(&table, host, path, "GET"), expected, "{host} {path}");
    }
}

#[test]
fn methods_choose_and_are_named_where_none_fits() {
    let table = table(vec![
        route("read", json!({ "path": "/a/{x}", "methods": ["GET"] })),
        route("write", json!({ "path": "/a/{y}", "methods": ["PUT", "POST"] })),
        route("hosted", json!({ "host": "h.example", "path": "/a/{z}", "methods": ["DELETE"] })),
        route("all", json!({ "path": "/b" })),
        route("some", json!({ "host": "h.example", "path": "/b", "methods": ["HEAD"] })),
    ]);
    for (host, path, method, expected) in [
        ("x", "/a/1", "GET", "read"),
        ("x", "/a/1", "HEAD", "read"),
        ("x", "/a/1", "POST", "write"),
        ("h.example", "/a/1", "POST", "write"),
        ("h.example", "/a/1", "DELETE", "hosted"),
        ("x", "/a/1", "DELETE", "405 GET, HEAD, POST, PUT"),
        ("h.example", "/a/1", "PATCH", "405 DELETE, GET, HEAD, POST, PUT"),
        ("x", "/c", "GET", "404"),
        ("x", "/b", "PROPFIND", "all"),
        ("h.example", "/b", "GET", "all"),
        ("h.example", "/b", "HEAD", "some"),
    ] {
        assert_eq!(found(&table, host, path, method), expected, "{host} {path} {method}");
    }
}

#[test]
fn parameters_have_the_names_of_their_own_route() {
    let table = table(vec![
        route("read", json!({ "path": "/a/{x}/{*rest}", "methods": ["GET"] })),
        route("write", json!({ "path": "/a/{y}/{*z}", "methods": ["PUT"] })),
    ]);
    let found = table.find("h", "/a/1/2/3", &Method::PUT).ok().unwrap();
    assert_eq!((found.parameter("y"), found.parameter("z"), found.parameter("x")), (Some("1"), Some("2/3"), None));
}

#[test]
fn what_a_limiter_counted_survives_changes_of_other_routes_and_of_other_fields() {
    let filters = json!([{ "use": "rate-limit", "rate": "1/s" }]);
    let one = route("one", json!({ "path": "/one", "filters": filters }));
    let first = table(vec![one.clone()]);
    let stack = |table: &Table| {
        let stack = table.entries.values().find(|entry| entry.name.name.as_str() == "one").unwrap().stack.clone();
        Arc::as_ptr(&stack.unwrap())
    };
    let routes: Routes = [one, route("two", json!({ "path": "/two" }))].into_iter().collect();
    let second = Table::build(&routes, &first, &Gateways::default());
    assert_eq!(stack(&first), stack(&second));
    let moved = route("one", json!({ "path": "/uno", "filters": filters }));
    let third = Table::build(&[moved].into_iter().collect(), &second, &Gateways::default());
    assert_eq!(stack(&first), stack(&third));
    let other = route("one", json!({ "path": "/uno", "filters": [{ "use": "rate-limit", "rate": "2/s" }] }));
    let fourth = Table::build(&[other].into_iter().collect(), &third, &Gateways::default());
    assert_ne!(stack(&first), stack(&fourth));
}

#[test]
fn a_route_whose_filters_are_not_understood_is_known_and_not_open() {
    let (name, known) = route("one", json!({ "path": "/one" }));
    let mut route = Route::clone(&known);
    route.spec.filters = vec![FilterUse { filter: "from-the-future".into(), parameters: serde_json::Map::new() }];
    let table = table(vec![(name, Arc::new(route))]);
    let found = table.find("h", "/one", &Method::GET).ok().unwrap();
    assert!(found.entry.stack.as_ref().err().unwrap().contains("from-the-future"));
}

#[test]
fn a_path_is_compared_in_its_normal_form() {
    for (path, expected) in [
        ("/a/b", Some("/a/b")),
        ("/%61dmin", Some("/admin")),
        ("/a%2fb%2F", Some("/a%2Fb%2F")),
        ("/a%zz%", Some("/a%zz%")),
        ("/%e4%", Some("/%E4%")),
        ("/a//b", Some("/a//b")),
        ("/.well-known/x", Some("/.well-known/x")),
        ("/a/...", Some("/a/...")),
        ("/a/../b", None),
        ("/a/%2E%2e/b", None),
        ("/a/.", None),
        ("/..", None),
    ] {
        assert_eq!(normal(path).as_deref(), expected, "{path}");
    }
}

proptest::proptest! {
    #[test]
    fn the_normal_form_of_a_normal_form_is_itself(path in "/[a-z%0-9A-F./]{0,20}") {
        if let Some(once) = normal(&path) {
            let twice = normal(&once).map(|path| path.into_owned());
            // `%2561` is an encoded percent sign: decoding happens once.
            if !once.contains('%') {
                proptest::prop_assert_eq!(twice.as_deref(), Some(&*once));
            }
        }
    }
}
