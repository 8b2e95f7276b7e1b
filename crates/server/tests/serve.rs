//! The accept loop over real sockets: slow peers, caps, drain and force, both protocols.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{
    convert::Infallible,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use onrush_server::{BindError, BoundServer, Config, Peer, Server, Summary};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

struct Running {
    address: std::net::SocketAddr,
    drain: CancellationToken,
    force: CancellationToken,
    /// Requests that have begun.
    began: Arc<AtomicUsize>,
    /// Requests that are not answered and not dropped.
    held: Arc<AtomicUsize>,
    /// Each permit lets one `/wait` go.
    go: Arc<Semaphore>,
    server: JoinHandle<Summary>,
}

struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// So many connections, and all of them may be of one address.
fn places(most: usize) -> Config {
    let most = NonZeroUsize::new(most).unwrap();
    Config { max_connections: most, max_connections_per_ip: NonZeroUsize::new(100), ..Config::default() }
}

fn start(config: Config) -> Running {
    let bound = Server::bind(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    run(bound)
}

fn run(bound: BoundServer) -> Running {
    let (drain, force) = (CancellationToken::new(), CancellationToken::new());
    let (began, held, go) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::new(Semaphore::new(0)));
    let address = bound.local_addr();
    let state = (Arc::clone(&began), Arc::clone(&held), Arc::clone(&go));
    let service = move |peer: Peer| {
        let state = state.clone();
        service_fn(move |request: Request<Incoming>| {
            let (began, held, go) = state.clone();
            held.fetch_add(1, SeqCst);
            let held = Held(held);
            began.fetch_add(1, SeqCst);
            async move {
                let _held = held;
                if request.uri().path() == "/wait" {
                    go.acquire().await.unwrap().forget();
                }
                let text = format!("{:?} {}", request.version(), peer.0.ip());
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
            }
        })
    };
    let server = tokio::spawn(bound.serve(service, drain.clone(), force.clone()));
    Running { address, drain, force, began, held, go, server }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn until_begun(&self, wanted: usize) {
        until(|| self.began.load(SeqCst) >= wanted).await;
    }
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the condition holds in time");
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n";

async fn answer(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    read_answer(stream).await
}

async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"127.0.0.1") {
        let read = stream.read_buf(&mut text).await.unwrap();
        assert!(read > 0, "the connection ended after {:?}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

async fn at_end(stream: &mut TcpStream) -> bool {
    let mut rest = [0; 64];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut rest)).await;
    matches!(read.expect("the server closes in time"), Ok(0) | Err(_))
}

async fn http2(running: &Running) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let io = TokioIo::new(running.connect().await);
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    client
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://h{path}")).body(Full::default()).unwrap()
}

#[tokio::test]
async fn both_protocols_are_served_and_the_peer_is_known() {
    let running = start(Config::default());
    let mut stream = running.connect().await;
    assert!(answer(&mut stream, GET).await.ends_with("HTTP/1.1 127.0.0.1"));
    assert!(answer(&mut stream, GET).await.starts_with("HTTP/1.1 200"), "kept alive");
    let mut client = http2(&running).await;
    let body = client.send_request(get("/")).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "HTTP/2.0 127.0.0.1");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_advice() {
    let first = Server::bind(Config::default(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let error = Server::bind(Config::default(), first.local_addr()).err().unwrap();
    assert!(matches!(error, BindError::InUse(address) if address == first.local_addr()));
    assert!(error.to_string().contains(&first.local_addr().to_string()));
}

#[tokio::test]
async fn slow_heads_are_cut_in_every_stage_and_a_quiet_connection_is_not() {
    let short = Duration::from_millis(200);
    let running = start(Config { header_read_timeout: short, ..Config::default() });
    let mut kept = running.connect().await;
    answer(&mut kept, GET).await;
    for start in [&b""[..], b"PRI * HTTP", b"GET / HTTP/1.1\r\nx: "] {
        let mut slow = running.connect().await;
        slow.write_all(start).await.unwrap();
        assert!(at_end(&mut slow).await, "{start:?}");
    }
    answer(&mut kept, GET).await;
    kept.write_all(b"GET").await.unwrap();
    assert!(at_end(&mut kept).await, "a later head has the same limit");
}

#[tokio::test]
async fn an_idle_connection_is_closed_whatever_it_speaks() {
    let running = start(Config { keep_alive_idle: Duration::from_millis(200), ..Config::default() });
    let mut stream = running.connect().await;
    answer(&mut stream, GET).await;
    assert!(at_end(&mut stream).await);
    let mut client = http2(&running).await;
    client.send_request(get("/")).await.unwrap();
    until(|| client.is_closed()).await;
}

#[tokio::test]
async fn connections_over_the_cap_wait_in_the_kernel_until_one_ends() {
    let running = start(places(1));
    let mut first = running.connect().await;
    first.write_all(WAIT).await.unwrap();
    running.until_begun(1).await;
    let (mut second, mut third) = (running.connect().await, running.connect().await);
    second.write_all(WAIT).await.unwrap();
    third.write_all(WAIT).await.unwrap();
    // The one that is in the lobby looks for room again and again.
    tokio::time::timeout(Duration::from_millis(200), running.until_begun(2)).await.unwrap_err();
    for (waits, begun) in [(&mut first, 2), (&mut second, 3), (&mut third, 3)] {
        running.go.add_permits(1);
        assert!(read_answer(waits).await.starts_with("HTTP/1.1 200"));
        // It is quiet now, and another wants its place.
        running.until_begun(begun).await;
    }
    running.drain.cancel();
    assert_eq!(running.server.await.unwrap(), Summary { served: 3, refused: 0, evicted: 2, forced: 0 });
}

#[tokio::test]
async fn who_has_no_request_makes_room_and_who_has_one_stays() {
    let running = start(places(2));
    let (mut busy, mut idle) = (running.connect().await, running.connect().await);
    answer(&mut idle, GET).await;
    busy.write_all(WAIT).await.unwrap();
    running.until_begun(2).await;
    let mut newcomer = running.connect().await;
    assert!(answer(&mut newcomer, GET).await.starts_with("HTTP/1.1 200"));
    assert!(at_end(&mut idle).await);
    running.go.add_permits(1);
    assert!(read_answer(&mut busy).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_address_has_no_more_connections_than_its_cap() {
    let running = start(Config { max_connections_per_ip: Some(NonZeroUsize::MIN), ..Config::default() });
    let mut first = running.connect().await;
    answer(&mut first, GET).await;
    assert!(at_end(&mut running.connect().await).await);
    answer(&mut first, GET).await;
    running.drain.cancel();
    assert_eq!(running.server.await.unwrap(), Summary { served: 1, refused: 1, evicted: 0, forced: 0 });
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_finishes_requests_in_flight() {
    let running = start(Config::default());
    let mut idle = running.connect().await;
    answer(&mut idle, GET).await;
    let mut busy = running.connect().await;
    busy.write_all(WAIT).await.unwrap();
    let mut client = http2(&running).await;
    let other = tokio::spawn(client.send_request(get("/wait")));
    running.until_begun(3).await;
    running.drain.cancel();
    assert!(at_end(&mut idle).await);
    assert!(TcpStream::connect(running.address).await.is_err(), "nothing new is taken");
    running.go.add_permits(2);
    assert!(read_answer(&mut busy).await.starts_with("HTTP/1.1 200"));
    assert_eq!(other.await.unwrap().unwrap().status(), 200);
    assert_eq!(running.server.await.unwrap(), Summary { served: 3, refused: 0, evicted: 0, forced: 0 });
}

#[tokio::test]
async fn force_ends_requests_in_flight_on_both_protocols() {
    let running = start(Config::default());
    let mut busy = running.connect().await;
    busy.write_all(WAIT).await.unwrap();
    let mut client = http2(&running).await;
    let other = tokio::spawn(client.send_request(get("/wait")));
    running.until_begun(2).await;
    running.drain.cancel();
    running.force.cancel();
    assert_eq!(running.server.await.unwrap(), Summary { served: 2, refused: 0, evicted: 0, forced: 2 });
    assert_eq!(running.held.load(SeqCst), 0, "no request outlives its server");
    assert!(at_end(&mut busy).await);
    assert!(other.await.unwrap().is_err());
}

#[tokio::test]
async fn a_drain_has_its_grace_and_no_more() {
    let running = start(Config { drain_grace: Duration::from_millis(100), ..Config::default() });
    let mut busy = running.connect().await;
    busy.write_all(WAIT).await.unwrap();
    running.until_begun(1).await;
    running.drain.cancel();
    assert_eq!(running.server.await.unwrap().forced, 1);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let running = start(Config::default());
    let mut busy = running.connect().await;
    busy.write_all(WAIT).await.unwrap();
    running.until_begun(1).await;
    drop(busy);
    until(|| running.held.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn listeners_of_the_network_seam_and_services_of_tower_are_served_too() {
    let listener = onrush_seams::Network::listen(&onrush_seams::TokioNetwork, "127.0.0.1:0".parse().unwrap()).await;
    let server = Server::over(Config::peers(), listener.unwrap()).unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let service = tower::service_fn(|request: Request<Incoming>| async move {
        let peer = request.extensions().get::<Peer>().unwrap().0.ip();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(peer.to_string()))))
    });
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.serve(onrush_server::tower(service), stop.clone(), stop.clone()));
    assert!(answer(&mut stream, GET).await.ends_with("127.0.0.1"));
    stop.cancel();
    assert_eq!(running.await.unwrap().served, 1);
}

/// Fails with "out of file descriptors" a few times, then works.
struct Starved {
    inner: tokio::net::TcpListener,
    failures: AtomicUsize,
}

impl onrush_server::Accept for Starved {
    type Io = TcpStream;

    fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        self.inner.local_addr()
    }

    async fn accept(&self) -> std::io::Result<(TcpStream, std::net::SocketAddr)> {
        const EMFILE: i32 = 24;
        let left = self.failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Err(std::io::Error::from_raw_os_error(EMFILE)) } else { self.inner.accept().await }
    }
}

#[tokio::test]
async fn running_out_of_descriptors_does_not_end_the_loop() {
    let inner = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::over(Config::default(), Starved { inner, failures: 3.into() }).unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let service = |peer: Peer| {
        service_fn(move |_: Request<Incoming>| async move {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(peer.0.ip().to_string()))))
        })
    };
    let stop = CancellationToken::new();
    tokio::spawn(server.serve(service, stop.clone(), stop.clone()));
    assert!(answer(&mut stream, GET).await.starts_with("HTTP/1.1 200"));
}
