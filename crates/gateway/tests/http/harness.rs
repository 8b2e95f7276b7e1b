//! A gateway on a port of its own, and a client for it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Body as HttpBody;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use onrush_catalog::{CatalogStore, Command, Proposal, fake::FakeStore};
use onrush_gateway::{Config, Gateway, Health, Parts};
use onrush_invoke::{Body, Invocation, Invoke, InvokeError, LoadReport, Reply};
use onrush_server::{Server, Summary};
use onrush_types::{
    ArtifactRef, ClusterView, Digest, FunctionSpec, NodeAddresses, NodeId, NodeInfo, RequestId, Roles, RuntimeKind,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Health as a test wants it.
#[derive(Default)]
pub(crate) struct Switch {
    pub(crate) unready: AtomicBool,
    pub(crate) dead: AtomicBool,
}

impl Health for Switch {
    fn ready(&self) -> Result<(), String> {
        if self.unready.load(SeqCst) { Err("still joining".to_owned()) } else { Ok(()) }
    }

    fn live(&self) -> Result<(), String> {
        if self.dead.load(SeqCst) { Err("the disk is gone".to_owned()) } else { Ok(()) }
    }
}

/// Counts calls that run: a guard in a future or in a body.
pub(crate) struct Running(Arc<AtomicUsize>);

impl Running {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

pub(crate) type Answer = Box<dyn Fn(Invocation) -> AnswerFuture + Send + Sync>;
pub(crate) type AnswerFuture = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, InvokeError>> + Send>>;

/// Runs a closure as the function, and keeps what it saw.
pub(crate) struct Guest {
    answer: Answer,
    pub(crate) seen: Mutex<Vec<(http::request::Parts, onrush_invoke::Target, Duration, bool)>>,
    pub(crate) running: Arc<AtomicUsize>,
}

#[async_trait]
impl Invoke for Guest {
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError> {
        let _running = Running::new(&self.running);
        let (parts, body) = call.request.into_parts();
        let whole = body.as_whole().is_some();
        self.seen.lock().unwrap().push((parts.clone(), call.target.clone(), call.deadline.remaining(), whole));
        let request = Request::from_parts(parts, body);
        let response = (self.answer)(Invocation { request, ..call }).await?;
        Ok(Reply { response, node: "worker-7".into(), load: LoadReport::default() })
    }
}

/// A running gateway.
pub(crate) struct Fixture {
    pub(crate) address: SocketAddr,
    pub(crate) guest: Arc<Guest>,
    pub(crate) health: Arc<Switch>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) view: watch::Sender<Arc<ClusterView>>,
    pub(crate) drain: CancellationToken,
    pub(crate) force: CancellationToken,
    pub(crate) server: JoinHandle<Summary>,
    pub(crate) client: Client<HttpConnector, Full<Bytes>>,
}

/// A gateway whose functions all answer like this.
pub(crate) async fn gateway<F, R>(config: Config, answer: F) -> Fixture
where
    F: Fn(Invocation) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Response<Body>, InvokeError>> + Send + 'static,
{
    let guest = guest(answer);
    let (store, health) = (FakeStore::new(), Arc::<Switch>::default());
    let view = watch::Sender::new(Arc::new(ClusterView::empty(NodeId(1))));
    let parts = Parts {
        invoke: Arc::clone(&guest) as Arc<dyn Invoke>,
        catalog: store.watch(),
        view: view.subscribe(),
        health: Arc::clone(&health) as Arc<dyn Health>,
        node: "node-1".into(),
    };
    let gateway = Gateway::new(config.clone(), parts).unwrap();
    let fixture = Fixture { view, ..serve(gateway, config, guest, store, health) };
    fixture.deploy("hello", |_| {}).await;
    fixture
}

pub(crate) fn guest<F, R>(answer: F) -> Arc<Guest>
where
    F: Fn(Invocation) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Response<Body>, InvokeError>> + Send + 'static,
{
    let answer: Answer = Box::new(move |call| Box::pin(answer(call)));
    Arc::new(Guest { answer, seen: Mutex::default(), running: Arc::default() })
}

pub(crate) fn serve(
    gateway: Gateway,
    config: Config,
    guest: Arc<Guest>,
    store: Arc<FakeStore>,
    health: Arc<Switch>,
) -> Fixture {
    let bound = Server::bind(config.server, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr();
    let (drain, force) = (CancellationToken::new(), CancellationToken::new());
    let server = tokio::spawn(gateway.serve(bound, drain.clone(), force.clone()));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let view = watch::Sender::new(Arc::new(ClusterView::empty(NodeId(1))));
    Fixture { address, guest, health, store, view, drain, force, server, client }
}

/// Answers with what it was sent.
pub(crate) async fn echo(call: Invocation) -> Result<Response<Body>, InvokeError> {
    Ok(Response::new(call.request.into_body()))
}

/// An answer as a client saw it.
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}")).to_str().unwrap()
    }
}

impl Fixture {
    pub(crate) async fn deploy(&self, name: &str, change: impl Fn(&mut FunctionSpec)) {
        let artifact = ArtifactRef { digest: Digest([7; 32]), size: 1 };
        let mut spec = FunctionSpec::new(RuntimeKind::Wasm, artifact);
        change(&mut spec);
        let name = format!("{name}.default");
        let (name, namespace) = name.split_once('.').unwrap();
        let namespace = namespace.split('.').next().unwrap();
        let name = onrush_types::FunctionName::new(namespace.parse().unwrap(), name.parse().unwrap());
        let command = Command::PutFunction { name, spec, expected: None };
        let proposal = Proposal { request: RequestId::new(), at_ms: 0, command };
        self.store.commit(proposal, Duration::from_secs(1)).await.unwrap();
    }

    /// Sets a route of the default namespace. Filters are not checked: that is the API's.
    pub(crate) async fn route(&self, name: &str, spec: serde_json::Value) {
        let name = onrush_types::RouteName::new("default".parse().unwrap(), name.parse().unwrap());
        let spec = serde_json::from_value(spec).unwrap();
        self.commit(Command::SetRoute { name, spec, expected: None, needs_idempotence: false }).await;
    }

    pub(crate) async fn remove_route(&self, name: &str) {
        let name = onrush_types::RouteName::new("default".parse().unwrap(), name.parse().unwrap());
        self.commit(Command::RemoveRoute { name }).await;
    }

    async fn commit(&self, command: Command) {
        let proposal = Proposal { request: RequestId::new(), at_ms: 0, command };
        let committed = self.store.commit(proposal, Duration::from_secs(1)).await.unwrap();
        committed.accepted().unwrap();
    }

    /// Says that so many gateways are alive, and waits until that is heard.
    pub(crate) async fn gateways(&self, count: u64) {
        let mut view = ClusterView::empty(NodeId(1));
        for id in 1..=count {
            let at = self.address;
            let node = NodeInfo {
                id: NodeId(id),
                name: format!("node-{id}").parse().unwrap(),
                addresses: NodeAddresses { gateway: at, api: at, peer: at },
                roles: Roles::default(),
                slots: 1,
                speed: 100,
                zone: None,
                generation: 1,
                draining: false,
                ready: true,
                alive: true,
                version: String::new(),
            };
            view.nodes.insert(NodeId(id), Arc::new(node));
        }
        self.view.send_replace(Arc::new(view));
        // The next route is only there when what came before was heard.
        self.route("heard", serde_json::json!({ "path": "/heard", "function": "hello" })).await;
        self.get("/heard").await;
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}{path}", self.address))
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Seen {
        let (parts, body) = self.client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Seen { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Seen {
        self.send(self.request("GET", path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Seen {
        self.send(self.request("POST", path).body(Full::new(body.into())).unwrap()).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    pub(crate) async fn until_running(&self, wanted: usize) {
        until(|| self.guest.running.load(SeqCst) == wanted).await;
    }
}

/// Everything until the server closes.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut text)).await;
    // A reset ends a connection as well as a close does.
    let _ended = read.expect("the server closes in time");
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads until the text has this in it.
pub(crate) async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&text).contains(wanted) {
            let read = stream.read_buf(&mut text).await.unwrap();
            assert!(read > 0, "no {wanted:?} in {:?}", String::from_utf8_lossy(&text));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("the text comes in time");
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the condition holds in time");
}

/// A body that a test feeds frame by frame; ends when the sender is dropped.
pub(crate) fn channel() -> (tokio::sync::mpsc::Sender<Result<Bytes, onrush_invoke::BodyError>>, Fed) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    (sender, Fed { receiver, guard: None })
}

pub(crate) struct Fed {
    receiver: tokio::sync::mpsc::Receiver<Result<Bytes, onrush_invoke::BodyError>>,
    /// Dropped with the body.
    pub(crate) guard: Option<Running>,
}

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = onrush_invoke::BodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        self.receiver.poll_recv(cx).map(|next| next.map(|data| data.map(hyper::body::Frame::data)))
    }
}
