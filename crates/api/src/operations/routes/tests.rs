use onrush_catalog::{CatalogStore as _, Proposal};
use onrush_types::{FilterUse, FunctionSpec, RuntimeKind, VersionNumber};
use serde_json::json;

use super::*;
use crate::{
    operations::{DeployWish, Progress},
    testing::{Bench, bench},
};

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn thumb() -> RouteName {
    RouteName::new(label("default"), label("thumb"))
}

fn hello() -> FunctionName {
    FunctionName::new(label("default"), label("hello"))
}

fn wish(document: serde_json::Value) -> RouteWish {
    let spec = serde_json::from_value(document).unwrap();
    RouteWish { name: thumb(), spec, expected: None, request: RequestId::new() }
}

async fn put(bench: &Bench, idempotent: bool) {
    let artifact = bench.artifacts.add(b"component");
    let spec = FunctionSpec { idempotent, ..FunctionSpec::new(RuntimeKind::Wasm, artifact) };
    let command = Command::PutFunction { name: hello(), spec, expected: None };
    let proposal = Proposal { request: RequestId::new(), at_ms: 1, command };
    bench.store.commit(proposal, std::time::Duration::MAX).await.unwrap().accepted().unwrap();
}

/// Whatever was refused must have left the catalog as it was.
async fn refused(bench: &Bench, wish: RouteWish, code: Code) -> String {
    let before = bench.store.watch().borrow().revision;
    let error = bench.api.set_route(wish).await.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    assert_eq!(bench.store.watch().borrow().revision, before, "a refusal changed the catalog");
    error.message
}

#[tokio::test]
async fn a_route_is_set_once_and_again() {
    let bench = bench();
    put(&bench, false).await;
    let first = wish(json!({ "path": "/thumb/{*rest}", "function": "hello" }));
    let set = bench.api.set_route(first.clone()).await.unwrap();
    assert!(set.changed);
    assert_eq!(set.route.changed, set.revision);
    let again = bench.api.set_route(first).await.unwrap();
    assert_eq!((again.changed, again.revision), (true, set.revision), "a repeated request has its first outcome");
    let same = wish(json!({ "path": "/thumb/{*rest}", "function": "hello" }));
    assert!(!bench.api.set_route(same).await.unwrap().changed);
    assert_eq!(bench.api.routes(None, true).await.unwrap().len(), 1);
    assert!(bench.api.routes(Some(label("shop")), false).await.unwrap().is_empty());
    bench.api.remove_route(thumb(), RequestId::new()).await.unwrap();
    assert_eq!(bench.api.describe_route(&thumb(), false).await.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once_with_its_place() {
    let bench = bench();
    put(&bench, false).await;
    let why = refused(
        &bench,
        wish(json!({
            "host": "EXAMPLE.com", "path": "thumb", "methods": ["FETCH"], "function": "hello",
            "filters": [{ "use": "no-such-filter" }, { "use": "Not a name" }],
        })),
        Code::BadRequest,
    )
    .await;
    assert!(why.starts_with("route \"thumb\": "), "{why}");
    for place in ["host: ", "path: ", "methods[0]: ", "filters[0].use: ", "filters[1].use: "] {
        assert_eq!(why.matches(place).count(), 1, "{place}{why}");
    }
}

#[tokio::test]
async fn what_a_route_points_to_must_be_there() {
    let bench = bench();
    let nowhere = wish(json!({ "path": "/", "function": "hello" }));
    let why = refused(&bench, nowhere.clone(), Code::NotFound).await;
    assert!(why.contains("function: there is no function hello.default"), "{why}");
    let also_wrong = wish(json!({ "path": "/", "function": "hello", "filters": [{ "use": "no-such-filter" }] }));
    let why = refused(&bench, also_wrong, Code::BadRequest).await;
    assert!(why.contains("filters[0].use: ") && why.contains("function: "), "{why}");
    let mut alias = nowhere.clone();
    alias.spec.qualifier = Qualifier::Alias(label("live"));
    let why = refused(&bench, alias, Code::BadRequest).await;
    assert!(why.contains("qualifier: ") && why.contains("function: "), "{why}");
    put(&bench, false).await;
    let mut pinned = nowhere.clone();
    pinned.spec.qualifier = Qualifier::Version(VersionNumber(7));
    assert!(refused(&bench, pinned, Code::NotFound).await.contains("qualifier: "), "no version 7");
    let mut alias = nowhere;
    alias.spec.qualifier = Qualifier::Alias(label("live"));
    let why = refused(&bench, alias, Code::BadRequest).await;
    assert_eq!(why.matches("qualifier: ").count(), 1, "{why}");
}

#[tokio::test]
async fn a_request_id_of_another_change_sets_no_route() {
    let bench = bench();
    put(&bench, false).await;
    let request = RequestId::new();
    bench.api.set_voters(3, request).await.unwrap();
    let wish = RouteWish { request, ..wish(json!({ "path": "/", "function": "hello" })) };
    assert!(refused(&bench, wish, Code::Conflict).await.contains("another change"));
}

/// A filter of the real set that needs an idempotent function, with parameters that are right.
fn needing() -> FilterUse {
    let needs = |used: &FilterUse| {
        let spec = json!({ "path": "/", "function": "hello", "filters": [used] });
        let spec: RouteSpec = serde_json::from_value(spec).unwrap();
        check_route(&spec, true).is_empty() && !check_route(&spec, false).is_empty()
    };
    let candidates = ["retry", "coalesce", "cache"]
        .map(|name| FilterUse { filter: name.to_owned(), parameters: serde_json::Map::new() });
    candidates.into_iter().find(needs).expect("a filter that needs an idempotent function")
}

#[tokio::test]
async fn a_filter_that_needs_an_idempotent_function_holds_it_to_that() {
    let bench = bench();
    put(&bench, false).await;
    let filtered = wish(json!({ "path": "/", "function": "hello", "filters": [needing()] }));
    let why = refused(&bench, filtered.clone(), Code::BadRequest).await;
    assert!(why.contains("filters[0]") && why.contains("idempotent"), "{why}");

    put(&bench, true).await;
    let set = bench.api.set_route(filtered).await.unwrap();
    assert!(set.route.needs_idempotence);

    let artifact = bench.artifacts.add(b"component");
    let deploy = DeployWish {
        name: hello(),
        spec: FunctionSpec::new(RuntimeKind::Wasm, artifact),
        expected: None,
        request: RequestId::new(),
    };
    let refused = bench.api.deploy(deploy.clone(), Progress(None)).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.message.contains("route \"thumb\": filters[0]"), "{refused}");
    bench.api.remove_route(thumb(), RequestId::new()).await.unwrap();
    bench.api.deploy(DeployWish { request: RequestId::new(), ..deploy }, Progress(None)).await.unwrap();
}

#[tokio::test]
async fn a_function_goes_with_its_routes_only_when_that_is_meant() {
    let bench = bench();
    put(&bench, false).await;
    bench.api.set_route(wish(json!({ "path": "/", "function": "hello" }))).await.unwrap();
    let error = bench.api.remove(hello(), false, RequestId::new()).await.unwrap_err();
    assert_eq!(error.code, Code::Conflict);
    assert!(error.message.contains("thumb.default"), "{error}");
    let (_, routes) = bench.api.remove(hello(), true, RequestId::new()).await.unwrap();
    assert_eq!(routes, ["thumb.default"]);
    assert!(bench.store.watch().borrow().routes.is_empty());
}

#[tokio::test]
async fn without_a_quorum_no_route_is_set() {
    let bench = bench();
    put(&bench, false).await;
    bench.store.set_down(true);
    refused(&bench, wish(json!({ "path": "/", "function": "hello" })), Code::Unavailable).await;
}
