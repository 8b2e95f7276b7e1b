//! A plain web server on hyper: the origin behind a proxy, with nothing but its answer.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Serves until it is ended.
pub(crate) async fn serve(addr: SocketAddr, bytes: usize) -> anyhow::Result<()> {
    let listener = TcpListener::bind(addr).await?;
    let body = Bytes::from(vec![b'o'; bytes]);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        // Connections end with the process; nothing waits for them.
        #[allow(clippy::disallowed_methods, reason = "a bench origin has no one who would supervise it")]
        tokio::spawn(async move {
            let answer = service_fn(move |_: Request<Incoming>| {
                let mut response = Response::new(Full::new(body.clone()));
                let cacheable = http::HeaderValue::from_static("max-age=3600");
                response.headers_mut().insert(http::header::CACHE_CONTROL, cacheable);
                async move { Ok::<_, Infallible>(response) }
            });
            drop(http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), answer).await);
        });
    }
}
