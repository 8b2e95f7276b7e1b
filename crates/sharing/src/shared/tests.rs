//! The whole way of a call, in front of a function that does what a test says.

use std::{
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use onrush_invoke::{BodyError, Caching, Coalesce, SharingKey, Target};
use onrush_types::{FunctionName, Revision, VersionNumber};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::*;

mod caching;
mod cluster;
mod coalescing;
mod streaming;

/// What the function does with its call number so and so, from 1.
type Does = Box<
    dyn Fn(usize, Invocation) -> Pin<Box<dyn Future<Output = Result<Response<Body>, InvokeError>> + Send>>
        + Send
        + Sync,
>;

/// Headers.
type Pairs = &'static [(&'static str, &'static str)];

/// A function that does what a test says, and counts.
struct Function {
    does: Does,
    calls: AtomicUsize,
    running: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Function {
    fn new<D, F>(does: D) -> Arc<Self>
    where
        D: Fn(usize, Invocation) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, InvokeError>> + Send + 'static,
    {
        let does: Does = Box::new(move |index, call| Box::pin(does(index, call)));
        Arc::new(Self { does, calls: AtomicUsize::new(0), running: Arc::default() })
    }

    /// Takes 100 ms and answers with its call's number and these headers.
    fn slow(headers: Pairs) -> Arc<Self> {
        Self::new(move |index, _| async move {
            sleep(Duration::from_millis(100)).await;
            Ok(response(200, headers, &format!("reply {index}")))
        })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Invoke for Function {
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError> {
        let index = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.running.fetch_add(1, Ordering::SeqCst);
        let guard = Running(Arc::clone(&self.running));
        let response = (self.does)(index, call).await?;
        let response = response.map(|body| match body.as_whole() {
            Some(_) => body,
            None => Body::stream(onrush_invoke::GuardedBody::new(body, guard)),
        });
        Ok(Reply { response, node: "n-1".into(), load: LoadReport::default() })
    }
}

fn response(status: u16, headers: &[(&'static str, &str)], body: &str) -> Response<Body> {
    let mut response = Response::new(Body::whole(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    response
}

/// The wall clock goes with tokio's.
struct Clock(Instant);

impl WallClock for Clock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

/// Lifetimes are taken as they are.
struct Even;

impl Entropy for Even {
    fn next_u64(&self) -> u64 {
        10
    }
}

fn shared_with(config: Config, inner: &Arc<Function>, scope: Scope) -> Arc<SharedInvoke> {
    let load = || LoadReport { in_flight: 7, ..LoadReport::default() };
    let seams: (Arc<dyn WallClock>, Arc<dyn Entropy>) = (Arc::new(Clock(Instant::now())), Arc::new(Even));
    SharedInvoke::with_seams(config, inner.clone(), (scope, Box::new(load)), seams)
}

fn shared(inner: &Arc<Function>) -> Arc<SharedInvoke> {
    shared_with(Config::default(), inner, Scope::Gateway)
}

fn coalesce() -> Coalesce {
    Coalesce { waiters: 10_000, share_errors: false, lock_age: Duration::from_secs(5) }
}

fn caching() -> Caching {
    Caching {
        obey_request: false,
        ttl: None,
        stale_while_revalidate: None,
        stale_if_error: None,
        hit_for_miss: Duration::from_secs(10),
    }
}

fn both() -> Sharing {
    Sharing {
        key: SharingKey([1; 32]),
        scope: Scope::Gateway,
        coalesce: Some(coalesce()),
        cache: Some(caching()),
        largest: 1 << 20,
        timeout: Some(Duration::from_secs(20)),
    }
}

fn coalesced() -> Sharing {
    Sharing { cache: None, ..both() }
}

fn cached() -> Sharing {
    Sharing { coalesce: None, ..both() }
}

fn call(sharing: &Sharing, headers: &[(&'static str, &str)]) -> Invocation {
    let mut request = http::Request::new(Body::empty());
    *request.uri_mut() = "http://example.com/x".parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let function = FunctionName::new("default".parse().unwrap(), "f".parse().unwrap());
    Invocation {
        id: InvocationId::new(),
        target: Target { function, version: VersionNumber(1), revision: Revision(1) },
        deadline: Deadline::after(Duration::from_secs(10)),
        attempt: 1,
        sharing: Some(Box::new(sharing.clone())),
        request,
    }
}

/// Status, what is said of the cache, and the body.
async fn read(reply: Reply) -> (u16, String, String) {
    let (parts, body) = reply.response.into_parts();
    let said = parts.headers.get(header::CACHE_STATUS).map_or("", |value| value.to_str().unwrap()).to_owned();
    let body = body.collect(1 << 20).await.unwrap();
    (parts.status.as_u16(), said, String::from_utf8(body.to_vec()).unwrap())
}

async fn ask(shared: &SharedInvoke, sharing: &Sharing, headers: &[(&'static str, &str)]) -> (u16, String, String) {
    read(shared.invoke(call(sharing, headers)).await.unwrap()).await
}

type Answers = Vec<Result<(u16, String, String), InvokeError>>;

/// So many at once; what they got.
async fn ask_many(shared: &Arc<SharedInvoke>, sharing: &Sharing, count: usize) -> Answers {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let (shared, call) = (Arc::clone(shared), call(sharing, &[]));
        calls.spawn(async move {
            let reply = shared.invoke(call).await?;
            Ok(read(reply).await)
        });
    }
    calls.join_all().await
}

fn begin(shared: &Arc<SharedInvoke>, call: Invocation) -> JoinHandle<Result<Reply, InvokeError>> {
    let shared = Arc::clone(shared);
    tokio::spawn(async move { shared.invoke(call).await })
}

/// Lets everything happen that can, and no time pass.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A body that a test sends.
struct Coming(mpsc::Receiver<Result<Bytes, BodyError>>, Option<u64>);

impl http_body::Body for Coming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.1.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}
