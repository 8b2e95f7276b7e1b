//! One connection, from its first byte to its last.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, rt::Executor, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use crate::{
    Config, Peer,
    activity::{Activity, Patience, Verdict},
    io::Watched,
    service::Counted,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs the requests of HTTP/2 connections, so that the server can wait for them.
#[derive(Clone)]
pub(crate) struct Streams(pub(crate) TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// How connections are served; made once per listener.
pub(crate) struct Protocol {
    builder: auto::Builder<Streams>,
    patience: Patience,
    enough: usize,
    most_resets: u32,
}

impl Protocol {
    pub(crate) fn new(config: &Config, streams: TaskTracker) -> Self {
        let mut builder = auto::Builder::new(Streams(streams));
        // No timer of hyper's for heads: see `activity.rs`.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(config.max_header_bytes.max(8_192));
        if config.max_headers != 100 {
            builder.http1().max_headers(config.max_headers);
        }
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.http2_max_streams)
            .max_header_list_size(config.http2_max_header_list_bytes)
            .initial_stream_window_size(config.http2_stream_window_bytes)
            .initial_connection_window_size(config.http2_connection_window_bytes)
            .max_send_buf_size(config.http2_send_buffer_bytes)
            .max_pending_accept_reset_streams(config.http2_max_pending_resets)
            .max_local_error_reset_streams(config.http2_max_error_resets)
            .keep_alive_interval(config.http2_ping_interval)
            .keep_alive_timeout(config.http2_ping_timeout);
        let patience = Patience {
            head: config.header_read_timeout,
            idle: config.keep_alive_idle,
            write: config.write_stall_timeout,
            reply: config.reply_stall_timeout,
        };
        let enough = u128::from(config.reply_min_rate) * config.reply_stall_timeout.as_millis() / 1_000;
        let enough = usize::try_from(enough).unwrap_or(usize::MAX).max(1);
        Self { builder, patience, enough, most_resets: config.http2_max_resets }
    }

    /// The eye on a connection that begins now.
    pub(crate) fn watch(&self) -> Arc<Activity> {
        Arc::new(Activity::new(Instant::now(), self.enough))
    }

    /// Serves one connection until it ends, is too slow, or is drained.
    pub(crate) async fn serve<T, S, B>(
        &self,
        io: T,
        service: S,
        (peer, activity): (Peer, Arc<Activity>),
        drain: CancellationToken,
    ) where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<B>>,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let io = TokioIo::new(Watched::new(io, Arc::clone(&activity)));
        let service = Counted { inner: service, activity: Arc::clone(&activity) };
        let mut connection = pin!(self.builder.serve_connection(io, service));
        let mut look = pin!(tokio::time::sleep(self.patience.shortest()));
        let (mut drained, mut closing) = (false, false);
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        debug!(peer = %peer.0, %error, "connection ended");
                    }
                    return;
                }
                // The resets themselves wake the connection: there is nothing to wait for.
                () = poll_fn(|_| if activity.floods(self.most_resets) { Poll::Ready(()) } else { Poll::Pending }) => {
                    debug!(peer = %peer.0, "connection cut: the peer resets most of its requests");
                    return;
                }
                () = drain.cancelled(), if !drained => {
                    drained = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = look.as_mut() => match activity.judge(Instant::now(), self.patience) {
                    Verdict::LookAgain(when) => look.as_mut().reset(when),
                    Verdict::Cut(why) => {
                        debug!(peer = %peer.0, why, "connection cut");
                        return;
                    }
                    // The peer had its chance to go in peace.
                    Verdict::Idle if closing => return,
                    Verdict::Idle => {
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                        look.as_mut().reset(Instant::now() + Duration::from_secs(1));
                    }
                },
            }
        }
    }
}
