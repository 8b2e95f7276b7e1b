//! The map of a node: what it is made of, in the order in which it comes to life and is laid to rest.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use onrush_cluster::Link;
use onrush_consensus::{Applicant, DataDir, Identity, Introduction, Me, find_identity, join_service};
use onrush_seams::{Network, OsEntropy, SystemClock, TokioNetwork, WallClock};
use onrush_server::BoundServer;
use onrush_types::{Label, NodeAddresses};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    Settings,
    advertise::{Bound, advertised},
    guests::GuestThreads,
    health::Health,
    house::{Household, furnish},
    name, peer_server,
    peer_server::PeerRoutes,
    supervisor::{Stage, Supervisor},
    telemetry, waiting_room,
};

/// The addresses that a node listens on: port 0 has become a real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Function traffic.
    pub gateway: SocketAddr,
    /// gRPC, REST and metrics.
    pub api: SocketAddr,
    /// Peers.
    pub peer: SocketAddr,
}

/// A node whose listeners are bound and whose data directory is taken. It does nothing before [`Node::run`].
pub struct Node {
    foundation: Foundation,
    listeners: Listeners,
    addresses: Addresses,
}

/// What does not depend on which cluster the node belongs to.
pub(crate) struct Foundation {
    pub(crate) settings: Settings,
    pub(crate) name: Label,
    pub(crate) dir: DataDir,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) metrics: telemetry::Metrics,
    pub(crate) health: Health,
    pub(crate) link: Link,
    /// Where others reach this node, and how it is registered.
    pub(crate) told: NodeAddresses,
    pub(crate) registered: String,
    pub(crate) introduction: Arc<Introduction>,
    pub(crate) peer_routes: PeerRoutes,
    pub(crate) guests: GuestThreads,
}

/// The sockets.
pub(crate) struct Listeners {
    pub(crate) gateway: BoundServer,
    pub(crate) api: BoundServer,
    peer: BoundServer,
}

impl Node {
    /// Takes the data directory and binds every listener.
    ///
    /// # Errors
    /// A port in use, a directory that belongs to somebody else: each with what to do.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        // Handles of metrics go to the recorder that is there when a component is made.
        let metrics = telemetry::metrics();
        let network: Arc<dyn Network> = Arc::new(TokioNetwork);
        let data_dir = settings.data_dir.clone();
        let dir = tokio::task::spawn_blocking(move || DataDir::open(&data_dir)).await??;
        let listeners = Listeners::bind(&settings)?;
        let addresses = listeners.addresses();
        let link = Link::bind(Arc::clone(&network), addresses.peer).await?;
        let bound = Bound { gateway: addresses.gateway, api: addresses.api, peer: addresses.peer };
        let advertise = settings.advertise.as_deref();
        let (told, registered) = advertised(bound, advertise, &settings.seeds, &*network).await?;
        let name = settings.name.clone().map_or_else(|| name::by_host(addresses.peer.port()), Ok)?;
        let introduction = Introduction::new(&dir, &settings.seeds, &OsEntropy)?;
        let routes = Routes::new(join_service(Arc::clone(&introduction)));
        let foundation = Foundation {
            guests: GuestThreads::start(settings.tune.node.guest_threads, settings.tune.node.guest_niceness)?,
            name,
            dir,
            network,
            clock: Arc::new(SystemClock),
            metrics,
            health: Health::new(),
            link,
            told,
            registered,
            introduction,
            peer_routes: PeerRoutes::new(routes),
            settings,
        };
        Ok(Self { foundation, listeners, addresses })
    }

    /// Where it listens.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its name.
    pub const fn name(&self) -> &Label {
        &self.foundation.name
    }

    /// Resolves when the node serves. Does not borrow it, so that it can be waited for while the node runs.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + 'static {
        let health = self.foundation.health.clone();
        async move { health.serving().await }
    }

    /// Finds the cluster, serves, and stops in order when `stop` is cancelled.
    ///
    /// # Errors
    /// The cluster refuses this node, or a part of the node failed: it says which, and what to do.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { foundation, listeners, .. } = self;
        let mut supervisor = Supervisor::new(foundation.settings.tune.node.stop_grace);
        let (open, waiting) = listeners.open(&foundation, &mut supervisor)?;
        let identity = tokio::select! {
            biased;
            found = join(&foundation) => found,
            ended = supervisor.watch(&stop) => match ended {
                Ok(()) => Err(anyhow::anyhow!("stopped before the node belonged to a cluster")),
                Err(error) => Err(error),
            },
        };
        let identity = match identity {
            Ok(identity) => identity,
            Err(error) => {
                supervisor.stop_all().await;
                return if stop.is_cancelled() { Ok(()) } else { Err(error) };
            }
        };
        let mut household = furnish(foundation, identity, &mut supervisor).await?;
        let outcome = live(&mut household, open, waiting, &mut supervisor, &stop).await;
        household.leave(&mut supervisor, outcome.is_ok()).await;
        outcome
    }
}

/// Serves until `stop`, or until a part of the node fails.
async fn live(
    household: &mut Household,
    open: Open,
    waiting: CancellationToken,
    supervisor: &mut Supervisor,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let formed = tokio::select! {
        formed = household.formed() => formed,
        ended = supervisor.watch(stop) => return ended,
    };
    formed?;
    waiting.cancel();
    household.open(open, supervisor)?;
    supervisor.watch(stop).await
}

/// The listeners that open when the node serves.
pub(crate) struct Open {
    pub(crate) gateway: BoundServer,
    pub(crate) api: BoundServer,
}

impl Listeners {
    fn bind(settings: &Settings) -> anyhow::Result<Self> {
        // A connection is an open file, and so is much else that must not fail when connections are many.
        onrush_server::raise_open_files();
        let node = &settings.tune.node;
        let peers = onrush_server::Config { max_connections: node.peer_connections, ..onrush_server::Config::peers() };
        let api = onrush_server::Config { max_connections: node.api_connections, ..onrush_server::Config::operators() };
        let gateway = BoundServer::bind(settings.tune.gateway.server.clone(), settings.gateway);
        let api = BoundServer::bind(api, settings.api);
        Ok(Self {
            gateway: gateway.context("--gateway")?,
            api: api.context("--api")?,
            peer: BoundServer::bind(peers, settings.peer).context("--peer")?,
        })
    }

    fn addresses(&self) -> Addresses {
        Addresses { gateway: self.gateway.local_addr(), api: self.api.local_addr(), peer: self.peer.local_addr() }
    }

    /// Answers peers from now on, and tells everybody else to wait. The token ends the waiting.
    fn open(self, foundation: &Foundation, supervisor: &mut Supervisor) -> anyhow::Result<(Open, CancellationToken)> {
        let waiting = supervisor.stop_of(Stage::Ingress).child_token();
        for (name, listener) in
            [("gateway's waiting room", self.gateway.another()?), ("api's waiting room", self.api.another()?)]
        {
            let room = waiting_room::serve(listener, foundation.health.clone(), waiting.clone());
            let stop = supervisor.stop_of(Stage::Ingress);
            supervisor.spawn(Stage::Ingress, name, async move {
                room.await;
                // It closes long before its stage ends; the supervisor would take that for a failure.
                stop.cancelled().await;
                Ok(())
            });
        }
        let peers = peer_server::serve(
            self.peer,
            foundation.peer_routes.clone(),
            supervisor.stop_of(Stage::Work),
            CancellationToken::new(),
        );
        supervisor.spawn(Stage::Work, "peer listener", peers);
        Ok((Open { gateway: self.gateway, api: self.api }, waiting))
    }
}

async fn join(foundation: &Foundation) -> anyhow::Result<Identity> {
    let settings = &foundation.settings;
    let me = Me { name: foundation.name.clone(), peer: foundation.registered.clone(), roles: settings.roles };
    // A node without a seed list is its own only seed: it forms a cluster alone, and others name it as theirs.
    let seeds = if settings.seeds.is_empty() { vec![foundation.registered.clone()] } else { settings.seeds.clone() };
    let applicant = Applicant { me, seeds, voters: settings.voters };
    let (config, mut waits_for) = (&settings.tune.consensus, foundation.introduction.waits_for());
    let found = find_identity(config, &foundation.dir, &foundation.introduction, &foundation.network, applicant);
    let told = async {
        while waits_for.changed().await.is_ok() {
            foundation
                .health
                .waiting_for(format!("looking for the cluster; missing: {}", *waits_for.borrow_and_update()));
        }
        std::future::pending().await
    };
    tokio::select! {
        identity = found => Ok(identity?),
        never = told => never,
    }
}

/// Where a node keeps its artifacts and its compiled code.
pub(crate) fn rooms(dir: &DataDir) -> (PathBuf, PathBuf) {
    (dir.path().join("artifacts"), dir.path().join("compiled"))
}
