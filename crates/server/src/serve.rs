//! Accept, drain, force.

use std::{io, net::SocketAddr, os::fd::AsFd, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, service::Service};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

use crate::{
    Accept, BindError, Config, Peer,
    bind::listen,
    connection::Protocol,
    per_ip::{PerIp, Place},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where the pause after a failed accept begins and ends: out of file descriptors, only time and others' closing help.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// A listener that is not served yet.
pub struct Server<A> {
    accept: A,
    local_addr: SocketAddr,
    config: Config,
}

/// A listener on the operating system's TCP.
pub type BoundServer = Server<TcpListener>;

/// What a listener did in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Connections that were served.
    pub served: u64,
    /// Connections that were closed at once, because their address had too many.
    pub refused: u64,
    /// Connections that were cut off, because they outlived the drain.
    pub forced: u64,
}

impl Server<TcpListener> {
    /// Listens on `address`; port 0 picks a free one. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] names the address and what to do.
    pub fn bind(config: Config, address: SocketAddr) -> Result<Self, BindError> {
        Self::over(config, listen(address)?).map_err(|error| BindError::Failed(address, error))
    }

    /// A second server on the same listener, for another time of its life: whichever of the two is served takes the
    /// connections. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// Those of the operating system, such as too many open files.
    pub fn another(&self) -> io::Result<Self> {
        let copy = std::net::TcpListener::from(self.accept.as_fd().try_clone_to_owned()?);
        Self::over(self.config.clone(), TcpListener::from_std(copy)?)
    }
}

impl<A: Accept> Server<A> {
    /// Serves what another listener accepts.
    ///
    /// # Errors
    /// The listener does not know its address.
    pub fn over(config: Config, accept: A) -> io::Result<Self> {
        let local_addr = accept.local_addr()?;
        Ok(Self { accept, local_addr, config })
    }

    /// The address that was bound: port 0 has become a real one.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves each connection with what `service` makes for its peer.
    ///
    /// `drain` stops accepting and lets requests in flight finish, for the configured grace at most; `force`, at any
    /// time, cuts off what is left. Returns when no connection is left.
    pub async fn serve<F, S, B>(self, service: F, drain: CancellationToken, force: CancellationToken) -> Summary
    where
        F: Fn(Peer) -> S,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let Self { accept, config, .. } = self;
        let streams = TaskTracker::new();
        let protocol = Arc::new(Protocol::new(&config, streams.clone()));
        let mut connections = Connections::new(&config);
        let mut pause = Pause::default();
        loop {
            // A place is free before a connection is taken: the ones that wait cost the kernel's queue, not our memory.
            let free = connections.tasks.len() < config.max_connections.get();
            tokio::select! {
                biased;
                () = force.cancelled() => break,
                () = drain.cancelled() => break,
                Some(ended) = connections.tasks.join_next() => report(ended),
                accepted = pause.then(accept.accept()), if free => match accepted {
                    Ok((io, peer)) => {
                        pause = Pause::default();
                        let Some(place) = connections.enter(peer) else { continue };
                        let service = service(Peer(peer));
                        let (protocol, drain) = (Arc::clone(&protocol), drain.child_token());
                        connections.spawn(place, async move { protocol.serve(io, service, Peer(peer), drain).await });
                    }
                    Err(error) => pause.after(&error),
                },
            }
        }
        drop(accept);
        connections.end(&streams, config.drain_grace, force).await
    }
}

/// The connections that there are.
struct Connections {
    tasks: JoinSet<()>,
    per_ip: PerIp,
    summary: Summary,
}

impl Connections {
    fn new(config: &Config) -> Self {
        let per_ip = PerIp::new(config.max_connections_per_ip);
        Self { tasks: JoinSet::new(), per_ip, summary: Summary::default() }
    }

    fn enter(&mut self, peer: SocketAddr) -> Option<Place> {
        let place = self.per_ip.enter(peer);
        if place.is_none() {
            self.summary.refused += 1;
        }
        place
    }

    fn spawn(&mut self, place: Place, connection: impl Future<Output = ()> + Send + 'static) {
        self.summary.served += 1;
        self.tasks.spawn(async move {
            connection.await;
            drop(place);
        });
    }

    async fn end(mut self, streams: &TaskTracker, grace: Duration, force: CancellationToken) -> Summary {
        let drained = async { while self.tasks.join_next().await.map(report).is_some() {} };
        tokio::select! {
            biased;
            () = drained => {}
            () = force.cancelled() => {}
            () = tokio::time::sleep(grace) => warn!(?grace, "requests outlived the drain"),
        }
        self.summary.forced = self.tasks.len() as u64;
        self.tasks.shutdown().await;
        // The requests of HTTP/2 connections see their connection go and end by themselves.
        streams.close();
        streams.wait().await;
        self.summary
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a connection's task panicked; its requests are lost");
    }
}

/// The wait before the next accept.
#[derive(Default)]
struct Pause {
    until: Option<Instant>,
    length: Duration,
}

impl Pause {
    async fn then<T>(&self, accept: impl Future<Output = T>) -> T {
        if let Some(until) = self.until {
            tokio::time::sleep_until(until).await;
        }
        accept.await
    }

    fn after(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        // These concern one connection that is gone already.
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            return;
        }
        let (first, last) = PAUSES;
        if self.length < last {
            warn!(%error, "cannot accept connections; trying again");
        }
        self.length = (self.length * 2).clamp(first, last);
        self.until = Some(Instant::now() + self.length);
    }
}
