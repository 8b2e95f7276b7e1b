use std::{collections::BTreeSet, sync::atomic::Ordering};

use axum::body::{Body, to_bytes};
use http::{Request, Response};
use onrush_types::ArtifactRef;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Endpoint, endpoint::Input};
use crate::{
    Config,
    testing::{Bench, bench, bench_with},
};

async fn ask(bench: &Bench, method: &str, path: &str, body: impl Into<Body>) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    bench.api.router().unwrap().oneshot(request).await.unwrap()
}

async fn json_of(response: Response<Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {bytes:?}")))
}

async fn refused(bench: &Bench, method: &str, path: &str, body: impl Into<Body>) -> (u16, String, String) {
    let (status, error) = json_of(ask(bench, method, path, body).await).await;
    let text = |field: &str| error[field].as_str().unwrap().to_owned();
    (status, text("code"), text("message"))
}

const HELLO: &str = "/v1/namespaces/default/functions/hello";

async fn deployed(bench: &Bench) -> ArtifactRef {
    let artifact = bench.artifacts.add(b"component");
    let spec = json!({ "digest": artifact.digest, "timeout": "5s", "memory": "64MiB" }).to_string();
    assert_eq!(ask(bench, "PUT", HELLO, spec).await.status(), 200);
    artifact
}

#[tokio::test]
async fn a_function_goes_in_and_out_over_rest() {
    let bench = bench();
    let artifact = deployed(&bench).await;
    let (status, list) = json_of(ask(&bench, "GET", "/v1/functions", "").await).await;
    assert_eq!(status, 200);
    assert_eq!(list[0]["name"], "hello");
    assert_eq!(list[0]["digest"], artifact.digest.to_string());
    assert_eq!((&list[0]["timeout"], &list[0]["memory"]), (&json!("5s"), &json!("64MiB")));
    let (_, one) = json_of(ask(&bench, "GET", &format!("{HELLO}?fresh=true"), "").await).await;
    assert_eq!(one["versions"].as_array().unwrap().len(), 1);
    let (_, none) = json_of(ask(&bench, "GET", "/v1/namespaces/other/functions", "").await).await;
    assert_eq!(none, json!([]));
    assert_eq!(ask(&bench, "DELETE", HELLO, "").await.status(), 200);
    assert_eq!(refused(&bench, "GET", HELLO, "").await.0, 404);
}

#[tokio::test]
async fn an_upload_is_checked_against_its_name() {
    let bench = bench();
    let artifact = bench.artifacts.add(b"component");
    let path = format!("/v1/artifacts/{}", artifact.digest);
    let (status, answer) = json_of(ask(&bench, "PUT", &path, "component").await).await;
    assert_eq!((status, &answer["size"]), (200, &json!(9)));
    assert_eq!(refused(&bench, "PUT", &path, "something else").await.0, 400);
    let (status, _, why) = refused(&bench, "PUT", "/v1/artifacts/abc", "x").await;
    assert_eq!(status, 400);
    assert!(why.contains("digest"), "{why}");
}

#[tokio::test]
async fn an_artifact_over_the_limit_is_too_large_announced_or_not() {
    let bench = bench_with(Config { max_artifact: 4, ..Config::default() });
    let path = format!("/v1/artifacts/{}", "00".repeat(32));
    let chunks = futures::stream::iter(["abc", "def"].map(Ok::<_, std::io::Error>));
    assert_eq!(refused(&bench, "PUT", &path, Body::from_stream(chunks)).await.0, 413);
    let announced = Request::put(&path).header("content-length", "6").body(Body::from("abcdef")).unwrap();
    let answer = bench.api.router().unwrap().oneshot(announced).await.unwrap();
    assert_eq!(json_of(answer).await.1["code"], "too_large");
}

#[tokio::test]
async fn wrong_documents_are_refused_by_the_name_of_what_is_wrong() {
    let bench = bench();
    let digest = bench.artifacts.add(b"component").digest.to_string();
    for (document, word) in [
        (json!({ "digest": digest, "memroy": "1MiB" }), "memroy"),
        (json!({ "timeout": "5s" }), "digest"),
        (json!({ "digest": "zz" }), "digest"),
        (json!({ "digest": digest, "timeout": "soon" }), "document"),
        (json!({ "digest": digest, "runtime": "jvm" }), "runtime"),
        (json!({ "digest": digest, "runtime": "process" }), "later release"),
        (json!({ "digest": digest, "request_id": "1" }), "request_id"),
    ] {
        let (status, code, why) = refused(&bench, "PUT", HELLO, document.to_string()).await;
        assert_eq!((status, code.as_str()), (400, "bad_request"), "{document}");
        assert!(why.contains(word), "{document}: {why}");
    }
    assert_eq!(refused(&bench, "PUT", HELLO, "{").await.0, 400);
    assert_eq!(
        refused(&bench, "PUT", "/v1/namespaces/A/functions/b", json!({"digest": digest}).to_string()).await.0,
        400
    );
    let (status, _, why) = refused(&bench, "GET", "/v1/functions?fersh=true", "").await;
    assert_eq!(status, 400);
    assert!(why.contains("fersh"), "{why}");
    let large = bench_with(Config { max_json: 8, ..Config::default() });
    assert_eq!(refused(&large, "PUT", HELLO, json!({ "digest": digest }).to_string()).await.0, 413);
}

#[tokio::test]
async fn a_wrong_method_is_405_with_the_right_ones_and_a_wrong_path_404() {
    let bench = bench();
    let answer = ask(&bench, "PATCH", HELLO, "").await;
    assert_eq!(answer.status(), 405);
    let allow: BTreeSet<_> = answer.headers()["allow"].to_str().unwrap().split(',').map(str::to_owned).collect();
    assert_eq!(allow, ["DELETE", "GET", "HEAD", "PUT"].map(str::to_owned).into());
    assert_eq!(json_of(answer).await.1["code"], "bad_request");
    assert_eq!(refused(&bench, "GET", "/v1/nothing", "").await.1, "not_found");
}

#[tokio::test]
async fn a_page_of_another_site_may_read_but_not_change() {
    let bench = bench();
    for (method, site, status) in
        [("POST", "cross-site", 403), ("POST", "same-origin", 200), ("GET", "cross-site", 405)]
    {
        let request = Request::builder().method(method).uri("/v1/nodes/1/drain").header("sec-fetch-site", site);
        let answer = bench.api.router().unwrap().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{method} {site}");
    }
}

#[tokio::test]
async fn a_call_streams_through_and_a_failed_one_says_who_failed() {
    let bench = bench();
    deployed(&bench).await;
    let answer = ask(&bench, "POST", &format!("{HELLO}/invoke?path=/x%3Fy=1&method=PUT"), "ping").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-onrush-node"], "fake");
    let id = answer.headers()["x-onrush-invocation"].to_str().unwrap().to_owned();
    assert_eq!(to_bytes(answer.into_body(), 99).await.unwrap(), "ping");
    let seen = bench.invoke.seen().await;
    assert_eq!((seen[0].0.to_string(), seen[0].3.to_string()), (id, "http://hello.default/x?y=1".to_owned()));
    assert_eq!(seen[0].2, "PUT");

    let trap = onrush_invoke::InvokeError::function(onrush_types::Code::FunctionFailed, "it trapped");
    bench.invoke.then(Err(trap)).await;
    let answer = ask(&bench, "POST", &format!("{HELLO}/invoke"), "").await;
    assert_eq!(answer.headers()["x-onrush-error-origin"], "function");
    let (status, error) = json_of(answer).await;
    assert_eq!((status, &error["code"], &error["origin"]), (502, &json!("function_failed"), &json!("function")));
}

#[tokio::test]
async fn log_lines_are_json_documents() {
    let bench = bench();
    deployed(&bench).await;
    let answer = ask(&bench, "GET", &format!("{HELLO}/logs?tail=5"), "").await;
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let lines: Vec<Value> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["text"], &lines[0]["stream"]), (&json!("tail 5"), &json!("stdout")));
    assert_eq!(refused(&bench, "GET", "/v1/namespaces/default/functions/no/logs", "").await.0, 404);
}

#[tokio::test]
async fn the_node_tells_its_health_and_its_metrics() {
    let bench = bench();
    assert_eq!(ask(&bench, "GET", "/readyz", "").await.status(), 200);
    bench.ready.store(false, Ordering::SeqCst);
    let (status, code, why) = refused(&bench, "GET", "/readyz", "").await;
    assert_eq!((status, code.as_str(), why.as_str()), (503, "unavailable", "waiting for a leader"));
    assert_eq!(ask(&bench, "GET", "/healthz", "").await.status(), 200);
    let metrics = to_bytes(ask(&bench, "GET", "/metrics", "").await.into_body(), 99).await.unwrap();
    assert_eq!(metrics, "onrush_up 1\n");
}

#[tokio::test]
async fn the_cluster_is_shown_and_changed() {
    let bench = bench();
    let (_, status) = json_of(ask(&bench, "GET", "/v1/cluster", "").await).await;
    assert_eq!((&status["leader"], &status["nodes"][0]["gateway"]), (&json!(1), &json!("127.0.0.1:8080")));
    assert_eq!(status["nodes"][0]["api"], Value::Null);
    assert_eq!(ask(&bench, "PUT", "/v1/cluster/voters", r#"{"wanted":3}"#).await.status(), 200);
    assert_eq!(refused(&bench, "PUT", "/v1/cluster/voters", r#"{"wanted":2}"#).await.0, 400);
    assert_eq!(refused(&bench, "PUT", "/v1/cluster/voters", r#"{"wanted":300}"#).await.0, 400);
    assert_eq!(ask(&bench, "POST", "/v1/nodes/node-1/cordon", "").await.status(), 200);
    assert_eq!(refused(&bench, "DELETE", "/v1/nodes/node-1", "").await.1, "conflict");
    bench.store.set_down(true);
    let down = ask(&bench, "POST", "/v1/nodes/node-1/uncordon", "").await;
    assert!(down.headers().contains_key("retry-after"));
    assert_eq!(down.status(), 503);
}

const THUMB: &str = "/v1/namespaces/default/routes/thumb";

#[tokio::test]
async fn a_route_goes_in_and_out_over_rest() {
    let bench = bench();
    deployed(&bench).await;
    let document = json!({ "path": "/thumb/{*rest}", "methods": ["GET"], "function": "hello" });
    let (status, set) = json_of(ask(&bench, "PUT", THUMB, document.to_string()).await).await;
    assert_eq!((status, &set["changed"], &set["name"]), (200, &json!(true), &json!("thumb")));
    let (_, list) = json_of(ask(&bench, "GET", "/v1/routes", "").await).await;
    let shown = json!([{
        "name": "thumb", "namespace": "default", "host": null, "path": "/thumb/{*rest}", "methods": ["GET"],
        "function": "hello", "qualifier": "latest", "filters": [], "revision": set["revision"],
    }]);
    assert_eq!(list, shown);
    assert_eq!(json_of(ask(&bench, "GET", "/v1/namespaces/default/routes", "").await).await.1, shown);
    assert_eq!(json_of(ask(&bench, "GET", "/v1/namespaces/shop/routes", "").await).await.1, json!([]));
    assert_eq!(json_of(ask(&bench, "GET", &format!("{THUMB}?fresh=true"), "").await).await.1, shown[0]);

    let mut changed = document.clone();
    changed["expected_revision"] = json!(0);
    changed["path"] = json!("/other");
    assert_eq!(refused(&bench, "PUT", THUMB, changed.to_string()).await.1, "conflict");
    changed["expected_revision"] = set["revision"].clone();
    assert_eq!(ask(&bench, "PUT", THUMB, changed.to_string()).await.status(), 200);

    let (status, code, why) = refused(&bench, "DELETE", HELLO, "").await;
    assert_eq!((status, code.as_str()), (409, "conflict"));
    assert!(why.contains("thumb.default"), "{why}");
    let (_, removed) = json_of(ask(&bench, "DELETE", &format!("{HELLO}?with_routes=true"), "").await).await;
    assert_eq!(removed["routes"], json!(["thumb.default"]));
    assert_eq!(refused(&bench, "GET", THUMB, "").await.0, 404);
    assert_eq!(refused(&bench, "DELETE", THUMB, "").await.0, 404);
}

#[tokio::test]
async fn a_wrong_route_is_named_by_field() {
    let bench = bench();
    deployed(&bench).await;
    for (document, word) in [
        (json!({ "path": "/", "function": "hello", "pahts": 1 }), "pahts"),
        (json!({ "function": "hello" }), "path"),
        (json!({ "path": "/" }), "function"),
        (json!({ "path": "/", "function": "" }), "route \"thumb\": function: missing"),
        (json!({ "path": "/", "function": "Hello" }), "route \"thumb\": function: "),
        (json!({ "path": "/", "function": "hello", "qualifier": "No" }), "route \"thumb\": qualifier: "),
        (json!({ "path": "/", "function": "hello", "qualifier": "live" }), "route \"thumb\": qualifier: "),
        (json!({ "path": "/", "function": "hello", "filters": [{}] }), "route \"thumb\": filters[0].use: missing"),
        (json!({ "path": "/", "function": "hello", "filters": [{ "use": 1 }] }), "route \"thumb\": filters[0].use: "),
        (
            json!({ "path": "/", "function": "hello", "filters": [{ "use": "no-such-filter" }] }),
            "route \"thumb\": filters[0].use: ",
        ),
        (json!({ "path": "x", "function": "hello" }), "route \"thumb\": path: "),
        (json!({ "path": "/", "host": "a:1", "function": "hello" }), "route \"thumb\": host: "),
        (json!({ "path": "/", "function": "hello", "methods": ["get"] }), "route \"thumb\": methods[0]: "),
    ] {
        let (status, code, why) = refused(&bench, "PUT", THUMB, document.to_string()).await;
        assert_eq!((status, code.as_str()), (400, "bad_request"), "{document}: {why}");
        assert!(why.contains(word), "{document}: {why}");
    }
    let nowhere = json!({ "path": "/", "function": "nobody" }).to_string();
    let (status, _, why) = refused(&bench, "PUT", THUMB, nowhere).await;
    assert_eq!(status, 404);
    assert!(why.contains("function: there is no function nobody.default"), "{why}");
}

#[tokio::test]
async fn a_clash_names_the_other_route() {
    let bench = bench();
    deployed(&bench).await;
    let at = |path: &str| json!({ "path": path, "function": "hello" }).to_string();
    assert_eq!(ask(&bench, "PUT", THUMB, at("/a/{x}")).await.status(), 200);
    let (status, code, why) = refused(&bench, "PUT", "/v1/namespaces/default/routes/b", at("/a/{y}")).await;
    assert_eq!((status, code.as_str()), (409, "conflict"));
    assert!(why.starts_with("route \"b\": ") && why.contains("thumb.default"), "{why}");
}

#[tokio::test]
async fn the_filters_are_those_of_the_stack() {
    let (status, list) = json_of(ask(&bench(), "GET", "/v1/filters", "").await).await;
    assert_eq!(status, 200);
    let names: Vec<_> = list.as_array().unwrap().iter().map(|filter| filter["name"].as_str().unwrap()).collect();
    let expected: Vec<_> = onrush_filters::documentation().iter().map(|filter| filter.name).collect();
    assert_eq!(names, expected);
}

/// Each path of the document exists with exactly the methods that the document gives it.
#[tokio::test]
async fn the_openapi_document_and_the_router_say_the_same() {
    let bench = bench();
    let (_, document) = json_of(ask(&bench, "GET", "/openapi.json", "").await).await;
    let paths = document["paths"].as_object().unwrap();
    let rows: usize = paths.values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(rows, Endpoint::ALL.len(), "two endpoints share a method and a path");
    for (path, methods) in paths {
        let real = path.replace(['{', '}'], "");
        let answer = ask(&bench, "TRACE", &real, "").await;
        assert_eq!(answer.status(), 405, "{path} is not served");
        let allow = answer.headers()["allow"].to_str().unwrap();
        let served: BTreeSet<_> = allow.split(',').filter(|method| *method != "HEAD").map(str::to_lowercase).collect();
        let said: BTreeSet<_> = methods.as_object().unwrap().keys().cloned().collect();
        assert_eq!(served, said, "{path}");
    }
}

#[test]
fn every_reference_of_the_document_resolves() {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(target)) = fields.get("$ref") {
                    assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
                }
                fields.values().for_each(|value| walk(value, document));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, document)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = crate::openapi::document();
    walk(&document, &document);
    let takes_json = Endpoint::ALL.iter().filter(|endpoint| matches!(endpoint.row().input, Input::Json(_)));
    assert_eq!(takes_json.count(), 3);
}
