//! A server that can be hurt in many ways, and the good client who must not notice.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::{body::Incoming, service::service_fn};
use onrush_server::{Config, Peer, Server, Summary};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const SHORT: Duration = Duration::from_millis(200);
const IN_TIME: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) drain: CancellationToken,
    pub(crate) server: JoinHandle<Summary>,
    /// Requests that have begun.
    pub(crate) began: Arc<AtomicUsize>,
    /// Requests and replies that are still there.
    pub(crate) held: Arc<AtomicUsize>,
}

/// A reply's bytes: held until the last of them is gone.
struct Owned(Vec<u8>, #[allow(dead_code, reason = "lives as long as the bytes")] Held);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Counts what is alive.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// So many pieces of so many bytes.
struct Pieces {
    left: usize,
    piece: Bytes,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}

async fn answer(request: Request<Incoming>, held: Held) -> Result<Response<Pieces>, Infallible> {
    let (left, bytes) = match request.uri().path() {
        "/wait" => std::future::pending().await,
        // More than any socket's buffers, in one piece and in many.
        "/large" => (1, 64 << 20),
        "/endless" => (usize::MAX, 16 << 10),
        _ => (1, 2),
    };
    let piece = Bytes::from_owner(Owned(vec![b'k'; bytes], held));
    Ok(Response::new(Pieces { left, piece }))
}

pub(crate) fn start(config: Config) -> Running {
    let bound = Server::bind(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, drain) = (bound.local_addr(), CancellationToken::new());
    let (began, held) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counts = (Arc::clone(&began), Arc::clone(&held));
    let service = move |_: Peer| {
        let (began, held) = counts.clone();
        service_fn(move |request: Request<Incoming>| {
            held.fetch_add(1, SeqCst);
            began.fetch_add(1, SeqCst);
            answer(request, Held(Arc::clone(&held)))
        })
    };
    let server = tokio::spawn(bound.serve(service, drain.clone(), CancellationToken::new()));
    Running { address, drain, server, began, held }
}

impl Running {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// From another address of this machine.
    pub(crate) async fn connect_from(&self, ip: &str) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        socket.connect(self.address).await
    }

    pub(crate) fn begun(&self) -> usize {
        self.began.load(SeqCst)
    }

    /// Somebody else is served, on a connection of its own.
    pub(crate) async fn serves_others(&self) {
        assert!(says(&mut self.connect().await, GET).await.starts_with("HTTP/1.1 200"));
    }

    /// No request and no reply is left.
    pub(crate) async fn all_released(&self) {
        until("all requests to be released", || self.held.load(SeqCst) == 0).await;
    }
}

pub(crate) const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";

/// Sends a request; the reply's first bytes.
pub(crate) async fn says(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut bytes = vec![0; 4_096];
    let read = in_time("an answer", stream.read(&mut bytes)).await.unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// Reads until the server closes.
pub(crate) async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end too.
    in_time("the end of the connection", stream.read_to_end(&mut bytes)).await.ok();
    bytes
}

pub(crate) async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let Ok(result) = tokio::time::timeout(IN_TIME, wait).await else { panic!("waited in vain for {what}") };
    result
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    in_time(what, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
