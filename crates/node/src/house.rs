//! Everything that a node which belongs to a cluster consists of. Read `furnish` from top to bottom.

use std::sync::Arc;

use onrush_api::Api;
use onrush_artifacts::{Links, Store};
use onrush_catalog::{Catalog, CatalogStore};
use onrush_cluster::{Advertised, Cluster};
use onrush_consensus::{Consensus, Identity, Me, Parts as ConsensusParts, join_service};
use onrush_gateway::{Gateway, Parts as GatewayParts};
use onrush_invoke::{LoadNow, Scope};
use onrush_proto::{
    artifacts::{ArtifactClient, ArtifactsService},
    control::{ControlClient, ControlService},
    peers::Peers,
    worker::{RemoteNode, WorkerService},
};
use onrush_router::{Here, Parts as RouterParts, Router, Way};
use onrush_runtime::{
    Runtime,
    wasm::{Compiler, WasmRuntime},
};
use onrush_seams::{Network, OsEntropy, WallClock};
use onrush_sharing::SharedInvoke;
use onrush_types::{ClusterId, ClusterView, Label, NodeId};
use onrush_worker::{Parts as WorkerParts, Worker};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{info, warn};

use crate::{
    assemble::{Foundation, Open, rooms},
    book::AddressBook,
    control::{Control, Myself},
    formation,
    health::{Health, Phase},
    supervisor::{Stage, Supervisor},
    telemetry,
};

/// A node that belongs to a cluster.
pub(crate) struct Household {
    foundation: Foundation,
    me: NodeId,
    consensus: Arc<Consensus>,
    cluster: Arc<Cluster>,
    worker: Arc<Worker>,
    router: Arc<Router>,
    sharing: [Arc<SharedInvoke>; 2],
    gateway: Option<Gateway>,
    api: Arc<Api>,
}

/// What every part is told: who this node is, whom it sees, where the others are.
struct Bearings {
    me: NodeId,
    cluster: ClusterId,
    name: Label,
    view: watch::Receiver<Arc<ClusterView>>,
    catalog: watch::Receiver<Arc<Catalog>>,
    book: Arc<AddressBook>,
    network: Arc<dyn Network>,
    clock: Arc<dyn WallClock>,
}

impl Bearings {
    /// A set of connections of its own, so that one kind of traffic never stands in another's way.
    fn peers(&self) -> Peers {
        Peers::new(self.cluster, Arc::clone(&self.network), self.book.clone())
    }
}

/// Builds everything and starts what works in the background. Nothing is served to users yet.
pub(crate) async fn furnish(
    foundation: Foundation,
    identity: Identity,
    supervisor: &mut Supervisor,
) -> anyhow::Result<Household> {
    info!(node = %identity.node, name = %identity.name, cluster = %identity.cluster, "this node belongs to a cluster");
    // Observed facts: who is alive and what they offer.
    let generation = foundation.dir.next_generation(foundation.clock.now_ms())?;
    let cluster = join_gossip(&foundation, &identity, generation).await?;
    // Agreed facts: the catalog.
    let (consensus, bearings) = join_agreement(&foundation, identity, &cluster).await?;
    // Code: blobs, and what turns them into answers.
    let artifacts = open_artifacts(&foundation, &bearings, &consensus).await?;
    let runtimes = start_runtimes(&foundation)?;
    // Calls: run here, or sent to where they run best.
    let worker = hire_worker(&foundation, &bearings, runtimes.clone(), artifacts.clone());
    // What the whole cluster shares is shared at its owner, in front of the worker; the rest at each gateway.
    let owned = share_what_is_owned(&foundation, &worker);
    let router = place_router(&foundation, &bearings, &worker, &owned);
    let shared = SharedInvoke::new(foundation.settings.tune.sharing.clone(), router.clone(), Scope::Gateway);
    // What operators and users talk to.
    let myself = Arc::new(Myself {
        consensus: consensus.clone(),
        worker: worker.clone(),
        cluster: cluster.clone(),
        health: foundation.health.clone(),
        drain_notice: foundation.settings.tune.node.drain_notice,
        catalog: bearings.catalog.clone(),
    });
    let control = Control {
        myself: myself.clone(),
        me: bearings.me,
        view: bearings.view.clone(),
        peers: ControlClient::new(bearings.peers()),
    };
    let parts = onrush_api::Parts {
        store: consensus.clone(),
        artifacts: artifacts.clone(),
        control: Arc::new(control),
        runtimes,
        invoke: shared.clone(),
        metrics: foundation.metrics.clone(),
        ready: ready_fn(&foundation.health),
        clock: Arc::clone(&bearings.clock),
        node: bearings.name.clone(),
    };
    let api = Api::new(foundation.settings.tune.api.clone(), parts);
    let parts = GatewayParts {
        invoke: shared.clone(),
        catalog: bearings.catalog.clone(),
        view: bearings.view.clone(),
        health: Arc::new(foundation.health.clone()),
        node: bearings.name.as_str().into(),
    };
    let gateway = Gateway::new(foundation.settings.tune.gateway.clone(), parts)?;
    // Peers are answered from now on.
    foundation.introduction.admit_through(consensus.clone(), Arc::clone(&bearings.clock));
    let (raft, catalog) = consensus.services();
    let (me, id) = (bearings.me, bearings.cluster);
    let routes = Routes::new(join_service(foundation.introduction.clone()))
        .add_service(raft)
        .add_service(catalog)
        .add_service(ArtifactsService::new(artifacts.clone(), id, me).into_server())
        .add_service(WorkerService::new(owned.clone(), load_of(&worker), id, me).into_server())
        .add_service(ControlService::server(myself, id, me));
    foundation.peer_routes.replace(routes);

    let (gateway, sharing) = (Some(gateway), [shared, owned]);
    let household = Household { foundation, me, consensus, cluster, worker, router, sharing, gateway, api };
    household.start(supervisor, artifacts);
    Ok(household)
}

async fn join_agreement(
    foundation: &Foundation,
    identity: Identity,
    gossip: &Cluster,
) -> anyhow::Result<(Arc<Consensus>, Bearings)> {
    let Foundation { settings, network, clock, .. } = foundation;
    let view = gossip.view();
    let book = AddressBook::new(view.clone());
    let (me, cluster, name) = (identity.node, identity.cluster, identity.name.clone());
    let parts = ConsensusParts {
        network: Arc::clone(network),
        find: book.clone(),
        clock: Arc::clone(clock),
        view: view.clone(),
        me: Me { name: name.clone(), peer: foundation.registered.clone(), roles: settings.roles },
    };
    let consensus = Consensus::open(settings.tune.consensus.clone(), &foundation.dir, identity, parts).await?;
    let catalog = consensus.watch();
    book.add(catalog.clone());
    let (network, clock) = (Arc::clone(network), Arc::clone(clock));
    Ok((consensus, Bearings { me, cluster, name, view, catalog, book, network, clock }))
}

async fn open_artifacts(
    foundation: &Foundation,
    bearings: &Bearings,
    consensus: &Consensus,
) -> anyhow::Result<Arc<Store>> {
    let links = Links {
        me: bearings.me,
        view: bearings.view.clone(),
        voters: consensus.voters(),
        catalog: bearings.catalog.clone(),
        peers: Arc::new(ArtifactClient::new(bearings.peers())),
    };
    Ok(Store::open(foundation.settings.tune.artifacts.clone(), rooms(&foundation.dir).0, links).await?)
}

fn start_runtimes(foundation: &Foundation) -> anyhow::Result<Vec<Arc<dyn Runtime>>> {
    let mut config = foundation.settings.tune.wasm.clone();
    if foundation.settings.tune.node.compile_in_child {
        config.compiler = Compiler::Child(std::env::current_exe()?);
    }
    let wasm = WasmRuntime::new(config, foundation.guests.handle(), rooms(&foundation.dir).1)?;
    Ok(vec![wasm])
}

fn hire_worker(
    foundation: &Foundation,
    bearings: &Bearings,
    runtimes: Vec<Arc<dyn Runtime>>,
    artifacts: Arc<Store>,
) -> Arc<Worker> {
    let parts = WorkerParts {
        node: bearings.name.as_str().into(),
        me: bearings.me,
        runtimes,
        artifacts,
        catalog: bearings.catalog.clone(),
        view: bearings.view.clone(),
        clock: Arc::clone(&bearings.clock),
    };
    Worker::new(foundation.settings.tune.worker.clone(), parts)
}

/// How busy the worker is, for whoever asks.
fn load_of(worker: &Arc<Worker>) -> LoadNow {
    let worker = Arc::clone(worker);
    Arc::new(move || worker.load())
}

fn share_what_is_owned(foundation: &Foundation, worker: &Arc<Worker>) -> Arc<SharedInvoke> {
    let load = load_of(worker);
    SharedInvoke::with_load(foundation.settings.tune.sharing.clone(), worker.clone(), Scope::Cluster, move || load())
}

fn place_router(
    foundation: &Foundation,
    bearings: &Bearings,
    worker: &Arc<Worker>,
    owned: &Arc<SharedInvoke>,
) -> Arc<Router> {
    let calls = bearings.peers();
    let here = || Here { invoke: owned.clone(), load: load_of(worker) };
    let way = move |node| {
        let node = Arc::new(RemoteNode::new(node, calls.clone()));
        Way { invoke: node.clone(), ask: node }
    };
    let parts = RouterParts {
        me: bearings.me,
        local: foundation.settings.roles.worker.then(here),
        remote: Arc::new(way),
        view: bearings.view.clone(),
        catalog: bearings.catalog.clone(),
        entropy: Arc::new(OsEntropy),
    };
    Router::new(foundation.settings.tune.router.clone(), parts)
}

async fn join_gossip(foundation: &Foundation, identity: &Identity, generation: u64) -> anyhow::Result<Arc<Cluster>> {
    let settings = &foundation.settings;
    let slots = std::thread::available_parallelism().map_or(1, usize::from);
    let me = Advertised {
        id: identity.node,
        name: identity.name.clone(),
        addresses: foundation.told,
        roles: settings.roles,
        slots: u32::try_from(slots).unwrap_or(u32::MAX),
        speed: 100,
        zone: settings.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation,
    };
    let (config, seeds, link) = (settings.tune.cluster.clone(), settings.seeds.clone(), foundation.link.clone());
    Ok(Arc::new(Cluster::join(config, me, identity.cluster, seeds, link).await?))
}

fn ready_fn(health: &Health) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
    let health = health.clone();
    Arc::new(move || health.ready())
}

impl Household {
    /// Starts what works in the background.
    fn start(&self, supervisor: &mut Supervisor, artifacts: Arc<Store>) {
        let stop = |supervisor: &Supervisor, stage| supervisor.stop_of(stage);
        let gossip = Cluster::clone(&self.cluster).run(stop(supervisor, Stage::Membership));
        supervisor.spawn(Stage::Membership, "gossip", async { Ok(gossip.await?) });
        let agreement = self.consensus.clone().run(stop(supervisor, Stage::Agreement));
        supervisor.spawn(Stage::Agreement, "consensus", async { Ok(agreement.await?) });
        let repair = artifacts.run(stop(supervisor, Stage::Work));
        supervisor.spawn(Stage::Work, "artifacts", async {
            repair.await;
            Ok(())
        });
        let worker = self.worker.clone().run(stop(supervisor, Stage::Work));
        supervisor.spawn(Stage::Work, "worker", async { Ok(worker.await?) });
        let readmission = self.router.clone().run(stop(supervisor, Stage::Work));
        supervisor.spawn(Stage::Work, "readmission of nodes", async {
            readmission.await;
            Ok(())
        });
        supervisor.spawn(Stage::Work, "metrics upkeep", upkeep(stop(supervisor, Stage::Work)));
    }

    /// Waits until the cluster is formed.
    pub(crate) async fn formed(&self) -> anyhow::Result<()> {
        let Foundation { dir, settings, health, .. } = &self.foundation;
        let (catalog, voters) = (self.consensus.watch(), self.consensus.voters());
        formation::formed(dir.path(), settings.seeds.len(), catalog, voters, health).await
    }

    /// Serves users.
    pub(crate) fn open(&mut self, open: Open, supervisor: &mut Supervisor) -> anyhow::Result<()> {
        let drain = supervisor.stop_of(Stage::Ingress);
        let api = self.api.router()?;
        let api = open.api.serve(onrush_server::tower(api), drain.clone(), CancellationToken::new());
        supervisor.spawn(Stage::Ingress, "api listener", async {
            api.await;
            Ok(())
        });
        if let Some(gateway) = self.gateway.take() {
            supervisor.spawn(Stage::Ingress, "gateway listener", async {
                let summary = gateway.serve(open.gateway, drain, CancellationToken::new()).await;
                info!(?summary, "the gateway is closed");
                Ok(())
            });
        }
        self.foundation.health.set(Phase::Serving);
        self.cluster.set_ready(true);
        info!(node = %self.me, "ready");
        Ok(())
    }

    /// Leaves: tells the others, finishes what is in the house, stops stage by stage. Not `calm` means that a part has
    /// failed: then nobody waits for it.
    pub(crate) async fn leave(self, supervisor: &mut Supervisor, calm: bool) {
        // Nobody waits for what is refreshed in the background.
        self.sharing.iter().for_each(|sharing| sharing.stop());
        if calm {
            self.finish_calls().await;
        }
        let grace = self.foundation.settings.tune.node.drain_grace;
        if calm {
            // Calls that came in here may run elsewhere: their time is the calls' own, not a stage's.
            supervisor.stop_within(Stage::Ingress, grace).await;
            if tokio::time::timeout(grace, self.api.drained()).await.is_err() {
                warn!("changes that were accepted did not end in time; their outcome is in the catalog");
            }
            if tokio::time::timeout(grace, self.worker.idle()).await.is_err() {
                warn!(calls = self.worker.in_flight(), "calls did not finish in time and are ended");
            }
        }
        supervisor.stop(Stage::Ingress).await;
        supervisor.stop(Stage::Work).await;
        supervisor.stop(Stage::Agreement).await;
        self.consensus.shutdown().await;
        supervisor.stop_all().await;
    }

    /// Others stop sending calls here before this node starts to refuse them.
    async fn finish_calls(&self) {
        self.foundation.health.set(Phase::Stopping);
        self.cluster.set_draining(true);
        let alone = self.cluster.view().borrow().alive().all(|node| node.id == self.me);
        if !alone {
            tokio::time::sleep(self.foundation.settings.tune.node.drain_notice).await;
            self.worker.drain();
        }
    }
}

async fn upkeep(stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(5));
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        telemetry::upkeep();
    }
    Ok(())
}
