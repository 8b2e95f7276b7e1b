//! Routes and their filters, through the whole gateway.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::Response;
use http_body_util::Full;
use onrush_gateway::Config;
use onrush_invoke::{Body, Invocation, InvokeError, Scope, Sharing};
use onrush_types::{Code, FunctionSpec, VersionNumber};
use serde_json::json;
use sha2::Digest as _;

use crate::harness::{Fixture, Seen, echo, gateway, read_until, rest};

fn idempotent(spec: &mut FunctionSpec) {
    spec.idempotent = true;
}

/// A gateway with the route `/r/{*rest}` to an idempotent function, through these filters.
async fn through<F, R>(filters: serde_json::Value, answer: F) -> Fixture
where
    F: Fn(Invocation) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Response<Body>, InvokeError>> + Send + 'static,
{
    let config = Config { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Config::default() };
    let fixture = gateway(config, answer).await;
    fixture.deploy("twice", idempotent).await;
    fixture.route("r", json!({ "path": "/r/{*rest}", "function": "twice", "filters": filters })).await;
    fixture
}

async fn get(fixture: &Fixture, path: &str, headers: &[(&str, &str)]) -> Seen {
    send(fixture, "GET", path, headers, "").await
}

async fn send(fixture: &Fixture, method: &str, path: &str, headers: &[(&str, &str)], body: &'static str) -> Seen {
    let request =
        headers.iter().fold(fixture.request(method, path), |request, (name, value)| request.header(*name, *value));
    fixture.send(request.body(Full::from(body)).unwrap()).await
}

fn calls(fixture: &Fixture) -> usize {
    fixture.guest.seen.lock().unwrap().len()
}

/// The head that the function saw last.
fn last(fixture: &Fixture) -> http::request::Parts {
    fixture.guest.seen.lock().unwrap().pop().unwrap().0
}

#[tokio::test]
async fn a_route_takes_its_requests_whole_and_functions_keep_their_names() {
    let fixture = gateway(Config::default(), echo).await;
    fixture.route("one", json!({ "path": "/api/{id}", "function": "hello", "methods": ["GET", "POST"] })).await;
    fixture
        .route("host", json!({ "host": "shop.example", "path": "/api/{id}", "function": "hello", "methods": ["PUT"] }))
        .await;
    assert_eq!(get(&fixture, "/api/7?q=1", &[]).await.status, 200);
    assert_eq!(last(&fixture).uri.path_and_query().unwrap(), "/api/7?q=1");
    assert_eq!(send(&fixture, "HEAD", "/api/7", &[], "").await.status, 200, "who takes GET takes HEAD");
    let refused = send(&fixture, "PUT", "/api/7", &[], "").await;
    assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, "GET, HEAD, POST"));
    assert_eq!(refused.header("x-onrush-error-origin"), "platform");
    let hosted = b"PUT /api/7 HTTP/1.1\r\nhost: Shop.Example:80\r\nconnection: close\r\n\r\n";
    assert!(rest(&mut fixture.raw(hosted).await).await.starts_with("HTTP/1.1 200"));
    assert_eq!(get(&fixture, "/other", &[]).await.status, 404);
    assert_eq!(get(&fixture, "/function/hello/x", &[]).await.status, 200);
    fixture.remove_route("one").await;
    assert_eq!(get(&fixture, "/api/7", &[]).await.status, 404, "the other route is another host's");
}

#[tokio::test]
async fn a_path_written_differently_does_not_slip_past_its_route() {
    let fixture = gateway(Config::default(), echo).await;
    let closed = json!([{ "use": "ip-allow", "allow": ["192.0.2.1"] }]);
    fixture.route("closed", json!({ "path": "/admin/{*rest}", "function": "hello", "filters": closed })).await;
    fixture.route("open", json!({ "path": "/{*rest}", "function": "hello" })).await;
    for (path, status) in [
        ("/public", 200),
        ("/admin/x", 403),
        ("/%61dmin/x", 403),
        ("/public/../admin/x", 400),
        ("/public/%2E%2e/admin/x", 400),
        ("/./admin/x", 400),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        let answer = rest(&mut fixture.raw(head.as_bytes()).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_route_whose_filters_are_unknown_here_is_closed_and_not_open() {
    let fixture = gateway(Config::default(), echo).await;
    fixture.route("newer", json!({ "path": "/newer", "function": "hello", "filters": [{ "use": "shield" }] })).await;
    let closed = get(&fixture, "/newer", &[]).await;
    assert_eq!(closed.status, 503);
    assert!(closed.json()["message"].as_str().unwrap().contains("filters[0].use"));
    assert_eq!(calls(&fixture), 0);
}

#[tokio::test]
async fn a_rate_is_each_callers_own_and_its_end_is_429_with_a_time() {
    let fixture = through(json!([{ "use": "rate-limit", "rate": "2/h", "burst": 2 }]), echo).await;
    let from = |ip: &'static str| [("x-forwarded-for", ip)];
    for status in [200, 200, 429, 429] {
        assert_eq!(get(&fixture, "/r/x", &from("198.51.100.1, 192.0.2.1")).await.status, status);
    }
    let refused = get(&fixture, "/r/x", &from("192.0.2.1")).await;
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1_700..=1_800).contains(&wait), "{wait}");
    assert_eq!((refused.json()["code"].as_str(), refused.header("x-onrush-node")), (Some("rate_limited"), "node-1"));
    assert_eq!(get(&fixture, "/r/x", &from("192.0.2.2")).await.status, 200);
    assert_eq!(get(&fixture, "/function/twice", &from("192.0.2.1")).await.status, 200, "names pass no filters");
    fixture.route("s", json!({ "path": "/s", "function": "twice" })).await;
    assert_eq!(get(&fixture, "/s", &from("192.0.2.1")).await.status, 200);
    assert_eq!(get(&fixture, "/r/x", &from("192.0.2.1")).await.status, 429, "another route's coming forgives nothing");
}

#[tokio::test]
async fn who_has_no_key_is_401_and_the_function_need_not_see_it() {
    let hash = format!("{}", onrush_types::Digest(sha2::Sha256::digest("open sesame").into()));
    let fixture = through(json!([{ "use": "auth", "keys": [hash], "forward": false }]), echo).await;
    for headers in [&[][..], &[("x-api-key", "sesame")]] {
        let refused = get(&fixture, "/r/x", headers).await;
        assert_eq!((refused.status.as_u16(), refused.header("www-authenticate")), (401, "ApiKey"));
    }
    assert_eq!(calls(&fixture), 0);
    assert_eq!(get(&fixture, "/r/x", &[("x-api-key", "open sesame")]).await.status, 200);
    assert!(!last(&fixture).headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn a_rate_per_key_is_for_who_is_known_and_no_stranger_uses_it_up() {
    let hash = |key: &str| onrush_types::Digest(sha2::Sha256::digest(key).into()).to_string();
    let filters = json!([
        { "use": "rate-limit", "rate": "1/h", "per": "key" },
        { "use": "auth", "keys": [hash("ann"), hash("bob")] },
    ]);
    let fixture = through(filters, echo).await;
    for (key, status) in [("eve", 401), ("eve", 401), ("ann", 200), ("ann", 429), ("bob", 200), ("bob", 429)] {
        assert_eq!(get(&fixture, "/r/x", &[("x-api-key", key)]).await.status, status, "{key}");
    }
}

#[tokio::test]
async fn a_place_is_held_to_the_replys_last_byte_and_then_free() {
    let fixture = through(json!([{ "use": "concurrency-limit", "limit": 1 }]), |_| async {
        let (sender, body) = crate::harness::channel();
        sender.send(Ok("first".into())).await.unwrap();
        tokio::spawn(async move { sender.closed().await });
        Ok(Response::new(Body::stream(body)))
    });
    let fixture = fixture.await;
    let mut first = fixture.raw(b"GET /r/x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    read_until(&mut first, "first").await;
    let refused = get(&fixture, "/r/x", &[]).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    assert_eq!(refused.json()["code"], "overloaded");
    drop(first);
    let again = async {
        loop {
            let mut next = fixture.raw(b"GET /r/x HTTP/1.1\r\nhost: h\r\n\r\n").await;
            if read_until(&mut next, "\r\n\r\n").await.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("the place is free again");
}

#[tokio::test]
async fn a_route_may_lower_the_body_limit_and_the_timeout() {
    let filters = json!([{ "use": "body-limit", "size": 3 }, { "use": "timeout", "after": "50ms" }]);
    let fixture = through(filters, |call: Invocation| async move {
        if call.request.uri().path() == "/r/slow" {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(call.request.into_body()))
    });
    let fixture = fixture.await;
    assert_eq!(send(&fixture, "POST", "/r/x", &[], "abc").await.status, 200);
    assert_eq!(send(&fixture, "POST", "/r/x", &[], "abcd").await.status, 413);
    assert_eq!(get(&fixture, "/r/slow", &[]).await.status, 504);
}

#[tokio::test]
async fn failures_are_tried_again_for_idempotent_functions_alone() {
    let tries = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&tries);
    let filters = json!([{ "use": "retry", "attempts": 3, "backoff": "1ms", "on": ["5xx", "function"] }]);
    let fixture = through(filters.clone(), move |call: Invocation| {
        let tried = counted.fetch_add(1, SeqCst) + 1;
        async move {
            match (call.attempt, call.request.uri().path()) {
                (1, _) => Ok(Response::builder().status(503).body(Body::empty()).unwrap()),
                (2, _) | (_, "/r/never") => Err(InvokeError::function(Code::FunctionFailed, "trap")),
                _ => Ok(Response::new(Body::from(format!("{tried}")))),
            }
        }
    });
    let fixture = fixture.await;
    let seen = send(&fixture, "POST", "/r/x", &[], "body").await;
    assert_eq!((seen.status.as_u16(), &*seen.body), (200, &b"3"[..]));
    assert_eq!(get(&fixture, "/r/never", &[]).await.status, 502);
    assert_eq!(tries.swap(0, SeqCst), 6);
    fixture.route("once", json!({ "path": "/once", "function": "hello", "filters": filters })).await;
    assert_eq!(get(&fixture, "/once", &[]).await.status, 503);
    assert_eq!(tries.load(SeqCst), 1);
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_call_and_errors_are_readable_to_pages() {
    let fixture = gateway(Config::default(), echo).await;
    let filters = json!([
        { "use": "cors", "origins": "https://app.example", "headers": ["x-mine"], "credentials": true },
        { "use": "auth", "keys": ["0".repeat(64)] },
    ]);
    let route = json!({ "path": "/r", "methods": ["PUT"], "function": "hello", "filters": filters });
    fixture.route("r", route).await;
    let ask = [("origin", "https://app.example"), ("access-control-request-method", "PUT")];
    let seen = send(&fixture, "OPTIONS", "/r", &ask, "").await;
    assert_eq!(seen.status, 204);
    assert_eq!(seen.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(
        (seen.header("access-control-allow-methods"), seen.header("access-control-allow-headers")),
        ("PUT", "x-mine")
    );
    assert_eq!(
        (seen.header("access-control-allow-credentials"), seen.header("access-control-max-age")),
        ("true", "600")
    );
    let strange = [("origin", "https://evil.example"), ("access-control-request-method", "PUT")];
    let seen = send(&fixture, "OPTIONS", "/r", &strange, "").await;
    assert!(seen.status == 204 && !seen.headers.contains_key("access-control-allow-origin"));
    assert_eq!(send(&fixture, "OPTIONS", "/r", &[], "").await.status, 405, "without a question it is a plain request");
    let refused = send(&fixture, "PUT", "/r", &ask[..1], "").await;
    assert_eq!((refused.status.as_u16(), refused.header("access-control-allow-origin")), (401, "https://app.example"));
    assert_eq!(refused.header("vary"), "origin");
    assert_eq!(calls(&fixture), 0);
}

#[tokio::test]
async fn replies_are_compressed_for_who_understands_it() {
    let text = "many words ".repeat(50_000);
    let sent = text.clone();
    let fixture = through(json!([{ "use": "compress", "algorithms": ["gzip"] }]), move |call: Invocation| {
        let text = sent.clone();
        async move {
            let response = Response::builder().header("etag", "\"1\"").header("content-type", "text/plain");
            Ok(match call.request.uri().path() {
                "/r/small" => response.body(Body::from("small")).unwrap(),
                "/r/image" => response.header("content-type", "image/png").body(Body::from(text)).unwrap(),
                "/r/fixed" => response.header("cache-control", "no-transform").body(Body::from(text)).unwrap(),
                _ => response.header("content-length", text.len()).body(Body::from(text)).unwrap(),
            })
        }
    });
    let fixture = fixture.await;
    let gzip = [("accept-encoding", "br, gzip")];
    let seen = get(&fixture, "/r/large", &gzip).await;
    assert_eq!(
        (seen.header("content-encoding"), seen.header("vary"), seen.header("etag")),
        ("gzip", "accept-encoding", "W/\"1\"")
    );
    assert!(seen.body.starts_with(&[0x1f, 0x8b]) && seen.body.len() < 10_000, "{}", seen.body.len());
    for (path, headers) in
        [("/r/small", &gzip[..]), ("/r/fixed", &gzip), ("/r/large", &[]), ("/r/large", &[("accept-encoding", "br")])]
    {
        let seen = get(&fixture, path, headers).await;
        assert!(!seen.headers.contains_key("content-encoding"), "{path} {headers:?}");
        assert_eq!(seen.header("etag"), "\"1\"");
    }
    assert_eq!(get(&fixture, "/r/large", &[]).await.body, text);
}

#[tokio::test]
async fn headers_and_paths_change_on_their_way() {
    let filters = json!([
        { "use": "headers",
          "request": { "remove": ["x-secret"], "set": { "x-tenant": "shop" }, "add": { "x-tag": ["a", "b"] } },
          "response": { "remove": ["server"], "set": { "x-frame-options": "DENY" } } },
        { "use": "rewrite", "to": "/v2/{rest}" },
    ]);
    let fixture = through(filters, |_| async {
        Ok(Response::builder().header("server", "guest/1").body(Body::from("x")).unwrap())
    });
    let fixture = fixture.await;
    let seen = get(&fixture, "/r/a/b?q", &[("x-secret", "1"), ("x-tenant", "forged")]).await;
    assert_eq!(seen.header("x-frame-options"), "DENY");
    assert!(!seen.headers.contains_key("server"));
    let parts = last(&fixture);
    assert_eq!(parts.uri.path_and_query().unwrap(), "/v2/a/b?q");
    assert_eq!((&parts.headers["x-tenant"], parts.headers.contains_key("x-secret")), (&"shop".parse().unwrap(), false));
    assert_eq!(parts.headers.get_all("x-tag").iter().count(), 2);
}

#[tokio::test]
async fn a_canary_gets_its_share_and_who_asks_for_it() {
    let filters = json!([{ "use": "canary", "to": "1", "weight": 30, "by": "header:x-user", "header": "x-canary" }]);
    let fixture = through(filters, echo).await;
    fixture.deploy("twice", |spec| spec.limits.memory *= 2).await;
    let version = |headers: Vec<(&'static str, String)>| {
        let fixture = &fixture;
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(get(fixture, "/r/x", &headers).await.status, 200);
            fixture.guest.seen.lock().unwrap().pop().unwrap().1.version
        }
    };
    assert_eq!(version(vec![("x-canary", "always".into())]).await, VersionNumber(1));
    assert_eq!(version(vec![("x-canary", "never".into())]).await, VersionNumber(2));
    let mut canaries = 0;
    for user in 0..200 {
        let first = version(vec![("x-user", user.to_string())]).await;
        assert_eq!(version(vec![("x-user", user.to_string())]).await, first, "a user stays");
        canaries += usize::from(first == VersionNumber(1));
    }
    assert!((35..=85).contains(&canaries), "{canaries} of 200");
}

#[tokio::test]
async fn a_canary_that_does_not_exist_takes_no_calls() {
    let fixture = through(json!([{ "use": "canary", "to": "99", "weight": 100 }]), echo).await;
    assert_eq!(get(&fixture, "/r/x", &[]).await.status, 200);
}

#[tokio::test]
async fn calls_say_what_they_may_share() {
    let seen = Arc::<Mutex<Vec<Option<Box<Sharing>>>>>::default();
    let kept = Arc::clone(&seen);
    let filters = json!([
        { "use": "coalesce", "scope": "cluster" },
        { "use": "cache", "ttl": "60s", "vary": ["accept-language"] },
        { "use": "timeout", "after": "2s" },
    ]);
    let fixture = through(filters, move |call: Invocation| {
        kept.lock().unwrap().push(call.sharing);
        async { Ok(Response::new(Body::from("x"))) }
    });
    let fixture = fixture.await;
    let share = |method: &'static str, path: &'static str, headers: &'static [(&str, &str)], body: &'static str| {
        let (fixture, seen) = (&fixture, &seen);
        async move {
            let reply = send(fixture, method, path, headers, body).await;
            let status = reply.headers.get("cache-status").map(|value| value.to_str().unwrap().to_owned());
            (seen.lock().unwrap().pop().unwrap(), status)
        }
    };
    let (plain, status) = share("GET", "/r/x", &[], "").await;
    let plain = plain.unwrap();
    assert_eq!((plain.scope, plain.timeout, status), (Scope::Cluster, Some(Duration::from_secs(2)), None));
    assert_eq!(plain.cache.as_ref().unwrap().ttl, Some(Duration::from_secs(60)));
    assert_eq!(plain.coalesce.as_ref().unwrap().waiters, 10_000);
    let same = share("GET", "/r/x", &[("user-agent", "other"), ("x-onrush-timeout", "1s")], "").await.0.unwrap();
    assert_eq!(same, plain, "a client's own haste is not the execution's");
    assert_ne!(share("GET", "/r/x", &[("accept-language", "de")], "").await.0.unwrap().key, plain.key);
    for (method, headers, body, why) in [
        ("GET", &[("authorization", "a")][..], "", "onrush; fwd=bypass"),
        ("GET", &[("cookie", "a=b")], "", "onrush; fwd=bypass"),
        ("GET", &[], "body", "onrush; fwd=bypass"),
        ("POST", &[], "", "onrush; fwd=method"),
    ] {
        let (sharing, status) = share(method, "/r/x", headers, body).await;
        assert_eq!((sharing, status.as_deref()), (None, Some(why)), "{method} {headers:?}");
    }
    assert_eq!(share("GET", "/function/twice/r/x", &[], "").await, (None, None));
    fixture.deploy("twice", |spec| spec.limits.memory *= 2).await;
    assert_ne!(share("GET", "/r/x", &[], "").await.0.unwrap().key, plain.key, "a new version begins anew");
}

#[tokio::test]
async fn a_limit_of_the_cluster_is_divided_over_its_gateways() {
    let filters = json!([{ "use": "rate-limit", "rate": "60/h", "burst": 60, "per": "route", "scope": "cluster" }]);
    let fixture = through(filters, echo).await;
    fixture.gateways(3).await;
    let mut passed = 0;
    while passed < 60 && get(&fixture, "/r/x", &[]).await.status == 200 {
        passed += 1;
    }
    assert_eq!(passed, 20);
}
