//! Bodies that flow.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use onrush_invoke::{Body, BodyError};
use onrush_runtime::wasm::Config;
use onrush_types::Code;

use super::bench::{Bench, until};

const LONG: Duration = Duration::from_secs(120);

/// A body of `left` bytes that counts what was taken of it.
struct Source {
    left: u64,
    taken: Arc<AtomicU64>,
}

impl HttpBody for Source {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let size = self.left.min(ZEROS.len() as u64);
        if size == 0 {
            return Poll::Ready(None);
        }
        self.left -= size;
        self.taken.fetch_add(size, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS[..usize::try_from(size).unwrap()])))))
    }
}

fn source(bytes: u64) -> (Body, Arc<AtomicU64>) {
    let taken = Arc::new(AtomicU64::new(0));
    (Body::stream(Source { left: bytes, taken: taken.clone() }), taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_flows_through_and_is_never_held() {
    for guest in ["echo", "hello-p3"] {
        let bench = Bench::new();
        let echo = bench.prepare(guest).await;
        let (body, taken) = source(1 << 30);
        let mut reply = echo.send("/", body, LONG).await.unwrap().into_body();
        let mut read = 0;
        while let Some(frame) = reply.frame().await {
            read += frame.unwrap().into_data().unwrap().len() as u64;
            let held = taken.load(Ordering::SeqCst) - read;
            assert!(held <= 4 << 20, "{guest}: {held} bytes are in between");
            assert!(bench.runtime.memory_in_use() <= 4 << 20);
        }
        assert_eq!(read, 1 << 30);
        bench.all_quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_head_comes_before_the_request_has_ended() {
    let bench = Bench::new();
    let echo = bench.prepare("echo").await;
    let (send, receive) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = Body::stream(Channel(receive));
    let mut reply = echo.send("/a?b", body, LONG).await.unwrap();
    assert_eq!(reply.headers()["x-echo-path"], "/a?b");
    assert_eq!(reply.headers()["x-echo-authority"], "shop.example");
    for word in ["one", "two"] {
        send.send(Bytes::from_static(word.as_bytes())).await.unwrap();
        assert_eq!(reply.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), word);
    }
    drop(send);
    assert!(reply.body_mut().frame().await.is_none());
    bench.all_quiet().await;
}

struct Channel(tokio::sync::mpsc::Receiver<Bytes>);

impl HttpBody for Channel {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_the_guest_back() {
    let bench = Bench::new();
    let echo = bench.prepare("echo").await;
    let (body, taken) = source(1 << 30);
    let reply = echo.send("/", body, LONG).await.unwrap();
    until("the first bytes", || taken.load(Ordering::SeqCst) > 0).await;
    let settled = || {
        let before = taken.load(Ordering::SeqCst);
        std::thread::yield_now();
        before
    };
    for _ in 0..1000 {
        tokio::task::yield_now().await;
        assert!(settled() <= 4 << 20);
    }
    drop(reply);
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_breaks_off_never_looks_whole() {
    let bench = Bench::new();
    let guest = bench.prepare("hostile").await;
    for (path, timeout, code) in [
        ("/half-then-trap", LONG, Code::FunctionFailed),
        ("/half-then-spin", Duration::from_millis(400), Code::DeadlineExceeded),
    ] {
        let reply = guest.send(path, Body::empty(), timeout).await.unwrap();
        let error = reply.into_body().collect(1 << 20).await.unwrap_err();
        assert_eq!(error.code, code, "{path}");
    }
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_may_go_on_after_its_answer() {
    let bench = Bench::new();
    let guest = bench.prepare("hostile").await;
    assert_eq!(guest.text("/after?50").await, "answered");
    bench.all_quiet().await;
    assert!(bench.log.says("done after the answer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_streaming_an_idle_limit_takes_the_timeouts_place() {
    let bench = Bench::with(Config { stream_idle: Duration::from_millis(300), ..Config::default() });
    let echo = bench.prepare_with("echo", |spec| spec.limits.streaming = true).await;
    let (send, receive) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = Body::stream(Channel(receive));
    let mut reply = echo.send("/", body, Duration::from_millis(200)).await.unwrap();
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_millis(500) {
        send.send(Bytes::from_static(b"tick")).await.unwrap();
        assert!(reply.body_mut().frame().await.unwrap().is_ok(), "the timeout has passed, the reply goes on");
    }
    let error = reply.body_mut().frame().await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded, "nothing flows any more");
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_reply_arrives_complete() {
    let bench = Bench::new();
    let guest = bench.prepare("hostile").await;
    for bytes in [0, 1, 65_535, 65_536, 65_537, 1 << 20, 10_000_001] {
        assert_eq!(guest.text(&format!("/large?{bytes}")).await.len(), bytes);
    }
    bench.all_quiet().await;
}
