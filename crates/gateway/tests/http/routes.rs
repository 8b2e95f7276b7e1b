//! Which path means what, health, and what crosses the gateway.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use onrush_catalog::fake::FakeStore;
use onrush_gateway::{Config, Gateway, Standalone};
use onrush_invoke::{Body, Invoke, InvokeError, Target};
use onrush_types::{Code, Limits, Revision, VersionNumber};

use crate::harness::{Switch, echo, gateway, guest, read_until, rest, serve};

#[tokio::test]
async fn a_function_is_called_by_its_reference_and_sees_the_rest_of_the_path() {
    let fixture = gateway(Config::default(), echo).await;
    fixture.deploy("hello", |spec| spec.idempotent = true).await;
    fixture.deploy("hello.shop", |_| {}).await;
    for (path, uri, function, version) in [
        ("/function/hello", "/", "hello.default", 2),
        ("/function/hello/", "/", "hello.default", 2),
        ("/function/hello@1/a/b?c=d", "/a/b?c=d", "hello.default", 1),
        ("/function/hello@latest?c", "/?c", "hello.default", 2),
        ("/function/hello.shop/x", "/x", "hello.shop", 1),
    ] {
        let seen = fixture.post(path, "body").await;
        assert_eq!((seen.status.as_u16(), &*seen.body), (200, &b"body"[..]), "{path}");
        assert_eq!(seen.header("x-onrush-node"), "worker-7");
        let (parts, target, ..) = fixture.guest.seen.lock().unwrap().pop().unwrap();
        assert_eq!(parts.uri.to_string(), format!("http://{}{uri}", fixture.address), "{path}");
        assert_eq!(
            (target.function.to_string().as_str(), target.version),
            (function, VersionNumber(version)),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_does_not_exist_is_404_with_advice_and_what_is_no_name_is_400() {
    let fixture = gateway(Config::default(), echo).await;
    for (path, status, code, advice) in [
        ("/function/nobody", 404, "not_found", "onrush deploy nobody"),
        ("/function/hello.shop", 404, "not_found", "onrush list"),
        ("/function/hello@7", 404, "not_found", "newest one is 1"),
        ("/function/hello@live", 404, "not_found", "no alias live"),
        ("/function/He_llo", 400, "bad_request", "a-z, 0-9"),
        ("/function/", 400, "bad_request", "1 to 63"),
        ("/function/hello@", 400, "bad_request", "1 to 63"),
        ("/", 404, "not_found", "/function/NAME"),
        ("/functions/hello", 404, "not_found", "/function/NAME"),
    ] {
        let seen = fixture.post(path, "body").await;
        let body = seen.json();
        assert_eq!((seen.status.as_u16(), &body["code"]), (status, &code.into()), "{path}");
        assert!(body["message"].as_str().unwrap().contains(advice), "{path}: {body}");
        assert_eq!(body["invocation"], seen.header("x-onrush-invocation"));
        assert_eq!((&body["origin"], seen.header("x-onrush-error-origin")), (&"platform".into(), "platform"));
        assert_eq!(seen.header("x-onrush-node"), "node-1", "nothing ran: this node answered");
    }
    assert!(fixture.guest.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body() {
    let fixture = gateway(Config::default(), echo).await;
    for target in ["/function/nobody", "/nothing"] {
        let head = format!("POST {target} HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n");
        let answer = rest(&mut fixture.raw(head.as_bytes()).await).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
}

#[tokio::test]
async fn health_says_what_the_node_says_and_a_drain_is_not_ready() {
    let fixture = gateway(Config::default(), echo).await;
    assert_eq!(fixture.get("/healthz").await.status, 200);
    assert_eq!(fixture.get("/readyz").await.json()["status"], "ready");
    fixture.health.unready.store(true, SeqCst);
    let unready = fixture.get("/readyz").await;
    assert_eq!((unready.status.as_u16(), &unready.json()["why"]), (503, &"still joining".into()));
    assert_eq!(fixture.get("/healthz").await.status, 200);
    fixture.health.dead.store(true, SeqCst);
    assert_eq!(fixture.get("/healthz").await.json()["why"], "the disk is gone");
}

#[tokio::test]
async fn a_draining_gateway_says_so_on_connections_that_it_still_has() {
    let fixture = gateway(Config::default(), echo).await;
    // The head is under way when the drain begins, so this connection is not idle and is still answered.
    let mut stream = fixture.raw(b"GET /readyz HTTP/1.1\r\nhost: h\r\n").await;
    fixture.get("/healthz").await;
    fixture.drain.cancel();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"\r\n").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("draining"), "{answer}");
    assert_eq!(fixture.server.await.unwrap().forced, 0);
}

#[tokio::test]
async fn replies_lose_what_is_not_the_functions_to_say() {
    let fixture = gateway(Config::default(), |_| async {
        let response = Response::builder()
            .status(418)
            .header("connection", "x-private")
            .header("x-private", "1")
            .header("keep-alive", "1")
            .header("proxy-authenticate", "1")
            .header("x-onrush-node", "forged")
            .header("x-onrush-error-origin", "platform")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2");
        Ok(response.body(Body::from("tea")).unwrap())
    });
    let fixture = fixture.await;
    let seen = fixture.get("/function/hello").await;
    assert_eq!((seen.status.as_u16(), &*seen.body), (418, &b"tea"[..]));
    let mut names: Vec<_> = seen.headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "date", "set-cookie", "x-onrush-invocation", "x-onrush-node"]);
    assert_eq!(seen.header("x-onrush-node"), "worker-7");
    assert_eq!(seen.headers.get_all("set-cookie").iter().count(), 2);
    let other = fixture.get("/function/hello").await;
    assert_ne!(seen.header("x-onrush-invocation"), other.header("x-onrush-invocation"), "each call has its id");
}

#[tokio::test]
async fn every_method_passes_and_tunnels_do_not() {
    let fixture = gateway(Config::default(), echo).await;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"] {
        let request = fixture.request(method, "/function/hello").body(Full::default()).unwrap();
        assert_eq!(fixture.send(request).await.status, 200, "{method}");
        assert_eq!(fixture.guest.seen.lock().unwrap().pop().unwrap().0.method, method);
    }
    let upgrade = b"GET /function/hello HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let answer = read_until(&mut fixture.raw(upgrade).await, "websocket").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn a_known_proxy_is_believed_and_a_stranger_is_not() {
    for (proxies, expected) in [(vec![], "127.0.0.1"), (vec!["127.0.0.0/8".parse().unwrap()], "203.0.113.9, 127.0.0.1")]
    {
        let fixture = gateway(Config { trusted_proxies: proxies, ..Config::default() }, echo).await;
        let request = fixture.request("GET", "/function/hello").header("x-forwarded-for", "203.0.113.9");
        fixture.send(request.body(Full::default()).unwrap()).await;
        let (parts, ..) = fixture.guest.seen.lock().unwrap().pop().unwrap();
        assert_eq!(parts.headers["x-forwarded-for"], expected);
    }
}

#[tokio::test]
async fn a_standalone_function_gets_every_path_whole_and_its_trap_is_500() {
    let config = Config::default();
    let guest = guest(|call| async move {
        match call.request.uri().path() {
            "/trap" => Err(InvokeError::function(Code::FunctionFailed, "unreachable")),
            path => Ok(Response::new(Body::from(path.to_owned()))),
        }
    });
    let function = onrush_types::FunctionName::new("default".parse().unwrap(), "one".parse().unwrap());
    let target = Target { function, version: VersionNumber(1), revision: Revision(0) };
    let invoke = Arc::clone(&guest) as Arc<dyn Invoke>;
    let one = Standalone { invoke, target, limits: Limits::default() };
    let gateway = Gateway::standalone(config.clone(), one);
    let fixture = serve(gateway, config, guest, FakeStore::new(), Arc::<Switch>::default());
    for path in ["/", "/function/hello/x", "/healthz", "/a%20b"] {
        assert_eq!(fixture.get(path).await.body, Bytes::from(path), "{path}");
    }
    let trap = fixture.get("/trap").await;
    assert_eq!((trap.status.as_u16(), trap.header("x-onrush-error-origin")), (500, "function"));
}
