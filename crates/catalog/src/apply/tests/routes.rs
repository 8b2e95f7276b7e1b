use onrush_types::{FilterUse, RouteName, RouteSpec};
use proptest::test_runner::TestCaseError;

use super::*;
use crate::{ROUTES_IN_ALL, ROUTES_PER_NAMESPACE};

pub(super) fn name(namespace: &str, name: &str) -> RouteName {
    RouteName::new(label(namespace), label(name))
}

fn at(path: &str) -> RouteSpec {
    RouteSpec {
        host: None,
        path: path.to_owned(),
        methods: Vec::new(),
        function: label("thumbnail"),
        qualifier: Qualifier::Latest,
        filters: Vec::new(),
    }
}

fn set(route: &str, spec: RouteSpec) -> Command {
    Command::SetRoute { name: name("default", route), spec, needs_idempotence: false, expected: None }
}

fn needing(route: &str, spec: RouteSpec) -> Command {
    Command::SetRoute { name: name("default", route), spec, needs_idempotence: true, expected: None }
}

pub(super) fn put_idempotent(seed: u8, idempotent: bool) -> Command {
    let spec = FunctionSpec { idempotent, ..spec(seed) };
    Command::PutFunction { name: thumbnail(), spec, expected: None }
}

fn pin(spec: RouteSpec, number: u64) -> RouteSpec {
    RouteSpec { qualifier: Qualifier::Version(version(number)), ..spec }
}

/// With version 1 of the function.
fn deployed() -> Catalog {
    let mut catalog = formed();
    accepted(&mut catalog, put(1, None));
    catalog
}

fn accepted(catalog: &mut Catalog, command: Command) -> Outcome {
    catalog.apply(&propose(command)).accepted().unwrap().1
}

fn refused(catalog: &mut Catalog, command: Command) -> (Code, String) {
    let before = catalog.routes.clone();
    let Refusal { code, why } = refusal(catalog.apply(&propose(command)));
    assert_eq!(catalog.routes, before);
    (code, why)
}

#[test]
fn a_route_comes_changes_and_goes() {
    let mut catalog = deployed();
    let made = |changed| Outcome::RoutePut { changed };
    assert_eq!(accepted(&mut catalog, set("a", at("/a"))), made(true));
    let first = catalog.revision;
    assert_eq!(catalog.routes[&name("default", "a")].changed, first);
    assert_eq!(accepted(&mut catalog, set("a", at("/a"))), made(false));
    assert_eq!(catalog.revision, first);
    assert_eq!(accepted(&mut catalog, set("a", at("/b"))), made(true), "its own old self is no clash");
    assert_eq!(catalog.routes[&name("default", "a")].spec.path, "/b");
    let remove = Command::RemoveRoute { name: name("default", "a") };
    assert_eq!(accepted(&mut catalog, remove.clone()), Outcome::Done);
    assert!(catalog.routes.is_empty());
    assert_eq!(refused(&mut catalog, remove).0, Code::NotFound);
}

#[test]
fn an_outdated_expectation_of_a_route_is_a_conflict() {
    let mut catalog = deployed();
    let expecting = |path: &str, expected| Command::SetRoute {
        name: name("default", "a"),
        spec: at(path),
        needs_idempotence: false,
        expected: Some(expected),
    };
    accepted(&mut catalog, expecting("/a", Revision(0)));
    assert_eq!(refused(&mut catalog, expecting("/b", Revision(0))).0, Code::Conflict);
    let changed = catalog.routes[&name("default", "a")].changed;
    accepted(&mut catalog, expecting("/b", changed));
}

#[test]
fn a_wrong_route_is_refused_with_all_its_places() {
    let mut catalog = deployed();
    let filters = vec![FilterUse { filter: "No Name".to_owned(), parameters: Default::default() }];
    let spec = RouteSpec { methods: vec!["get".to_owned()], filters, ..at("thumb") };
    let (code, why) = refused(&mut catalog, set("a", spec));
    assert_eq!(code, Code::BadRequest);
    for words in ["route \"a\": ", "path: ", "methods[0]: ", "filters[0].use: "] {
        assert!(why.contains(words), "{why}");
    }
    let alias = RouteSpec { qualifier: Qualifier::Alias(label("live")), ..at("/") };
    let (code, why) = refused(&mut catalog, set("a", alias));
    assert_eq!(code, Code::BadRequest);
    assert!(why.contains("qualifier: "), "{why}");
}

#[test]
fn what_a_route_points_to_exists_in_its_namespace() {
    let mut catalog = deployed();
    let elsewhere =
        Command::SetRoute { name: name("shop", "a"), spec: at("/a"), needs_idempotence: false, expected: None };
    let (code, why) = refused(&mut catalog, elsewhere);
    assert_eq!(code, Code::NotFound);
    assert!(why.contains("function: ") && why.contains("thumbnail.shop"), "{why}");
    accepted(&mut catalog, set("a", pin(at("/a"), 1)));
    let (code, why) = refused(&mut catalog, set("b", pin(at("/b"), 2)));
    assert_eq!(code, Code::NotFound);
    assert!(why.contains("qualifier: "), "{why}");
}

#[test]
fn routes_that_clash_are_refused_with_the_name_of_the_other_in_any_namespace() {
    let mut catalog = deployed();
    let there = FunctionName::new(label("shop"), label("thumbnail"));
    accepted(&mut catalog, Command::PutFunction { name: there, spec: spec(1), expected: None });
    accepted(&mut catalog, set("a", at("/thumb/{size}")));
    let shop = |spec| Command::SetRoute { name: name("shop", "b"), spec, needs_idempotence: false, expected: None };
    for clashing in ["/thumb/{name}", "/thumb/{*rest}"] {
        let (code, why) = refused(&mut catalog, shop(at(clashing)));
        assert_eq!(code, Code::Conflict);
        assert!(why.contains("a.default"), "{why}");
    }
    accepted(&mut catalog, shop(RouteSpec { host: Some("shop.example.com".to_owned()), ..at("/thumb/{name}") }));
    accepted(&mut catalog, shop(at("/thumb/small")));
}

#[test]
fn a_function_stays_while_routes_point_to_it_or_goes_with_them() {
    let mut catalog = deployed();
    accepted(&mut catalog, set("a", at("/a")));
    accepted(&mut catalog, set("b", at("/b")));
    let remove = |with_routes| Command::RemoveFunction { name: thumbnail(), with_routes };
    let (code, why) = refused(&mut catalog, remove(false));
    assert_eq!(code, Code::Conflict);
    assert!(why.contains("a.default, b.default") && why.contains("--with-routes"), "{why}");
    assert_eq!(catalog.functions.len(), 1);
    accepted(&mut catalog, remove(true));
    assert!(catalog.routes.is_empty() && catalog.functions.is_empty());
}

#[test]
fn filters_that_need_an_idempotent_function_keep_it_so() {
    let mut catalog = deployed();
    let (code, why) = refused(&mut catalog, needing("a", at("/a")));
    assert_eq!(code, Code::Conflict);
    assert!(why.contains("route \"a\"") && why.contains("not idempotent"), "{why}");

    accepted(&mut catalog, put_idempotent(2, true));
    accepted(&mut catalog, needing("a", at("/a")));
    let (code, why) = refused(&mut catalog, put_idempotent(3, false));
    assert_eq!(code, Code::Conflict);
    assert!(why.contains("a.default"), "{why}");
    accepted(&mut catalog, put_idempotent(3, true));

    accepted(&mut catalog, needing("a", pin(at("/a"), 3)));
    accepted(&mut catalog, put_idempotent(4, false));
    assert_eq!(refused(&mut catalog, needing("a", at("/a"))).0, Code::Conflict, "the newest is not idempotent");
}

#[test]
fn a_version_that_a_route_names_is_kept() {
    let mut catalog = deployed();
    accepted(&mut catalog, set("a", pin(at("/a"), 1)));
    for seed in 2..=u8::MAX {
        accepted(&mut catalog, put(seed, None));
    }
    let function = &catalog.functions[&thumbnail()];
    assert_eq!(function.versions.len(), VERSIONS_KEPT);
    assert!(function.versions.contains_key(&version(1)));
    assert!(!function.versions.contains_key(&version(2)));

    let numbers: Vec<_> = function.versions.keys().copied().collect();
    for number in &numbers {
        accepted(&mut catalog, set(&format!("p{number}"), pin(at(&format!("/p/{number}")), number.0)));
    }
    let (code, why) = refused(&mut catalog, put(0, None));
    assert_eq!(code, Code::Conflict);
    assert!(why.contains("routes name each"), "{why}");
    assert_eq!(catalog.functions[&thumbnail()].versions.len(), VERSIONS_KEPT);
}

#[test]
fn routes_are_bounded() {
    let mut catalog = deployed();
    let fill = |catalog: &mut Catalog, namespace: &str, from: usize, to: usize| {
        for n in from..to {
            let route = name(namespace, &format!("r{n}"));
            let spec = at(&format!("/{namespace}/{n}"));
            let route = crate::Route { name: route, changed: Revision(1), spec, needs_idempotence: false };
            catalog.routes.insert(route.name.clone(), Arc::new(route));
        }
    };
    fill(&mut catalog, "default", 0, ROUTES_PER_NAMESPACE - 1);
    accepted(&mut catalog, set("last", at("/last")));
    let (code, why) = refused(&mut catalog, set("more", at("/more")));
    assert_eq!(code, Code::Conflict);
    assert!(why.contains("namespace default"), "{why}");
    accepted(&mut catalog, set("last", at("/changed")));
    accepted(&mut catalog, Command::RemoveRoute { name: name("default", "last") });
    let room = ROUTES_IN_ALL - catalog.routes.len();
    fill(&mut catalog, "other", 0, room);
    let (_, why) = refused(&mut catalog, set("more", at("/more")));
    assert!(why.contains("the cluster has"), "{why}");
}

pub(super) fn any_set() -> impl Strategy<Value = Command> {
    let names = prop_oneof![Just("thumbnail"), Just("a"), Just("b")];
    let paths = prop_oneof![Just("/a"), Just("/a/{x}"), Just("/a/{y}"), Just("/{*rest}"), Just("bad")];
    let numbers = prop::option::of(0u64..4);
    let flags = any::<(bool, bool)>();
    (0u8..3, names, paths, numbers, flags).prop_map(|(n, function, path, number, (needs_idempotence, get))| {
        let methods = if get { vec!["GET".to_owned()] } else { Vec::new() };
        let qualifier = number.map_or(Qualifier::Latest, |number| Qualifier::Version(version(number)));
        let spec = RouteSpec { function: label(function), methods, qualifier, ..at(path) };
        Command::SetRoute { name: name("default", &format!("r{n}")), spec, needs_idempotence, expected: None }
    })
}

/// What holds of the routes of every catalog.
pub(super) fn check(catalog: &Catalog) -> Result<(), TestCaseError> {
    for route in catalog.routes.values() {
        prop_assert_eq!(route.spec.problems(), []);
        let function = catalog.functions.get(&route.spec.target(&route.name.namespace));
        let version = function.and_then(|function| function.resolve(&route.spec.qualifier));
        prop_assert!(version.is_some(), "a route points to nothing");
        prop_assert!(!route.needs_idempotence || version.is_some_and(|version| version.spec.idempotent));
        for other in catalog.routes.values().filter(|other| other.name != route.name) {
            prop_assert_eq!(route.spec.clash(&other.spec), None);
        }
    }
    Ok(())
}
