//! Bodies: whole and streamed, limits, slow clients.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use onrush_gateway::Config;
use onrush_invoke::{Body, Invocation, InvokeError};
use onrush_types::FunctionSpec;
use tokio::io::AsyncWriteExt;

use crate::harness::{channel, echo, gateway, read_until, rest};

/// Reads the whole body and says how long it was.
async fn measure(call: Invocation) -> Result<Response<Body>, InvokeError> {
    let bytes = call.request.into_body().collect(usize::MAX).await?;
    Ok(Response::new(Body::from(bytes.len().to_string())))
}

fn patterned(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>().into()
}

#[tokio::test]
async fn small_bodies_arrive_whole_and_large_ones_stream() {
    let fixture = gateway(Config::default(), echo).await;
    for (length, expected) in [(0, true), (1, true), (64 << 10, true), ((64 << 10) + 1, false), (1 << 20, false)] {
        let body = patterned(length);
        let seen = fixture.post("/function/hello", body.clone()).await;
        assert!(seen.body == body, "{length} bytes come back as they went");
        let (.., whole) = fixture.guest.seen.lock().unwrap().pop().unwrap();
        assert_eq!(whole, expected, "{length}");
    }
}

#[tokio::test]
async fn a_mebibyte_streams_both_ways_at_once_on_both_protocols() {
    let fixture = gateway(Config::default(), echo).await;
    for http2_only in [false, true] {
        let client = Client::builder(TokioExecutor::new()).http2_only(http2_only).build_http();
        let (sender, body) = channel();
        let request = fixture.request("POST", "/function/hello").body(body).unwrap();
        // The reply's head comes while the request's body has hardly begun.
        sender.send(Ok(patterned(4_096))).await.unwrap();
        let mut reply = client.request(request).await.unwrap().into_body();
        let mut came = reply.frame().await.unwrap().unwrap().into_data().unwrap().to_vec();
        let send = async move {
            for _ in 1..256 {
                sender.send(Ok(patterned(4_096))).await.unwrap();
            }
        };
        let ((), rest) = tokio::join!(send, reply.collect());
        came.extend_from_slice(&rest.unwrap().to_bytes());
        assert!(came == patterned(4_096).repeat(256), "http2: {http2_only}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_before_a_byte_is_read() {
    let fixture = gateway(Config { body_limit: Some(100), ..Config::default() }, measure).await;
    assert_eq!(fixture.post("/function/hello", patterned(100)).await.body, "100");
    let head = b"POST /function/hello HTTP/1.1\r\nhost: h\r\ncontent-length: 101\r\n\r\n";
    let answer = rest(&mut fixture.raw(head).await).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"), "{answer}");
    assert_eq!(fixture.guest.seen.lock().unwrap().len(), 1, "the function was not called again");
}

#[tokio::test]
async fn a_refused_upload_gets_its_answer_while_it_is_still_sending() {
    let fixture = gateway(Config { body_limit: Some(100), ..Config::default() }, measure).await;
    for _ in 0..20 {
        let mut stream =
            fixture.raw(b"POST /function/hello HTTP/1.1\r\nhost: h\r\ncontent-length: 900000\r\n\r\n").await;
        // It may well break off, as long as the answer is there.
        let _sent = stream.write_all(&patterned(900_000)).await;
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_413_as_soon_as_it_passes_the_limit() {
    let fixture = gateway(Config { body_limit: Some(100), ..Config::default() }, measure).await;
    let chunked = b"POST /function/hello HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let within = [&chunked[..], b"32\r\n", &[b'x'; 50], b"\r\n32\r\n", &[b'x'; 50], b"\r\n0\r\n\r\n"].concat();
    assert!(read_until(&mut fixture.raw(&within).await, "100").await.starts_with("HTTP/1.1 200"));
    let over = [&chunked[..], b"32\r\n", &[b'x'; 50], b"\r\n33\r\n", &[b'x'; 51], b"\r\n"].concat();
    let answer = rest(&mut fixture.raw(&over).await).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("limit of 100 bytes"), "{answer}");
}

#[tokio::test]
async fn a_client_that_stops_sending_is_refused_whole_or_streamed() {
    let config = Config { body_idle_timeout: Duration::from_millis(150), ..Config::default() };
    let fixture = gateway(config, measure).await;
    for length in [100, 1 << 20] {
        let head = format!("POST /function/hello HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\nabc");
        let answer = rest(&mut fixture.raw(head.as_bytes()).await).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("no byte"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_trickles_a_streamed_body_is_refused() {
    let patience = Duration::from_millis(150);
    let config = Config { body_idle_timeout: patience, body_min_rate: 10_000, ..Config::default() };
    let fixture = gateway(config, measure).await;
    let head = b"POST /function/hello HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n";
    let mut stream = fixture.raw(head).await;
    // A byte now and then, always in time, until there is an answer.
    while tokio::time::timeout(patience / 8, stream.readable()).await.is_err() {
        stream.write_all(b"x").await.unwrap();
    }
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("slower than 10000 bytes"), "{answer}");
}

#[tokio::test]
async fn a_slow_but_steady_sender_is_bounded_by_the_timeout_alone() {
    let config = Config { body_idle_timeout: Duration::from_secs(30), ..Config::default() };
    let fixture = gateway(config, measure).await;
    fixture.deploy("short", |spec: &mut FunctionSpec| spec.limits.timeout = Duration::from_millis(150)).await;
    let head = b"POST /function/short HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nabc";
    let answer = rest(&mut fixture.raw(head).await).await;
    assert!(answer.starts_with("HTTP/1.1 504") && !answer.contains("unknown"), "nothing ran: {answer}");
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_only_where_its_body_is_wanted() {
    let fixture = gateway(Config { body_limit: Some(10), ..Config::default() }, measure).await;
    let head = |length| {
        format!("POST /function/hello HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n")
    };
    let mut wanted = fixture.raw(head(3).as_bytes()).await;
    read_until(&mut wanted, "100 Continue\r\n\r\n").await;
    wanted.write_all(b"abc").await.unwrap();
    assert!(read_until(&mut wanted, "\r\n\r\n3").await.starts_with("HTTP/1.1 200"));
    let refused = rest(&mut fixture.raw(head(11).as_bytes()).await).await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
}

#[tokio::test]
async fn a_reply_that_is_there_at_once_has_a_length_and_one_that_is_not_is_chunked() {
    let fixture = gateway(Config::default(), |call: Invocation| async move {
        let (sender, body) = channel();
        let slow = call.request.uri().path() == "/slow";
        sender.send(Ok(Bytes::from("one"))).await.unwrap();
        if slow {
            tokio::spawn(async move { sender.closed().await });
        } else {
            drop(sender);
        }
        Ok(Response::new(Body::stream(body)))
    });
    let fixture = fixture.await;
    let quick = fixture.get("/function/hello").await;
    assert_eq!((quick.header("content-length"), &*quick.body), ("3", &b"one"[..]));
    let mut slow = fixture.raw(b"GET /function/hello/slow HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let text = read_until(&mut slow, "one").await;
    assert!(text.contains("transfer-encoding: chunked"), "the first event is sent before the last is known: {text}");
}

#[tokio::test]
async fn trailers_of_a_reply_reach_the_client() {
    let fixture = gateway(Config::default(), |_| async {
        let trailers = http::HeaderMap::from_iter([("x-sum".parse().unwrap(), "7".parse().unwrap())]);
        let frames = [hyper::body::Frame::data(Bytes::from("data")), hyper::body::Frame::trailers(trailers)];
        let (sender, mut receiver) = tokio::sync::mpsc::channel(2);
        for frame in frames {
            sender.send(frame).await.unwrap();
        }
        drop(sender);
        let next = from_fn(move |cx| receiver.poll_recv(cx).map(|frame| frame.map(Ok)));
        Ok(Response::new(Body::stream(next)))
    });
    let fixture = fixture.await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = fixture.request("GET", "/function/hello").body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let collected = client.request(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
    assert_eq!(collected.to_bytes(), "data");
}

type Polled = std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, onrush_invoke::BodyError>>>;

struct FromFn<F>(F);

fn from_fn<F: FnMut(&mut std::task::Context<'_>) -> Polled + Unpin>(next: F) -> FromFn<F> {
    FromFn(next)
}

impl<F: FnMut(&mut std::task::Context<'_>) -> Polled + Unpin> hyper::body::Body for FromFn<F> {
    type Data = Bytes;
    type Error = onrush_invoke::BodyError;

    fn poll_frame(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Polled {
        (self.0)(cx)
    }
}
