//! Deadlines, failures, cancellation, drain.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use onrush_gateway::Config;
use onrush_invoke::{Body, BodyError, Invocation, InvokeError};
use onrush_types::{Code, FunctionSpec};
use tokio::time::Instant;

use crate::harness::{Running, channel, echo, gateway, read_until, rest, until};

async fn never(_: Invocation) -> Result<Response<Body>, InvokeError> {
    std::future::pending().await
}

fn timeout(millis: u64) -> impl Fn(&mut FunctionSpec) {
    move |spec| spec.limits.timeout = Duration::from_millis(millis)
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_504_and_its_fate_is_unknown() {
    let fixture = gateway(Config::default(), never).await;
    fixture.deploy("slow", timeout(150)).await;
    let began = Instant::now();
    let seen = fixture.get("/function/slow").await;
    assert_eq!(seen.status, 504);
    assert!(began.elapsed() >= Duration::from_millis(150) && began.elapsed() < Duration::from_secs(5));
    let body = seen.json();
    assert_eq!((&body["code"], &body["outcome"]), (&"deadline_exceeded".into(), &"unknown".into()));
    fixture.until_running(0).await;
}

#[tokio::test]
async fn a_client_may_shorten_the_timeout_and_not_lengthen_it() {
    let fixture = gateway(Config::default(), echo).await;
    fixture.deploy("slow", timeout(5_000)).await;
    for (asked, least, most) in [("250", 0, 250), ("1s", 251, 1_000), ("1h", 1_001, 5_000)] {
        let request = fixture.request("GET", "/function/slow").header("x-onrush-timeout", asked);
        assert_eq!(fixture.send(request.body(Full::default()).unwrap()).await.status, 200);
        let (parts, _, remaining, _) = fixture.guest.seen.lock().unwrap().pop().unwrap();
        assert!((least..=most).contains(&remaining.as_millis()), "{asked}: {remaining:?}");
        assert!(!parts.headers.contains_key("x-onrush-timeout"));
    }
    let request = fixture.request("GET", "/function/slow").header("x-onrush-timeout", "later");
    assert_eq!(fixture.send(request.body(Full::default()).unwrap()).await.status, 400);
}

#[tokio::test]
async fn failures_of_the_call_look_like_every_other_error() {
    let fixture = gateway(Config::default(), |call: Invocation| async move {
        Err(match call.request.uri().path() {
            "/full" => InvokeError::refused(Code::Overloaded, "full").retry_after(Duration::from_millis(1_500)),
            "/limit" => InvokeError::refused(Code::RateLimited, "slow down"),
            "/trap" => InvokeError::function(Code::FunctionFailed, "trap"),
            "/lost" => InvokeError::interrupted(Code::OutcomeUnknown, "the worker is gone"),
            _ => InvokeError::interrupted(Code::Internal, "a defect"),
        })
    });
    let fixture = fixture.await;
    for (path, status, origin, outcome, retry_after) in [
        ("full", 503, "platform", None, Some("2")),
        ("limit", 429, "platform", None, Some("1")),
        ("trap", 502, "function", None, None),
        ("lost", 502, "platform", Some("unknown"), None),
        ("else", 500, "platform", Some("unknown"), None),
    ] {
        let seen = fixture.get(&format!("/function/hello/{path}")).await;
        assert_eq!((seen.status.as_u16(), seen.header("x-onrush-error-origin")), (status, origin), "{path}");
        assert_eq!(seen.json().get("outcome").and_then(|text| text.as_str()), outcome, "{path}");
        assert_eq!(seen.headers.get("retry-after").map(|value| value.to_str().unwrap()), retry_after, "{path}");
    }
}

#[tokio::test]
async fn heads_that_would_break_the_connection_are_the_functions_failure() {
    let fixture = gateway(Config::default(), |call: Invocation| async move {
        Ok(match call.request.uri().path() {
            "/early" => Response::builder().status(103).body(Body::empty()).unwrap(),
            "/long" => Response::builder().header("content-length", "9").body(Body::from("short")).unwrap(),
            _ => Response::builder().header("content-length", "9").body(Body::empty()).unwrap(),
        })
    });
    let fixture = fixture.await;
    for path in ["early", "long"] {
        let seen = fixture.get(&format!("/function/hello/{path}")).await;
        assert_eq!((seen.status.as_u16(), seen.header("x-onrush-error-origin")), (502, "function"), "{path}");
    }
    let head = fixture.request("HEAD", "/function/hello/size").body(Full::default()).unwrap();
    assert_eq!(fixture.send(head).await.header("content-length"), "9", "HEAD tells a length without a body");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_call() {
    let fixture = gateway(Config::default(), never).await;
    let stream = fixture.raw(b"GET /function/hello HTTP/1.1\r\nhost: h\r\n\r\n").await;
    fixture.until_running(1).await;
    drop(stream);
    fixture.until_running(0).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_reply_cancels_it_too() {
    let fixture = streaming(Config::default()).await;
    let mut stream = fixture.0.raw(b"GET /function/hello HTTP/1.1\r\nhost: h\r\n\r\n").await;
    read_until(&mut stream, "first").await;
    assert_eq!(fixture.1.load(SeqCst), 1);
    drop(stream);
    until(|| fixture.1.load(SeqCst) == 0).await;
}

/// Replies "first" and then nothing, for ever; with the count of replies that are still held.
async fn streaming(config: Config) -> (crate::harness::Fixture, Arc<std::sync::atomic::AtomicUsize>) {
    let held = Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = Arc::clone(&held);
    let answer = move |_| {
        let running = Running::new(&counted);
        async move {
            let (sender, mut body) = channel();
            sender.send(Ok(Bytes::from("first"))).await.unwrap();
            // Held by the body itself: the stream never ends by itself.
            body.guard = Some(running);
            tokio::spawn(async move { sender.closed().await });
            Ok(Response::new(Body::stream(body)))
        }
    };
    (gateway(config, answer).await, held)
}

#[tokio::test]
async fn a_timeout_in_the_middle_of_a_reply_breaks_it_off_visibly() {
    let (fixture, held) = streaming(Config::default()).await;
    fixture.deploy("short", timeout(150)).await;
    let mut stream = fixture.raw(b"GET /function/short HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let text = rest(&mut stream).await;
    assert!(text.contains("first") && !text.contains("\r\n0\r\n"), "no end that looks like one: {text}");
    until(|| held.load(SeqCst) == 0).await;
    let io = hyper_util::rt::TokioIo::new(tokio::net::TcpStream::connect(fixture.address).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let request = fixture.request("GET", "/function/short").body(Full::<Bytes>::default()).unwrap();
    let reply = client.send_request(request).await.unwrap();
    assert_eq!(reply.status(), 200);
    assert!(reply.into_body().collect().await.is_err(), "the stream is reset");
    assert!(!client.is_closed(), "its neighbours are not");
}

#[tokio::test]
async fn a_streaming_function_has_an_idle_limit_instead_of_its_timeout_after_the_head() {
    let config = Config { stream_idle_timeout: Duration::from_millis(600), ..Config::default() };
    let (fixture, held) = streaming(config).await;
    let stream_it = |spec: &mut FunctionSpec| {
        spec.limits.timeout = Duration::from_millis(100);
        spec.limits.streaming = true;
    };
    fixture.deploy("events", stream_it).await;
    let began = Instant::now();
    rest(&mut fixture.raw(b"GET /function/events HTTP/1.1\r\nhost: h\r\n\r\n").await).await;
    assert!(began.elapsed() >= Duration::from_millis(600), "it outlived its timeout");
    assert_eq!(held.load(SeqCst), 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_cannot_hold_a_call_past_its_timeout() {
    let held = Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = Arc::clone(&held);
    let flood = move |_| {
        let running = Running::new(&counted);
        async move {
            let (sender, mut body) = channel();
            body.guard = Some(running);
            tokio::spawn(async move { while sender.send(Ok(Bytes::from(vec![0; 64 << 10]))).await.is_ok() {} });
            Ok(Response::new(Body::stream(body)))
        }
    };
    let fixture = gateway(Config::default(), flood).await;
    fixture.deploy("flood", timeout(200)).await;
    // Nobody reads: the sockets fill up, and the reply's body is not polled any more.
    let _unread = fixture.raw(b"GET /function/flood HTTP/1.1\r\nhost: h\r\n\r\n").await;
    until(|| held.load(SeqCst) == 1).await;
    until(|| held.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn an_error_before_the_head_is_an_error_and_one_after_it_breaks_the_connection() {
    let fixture = gateway(Config::default(), |call: Invocation| async move {
        let (sender, body) = channel();
        let early = call.request.uri().path() == "/early";
        let broken = Err(BodyError::new(Code::FunctionFailed, "trap in the body"));
        if early {
            sender.send(broken).await.unwrap();
        } else {
            tokio::spawn(async move {
                sender.send(Ok(Bytes::from("first"))).await.unwrap();
                sender.send(broken).await.unwrap();
            });
        }
        Ok(Response::new(Body::stream(body)))
    });
    let fixture = fixture.await;
    let early = fixture.get("/function/hello/early").await;
    assert_eq!((early.status.as_u16(), early.header("x-onrush-error-origin")), (502, "function"));
    let mut late = fixture.raw(b"GET /function/hello/late HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let text = rest(&mut late).await;
    assert!(text.contains("first") && !text.contains("\r\n0\r\n"), "{text}");
}

#[tokio::test]
async fn a_drain_lets_calls_finish() {
    let go = Arc::new(tokio::sync::Notify::new());
    let waiting = Arc::clone(&go);
    let fixture = gateway(Config::default(), move |_| {
        let go = Arc::clone(&waiting);
        async move {
            go.notified().await;
            Ok(Response::new(Body::from("done")))
        }
    });
    let fixture = fixture.await;
    let mut stream = fixture.raw(b"GET /function/hello HTTP/1.1\r\nhost: h\r\n\r\n").await;
    fixture.until_running(1).await;
    fixture.drain.cancel();
    go.notify_one();
    assert!(rest(&mut stream).await.ends_with("done"));
    assert_eq!(fixture.server.await.unwrap().forced, 0);
}

#[tokio::test]
async fn force_cuts_calls_off() {
    let fixture = gateway(Config::default(), never).await;
    let _stream = fixture.raw(b"GET /function/hello HTTP/1.1\r\nhost: h\r\n\r\n").await;
    fixture.until_running(1).await;
    fixture.force.cancel();
    assert_eq!(fixture.server.await.unwrap().forced, 1);
    assert_eq!(fixture.guest.running.load(SeqCst), 0);
}
