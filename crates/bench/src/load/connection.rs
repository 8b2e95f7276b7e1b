//! One HTTP/1.1 connection, with as little around it as possible.

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Connection {
    /// Connects to the authority of a URL.
    pub(crate) async fn to(uri: &Uri) -> anyhow::Result<Self> {
        let authority = uri.authority().with_context(|| format!("{uri} names no host"))?;
        let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped.
        #[allow(clippy::disallowed_methods, reason = "the connection's own half; it ends with the sender")]
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender })
    }

    /// Whether another request can be sent.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        self.sender.ready().await?;
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// A GET.
    pub(crate) async fn get(&mut self, uri: &Uri) -> anyhow::Result<Answer> {
        self.send(request(http::Method::GET, uri, Bytes::new())?).await
    }
}

/// A request as HTTP/1.1 wants it: the path in the head, the host in a header.
pub(crate) fn request(method: http::Method, uri: &Uri, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::builder().method(method).uri(path).header(header::HOST, host);
    request.body(Full::new(body)).context("a request")
}
