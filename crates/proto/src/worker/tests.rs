//! Both sides over a real connection.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use onrush_invoke::{
    Ask, Body, BodyError, Deadline, GuardedBody, Invocation, Invoke, InvokeError, LoadReport, Reached, Reply, Target,
};
use onrush_seams::{Connection, Datagrams, Listener, Network, TokioNetwork};
use onrush_types::{ClusterId, Code, FunctionName, InvocationId, NodeId, Origin, Revision, VersionNumber};
use tokio::sync::oneshot;

use super::{RemoteNode, WorkerService};
use crate::peers::Peers;

const ME: NodeId = NodeId(7);

/// A worker that answers with a function of the call.
struct Answer<F>(F);

#[async_trait]
impl<F, R> Invoke for Answer<F>
where
    F: Fn(Invocation) -> R + Send + Sync,
    R: Future<Output = Result<http::Response<Body>, InvokeError>> + Send,
{
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError> {
        let response = (self.0)(call).await?;
        Ok(Reply { response, node: "here".into(), load: load() })
    }
}

fn load() -> LoadReport {
    LoadReport { in_flight: 9, queued: 4, slots: 2, expected_wait: Duration::from_micros(1_500), busy: 6 }
}

fn peers(cluster: ClusterId, address: SocketAddr) -> Peers {
    Peers::new(cluster, Arc::new(TokioNetwork), Arc::new(move |_| Some(address.to_string())))
}

async fn serve(invoke: Arc<dyn Invoke>, cluster: ClusterId) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = WorkerService::new(invoke, Arc::new(load), cluster, ME).into_server();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    address
}

/// A remote node whose worker answers with `answer`.
async fn remote<F, R>(answer: F) -> RemoteNode
where
    F: Fn(Invocation) -> R + Send + Sync + 'static,
    R: Future<Output = Result<http::Response<Body>, InvokeError>> + Send + 'static,
{
    let cluster = ClusterId::new();
    let address = serve(Arc::new(Answer(answer)), cluster).await;
    RemoteNode::new(ME, peers(cluster, address))
}

fn call(body: Body) -> Invocation {
    Invocation {
        id: InvocationId::new(),
        target: Target {
            function: FunctionName::new("shop".parse().unwrap(), "thumb".parse().unwrap()),
            version: VersionNumber(3),
            revision: Revision(41),
        },
        deadline: Deadline::after(Duration::from_secs(20)),
        attempt: 2,
        sharing: None,
        request: http::Request::post("http://example.com/a/b?c=d").body(body).unwrap(),
    }
}

fn ok(body: Body) -> Result<http::Response<Body>, InvokeError> {
    Ok(http::Response::new(body))
}

/// A body of these frames.
fn frames(frames: Vec<Result<Frame<Bytes>, BodyError>>) -> Body {
    Body::stream(StreamBody::new(stream::iter(frames)))
}

/// A body that begins and never ends; `guard` goes with it.
fn endless(guard: oneshot::Sender<()>) -> Body {
    let first = stream::iter([Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"first")))]);
    let body = Body::stream(StreamBody::new(first.chain(stream::pending())));
    Body::stream(GuardedBody::new(body, guard))
}

#[tokio::test]
async fn a_worker_says_how_busy_it_is_to_whoever_means_it() {
    let (cluster, invoke) = (ClusterId::new(), Arc::new(Answer(|_| async { Ok(http::Response::new(Body::empty())) })));
    let address = serve(invoke, cluster).await;
    assert_eq!(RemoteNode::new(ME, peers(cluster, address)).load().await.unwrap(), load());
    let stranger = RemoteNode::new(ME, peers(ClusterId::new(), address)).load().await.unwrap_err();
    assert_eq!((stranger.code, stranger.reached), (Code::Internal, Reached::NotSent));
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = RemoteNode::new(ME, peers(cluster, nobody)).load().await.unwrap_err();
    assert_eq!((gone.code, gone.reached), (Code::Unavailable, Reached::NotSent));
}

#[tokio::test]
async fn every_error_is_the_same_on_both_sides() {
    let script: Arc<Mutex<Option<InvokeError>>> = Arc::default();
    let scripted = Arc::clone(&script);
    let remote = remote(move |_| {
        let error = scripted.lock().unwrap().clone().unwrap();
        async { Err(error) }
    })
    .await;
    for code in Code::ALL {
        for (origin, reached) in [
            (Origin::Platform, Reached::NotSent),
            (Origin::Platform, Reached::MaybeRan),
            (Origin::Function, Reached::NotSent),
            (Origin::Function, Reached::MaybeRan),
        ] {
            let mut error = InvokeError::refused(code, format!("{code} says: grüß dich\n"));
            (error.origin, error.reached) = (origin, reached);
            if reached == Reached::NotSent {
                error = error.retry_after(Duration::from_millis(2_500)).with_load(load());
            }
            *script.lock().unwrap() = Some(error.clone());
            for body in [Body::from("whole"), frames(vec![Ok(Frame::data(Bytes::from_static(b"streamed")))])] {
                let seen = remote.invoke(call(body)).await.unwrap_err();
                assert_eq!(format!("{seen:?}"), format!("{error:?}"));
            }
        }
    }
}

#[tokio::test]
async fn a_call_arrives_as_it_was_sent_and_so_does_its_reply() {
    let (seen, arrived) = tokio::sync::mpsc::channel(2);
    let remote = remote(move |mut call: Invocation| {
        let seen = seen.clone();
        async move {
            let body = std::mem::take(call.request.body_mut()).collect(1 << 20).await.unwrap();
            seen.send((call, body)).await.unwrap();
            let response = http::Response::builder().status(418).header("x-a", "1").header("x-a", "2");
            let response = response.header("connection", "x-private").header("x-private", "p");
            Ok(response.body(Body::from("answer")).unwrap())
        }
    })
    .await;
    let mut arrived = arrived;
    for body in [Body::from("whole"), Body::stream(Body::from("whole"))] {
        let mut sent = call(body);
        let headers = sent.request.headers_mut();
        headers.insert(header::TRANSFER_ENCODING, "chunked".parse().unwrap());
        headers.insert(header::CONNECTION, "keep-alive, x-hop".parse().unwrap());
        headers.insert("x-hop", "no".parse().unwrap());
        headers.insert("x-bytes", http::HeaderValue::from_bytes(&[0xff, 0x61]).unwrap());
        let (id, deadline) = (sent.id, sent.deadline);
        let reply = remote.invoke(sent).await.unwrap();
        let (got, body) = arrived.recv().await.unwrap();
        assert_eq!(body, "whole");
        assert_eq!((got.id, got.attempt), (id, 2));
        assert_eq!(got.target, call(Body::empty()).target);
        assert_eq!(got.request.method(), http::Method::POST);
        assert_eq!(got.request.uri(), "http://example.com/a/b?c=d");
        assert_eq!(got.request.headers().len(), 1, "hop-by-hop headers stay: {:?}", got.request.headers());
        assert_eq!(got.request.headers()["x-bytes"].as_bytes(), [0xff, 0x61]);
        let drift = deadline.remaining().abs_diff(got.deadline.remaining());
        assert!(drift < Duration::from_secs(5), "the deadline travels: {drift:?}");

        assert_eq!(reply.response.status(), 418);
        let values: Vec<_> = reply.response.headers().get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(reply.response.headers().len(), 2);
        assert_eq!((&*reply.node, reply.load), ("here", load()));
        assert_eq!(reply.response.into_body().as_whole().unwrap(), "answer", "a small reply is one message");
    }
}

#[tokio::test]
async fn large_bodies_stream_both_ways_and_no_faster_than_they_are_read() {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: usize = 64;
    let remote = remote(|call: Invocation| async { ok(call.request.into_body()) }).await;
    let produced = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&produced);
    let source = stream::iter(0..CHUNKS).map(move |index| {
        counter.fetch_add(CHUNK, Ordering::Relaxed);
        Ok::<_, BodyError>(Frame::data(Bytes::from(vec![u8::try_from(index).unwrap(); CHUNK])))
    });
    let reply = remote.invoke(call(Body::stream(StreamBody::new(source)))).await.unwrap();
    let mut body = reply.response.into_body();
    let (mut read, mut most_ahead) = (0, 0);
    while let Some(frame) = body.frame().await {
        for byte in frame.unwrap().into_data().unwrap() {
            assert_eq!(usize::from(byte), read / CHUNK);
            read += 1;
        }
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        most_ahead = most_ahead.max(produced.load(Ordering::Relaxed) - read);
    }
    assert_eq!(read, CHUNK * CHUNKS);
    assert!(most_ahead < 24 * CHUNK, "{most_ahead} bytes were read ahead");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let remote = remote(|call: Invocation| async { ok(call.request.into_body()) }).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().unwrap());
    let body = frames(vec![Ok(Frame::data(Bytes::from_static(b"data"))), Ok(Frame::trailers(trailers.clone()))]);
    let reply = remote.invoke(call(body)).await.unwrap();
    let collected = BodyExt::collect(reply.response.into_body()).await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "data");
}

#[tokio::test]
async fn a_reply_that_is_dropped_drops_the_workers_body() {
    let (guard, mut gone) = oneshot::channel::<()>();
    let guard = Mutex::new(Some(guard));
    let remote = remote(move |_| {
        let body = endless(guard.lock().unwrap().take().unwrap());
        async { ok(body) }
    })
    .await;
    let mut reply = remote.invoke(call(Body::empty())).await.unwrap();
    let first = reply.response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first");
    assert!(gone.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    drop(reply);
    assert!(gone.await.is_err(), "the guard is dropped, never sent on");
}

#[tokio::test]
async fn a_caller_that_goes_ends_the_workers_future_and_its_own_body() {
    for streamed in [false, true] {
        let (started, running) = oneshot::channel::<()>();
        let (worker, worker_gone) = oneshot::channel::<()>();
        let held = Mutex::new(Some((started, worker)));
        let remote = remote(move |call| {
            let (started, worker) = held.lock().unwrap().take().unwrap();
            async move {
                let _hold = (call, worker);
                started.send(()).unwrap();
                std::future::pending().await
            }
        })
        .await;
        let (source, source_gone) = oneshot::channel::<()>();
        let body = match streamed {
            true => endless(source),
            false => {
                drop(source);
                Body::from("whole")
            }
        };
        let task = tokio::spawn(async move { remote.invoke(call(body)).await.map(drop) });
        running.await.unwrap();
        task.abort();
        assert!(worker_gone.await.is_err());
        assert!(source_gone.await.is_err());
    }
}

#[tokio::test]
async fn a_reply_that_is_dropped_ends_the_request_that_is_still_being_sent() {
    let remote = remote(|call: Invocation| async { ok(call.request.into_body()) }).await;
    let (source, source_gone) = oneshot::channel::<()>();
    let mut reply = remote.invoke(call(endless(source))).await.unwrap();
    let first = reply.response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first");
    drop(reply);
    let gone = tokio::time::timeout(Duration::from_secs(5), source_gone).await;
    assert!(gone.expect("the caller's body is let go").is_err());
}

#[tokio::test]
async fn a_body_that_fails_is_the_callers_error_and_never_looks_complete() {
    let (seen, mut ends) = tokio::sync::mpsc::channel(1);
    let remote = remote(move |call: Invocation| {
        let seen = seen.clone();
        async move {
            let end = call.request.into_body().collect(1 << 20).await.map(|bytes| bytes.len());
            seen.send(end.clone()).await.unwrap();
            end.map(|_| http::Response::new(Body::empty())).map_err(InvokeError::from)
        }
    })
    .await;
    let too_large = BodyError::new(Code::TooLarge, "more than 6 MiB");
    // The end comes only after the caller has seen the failure: what the worker says to it must not win.
    let body = frames(vec![Ok(Frame::data(Bytes::from_static(b"part"))), Err(too_large)]);
    let error = remote.invoke(call(body)).await.unwrap_err();
    assert_eq!((error.code, error.message()), (Code::TooLarge, "more than 6 MiB"));
    assert!(!error.may_move(true));
    // The worker was told, or its future was dropped before it could tell; it never saw a whole body.
    if let Some(Ok(length)) = ends.recv().await {
        panic!("a broken body looked complete, with {length} bytes");
    }
}

#[tokio::test]
async fn a_reply_that_fails_half_way_ends_with_that_error() {
    let remote = remote(|_| async {
        ok(frames(vec![
            Ok(Frame::data(Bytes::from(vec![1; 100 << 10]))),
            Err(BodyError::new(Code::FunctionFailed, "trap")),
        ]))
    })
    .await;
    let mut body = remote.invoke(call(Body::empty())).await.unwrap().response.into_body();
    let mut bytes = 0;
    let error = loop {
        match body.frame().await.expect("the body must not end as if it were whole") {
            Ok(frame) => bytes += frame.into_data().unwrap().len(),
            Err(error) => break error,
        }
    };
    assert_eq!((bytes, error.code, &*error.message), (100 << 10, Code::FunctionFailed, "trap"));
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn only_a_failed_connect_proves_that_nothing_ran() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let unreachable = RemoteNode::new(ME, peers(ClusterId::new(), address));
    for body in [Body::from("x"), Body::stream(Body::from("x"))] {
        let error = unreachable.invoke(call(body)).await.unwrap_err();
        assert_eq!((error.code, error.reached, error.load), (Code::Unavailable, Reached::NotSent, None), "{error}");
    }

    let breaks = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = breaks.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = breaks.accept().await.unwrap();
            socket.readable().await.unwrap();
            drop(socket);
        }
    });
    let breaking = RemoteNode::new(ME, peers(ClusterId::new(), address));
    let error = breaking.invoke(call(Body::from("x"))).await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::OutcomeUnknown, Reached::MaybeRan), "{error}");
}

/// A network on which nobody ever answers.
struct Silence;

#[async_trait]
impl Network for Silence {
    async fn listen(&self, _: SocketAddr) -> io::Result<Arc<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    async fn connect(&self, _: SocketAddr) -> io::Result<Connection> {
        std::future::pending().await
    }
    async fn datagrams(&self, _: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    async fn resolve(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(vec!["192.0.2.1:1".parse().unwrap()])
    }
}

#[tokio::test]
async fn a_connect_that_takes_too_long_has_sent_nothing_either() {
    let peers = Peers::new(ClusterId::new(), Arc::new(Silence), Arc::new(|_| Some("192.0.2.1:1".to_owned())));
    let error = RemoteNode::new(ME, peers).invoke(call(Body::from("x"))).await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::Unavailable, Reached::NotSent), "{error}");
}

#[tokio::test]
async fn a_node_that_is_somebody_else_refuses_before_anything_runs() {
    let cluster = ClusterId::new();
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    let answer = Answer(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { ok(Body::empty()) }
    });
    let address = serve(Arc::new(answer), cluster).await;
    for (node, cluster) in [(NodeId(8), cluster), (ME, ClusterId::new())] {
        let error = RemoteNode::new(node, peers(cluster, address)).invoke(call(Body::from("x"))).await.unwrap_err();
        assert_eq!((error.code, error.reached), (Code::Unavailable, Reached::NotSent), "{error}");
    }
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_worker_that_is_silent_costs_no_more_than_the_deadline() {
    let remote = remote(|_| std::future::pending()).await;
    let mut late = call(Body::from("x"));
    late.deadline = Deadline::after(Duration::from_millis(50));
    let error = remote.invoke(late).await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::DeadlineExceeded, Reached::MaybeRan), "{error}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_before_it_is_sent() {
    let remote = remote(|_| async { ok(Body::empty()) }).await;
    let mut fat = call(Body::empty());
    for index in 0..300 {
        let name: http::HeaderName = format!("x-{index}").parse().unwrap();
        fat.request.headers_mut().insert(name, "v".repeat(1_000).parse().unwrap());
    }
    let error = remote.invoke(fat).await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::TooLarge, Reached::NotSent));
}
