//! Accept, drain, force.

use std::{collections::HashMap, io, net::SocketAddr, os::fd::AsFd, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, service::Service};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, Id, JoinSet},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

use crate::{
    Accept, BindError, Config, Peer,
    activity::Activity,
    bind::listen,
    connection::Protocol,
    files::{self, open_files},
    per_ip::{Owner, PerIp, Place},
    room::{Seat, choose},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where the pause after a failed accept begins and ends: out of file descriptors, only time and others' closing help.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// How often a connection in the lobby looks whether another has become quiet.
const LOBBY: Duration = Duration::from_millis(50);

/// A connection without a request for less than this is not quiet yet: its request may be under way.
const QUIET: Duration = Duration::from_millis(250);

/// Of so many connections, one goes when room is made: choosing looks at all of them, so several go at once.
const GO_AT_ONCE: usize = 64;

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
    /// Connections without a request that were closed to make room for others.
    pub evicted: u64,
    /// Connections that were cut off, because they outlived the drain.
    pub forced: u64,
}

impl Server<TcpListener> {
    /// Listens on `address`; port 0 picks a free one. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] names the address and what to do.
    pub fn bind(config: Config, address: SocketAddr) -> Result<Self, BindError> {
        let accept = listen(address, &config)?;
        Self::over(config, accept).map_err(|error| BindError::Failed(address, error))
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
        // One connection is taken beyond the last place: it may be worth another's. While it waits here, the next ones
        // wait in the kernel's queue, where they cost no memory of ours.
        let mut lobby = None;
        loop {
            if let Some((io, peer, place)) = lobby.take_if(|_| connections.has_room()) {
                let (service, protocol, drain) = (service(Peer(peer)), Arc::clone(&protocol), drain.child_token());
                connections.spawn(place, protocol.watch(), |activity| async move {
                    protocol.serve(io, service, (Peer(peer), activity), drain).await;
                });
            }
            tokio::select! {
                biased;
                () = force.cancelled() => break,
                () = drain.cancelled() => break,
                Some(ended) = connections.tasks.join_next_with_id() => connections.ended(ended),
                () = tokio::time::sleep(LOBBY), if lobby.is_some() => {}
                accepted = pause.then(accept.accept()), if lobby.is_none() => match accepted {
                    Ok((io, peer)) => {
                        pause = Pause::default();
                        lobby = connections.enter(peer).map(|place| (io, peer, place));
                    }
                    Err(error) => pause.after(&error),
                },
            }
        }
        drop((accept, lobby));
        connections.end(&streams, config.drain_grace, force).await
    }
}

/// The connections that there are.
struct Connections {
    most: usize,
    tasks: JoinSet<()>,
    /// Those that were not told to go.
    seated: HashMap<Id, (AbortHandle, Owner, Arc<Activity>)>,
    per_ip: PerIp,
    summary: Summary,
}

impl Connections {
    fn new(config: &Config) -> Self {
        let most = config.max_connections.get().min(files::for_connections(open_files())).max(1);
        if most < config.max_connections.get() {
            warn!(connections = most, "fewer connections than configured: raise the limit of open files (ulimit -n)");
        }
        let per_ip = PerIp::new(config.per_ip(most));
        Self { most, tasks: JoinSet::new(), seated: HashMap::new(), per_ip, summary: Summary::default() }
    }

    fn enter(&mut self, peer: SocketAddr) -> Option<Place> {
        let place = self.per_ip.enter(peer);
        if place.is_none() {
            self.summary.refused += 1;
        }
        place
    }

    /// Whether there is a place, perhaps because others were told to go.
    fn has_room(&mut self) -> bool {
        if self.seated.len() < self.most {
            return true;
        }
        let now = Instant::now();
        let seats: Vec<_> = (self.seated.iter())
            .map(|(id, (_, owner, activity))| {
                let quiet_since = activity.quiet_since().filter(|since| now.duration_since(*since) >= QUIET);
                Seat { id: *id, owner: *owner, quiet_since }
            })
            .collect();
        for id in choose(&seats, self.most.div_ceil(GO_AT_ONCE)) {
            let Some((task, ..)) = self.seated.remove(&id) else { continue };
            task.abort();
            self.summary.evicted += 1;
        }
        self.seated.len() < self.most
    }

    fn spawn<F>(&mut self, place: Place, activity: Arc<Activity>, connection: impl FnOnce(Arc<Activity>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.summary.served += 1;
        let (owner, connection) = (place.owner, connection(Arc::clone(&activity)));
        let task = self.tasks.spawn(async move {
            connection.await;
            drop(place);
        });
        self.seated.insert(task.id(), (task, owner, activity));
    }

    fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id);
        self.seated.remove(&id);
        report(ended.map(drop));
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
