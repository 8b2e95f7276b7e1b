//! Everything that a node which belongs to a cluster consists of. Read `furnish` from top to bottom.

use std::sync::Arc;

use onrush_api::Api;
use onrush_artifacts::{Links, Store};
use onrush_catalog::CatalogStore;
use onrush_cluster::{Advertised, Cluster};
use onrush_consensus::{Consensus, Identity, Me, Parts as ConsensusParts, join_service};
use onrush_gateway::{Gateway, Parts as GatewayParts};
use onrush_invoke::Invoke;
use onrush_proto::{
    artifacts::{ArtifactClient, ArtifactsService},
    control::{ControlClient, ControlService},
    peers::Peers,
    worker::{RemoteNode, WorkerService},
};
use onrush_router::{Parts as RouterParts, Router};
use onrush_runtime::{
    Runtime,
    wasm::{Compiler, WasmRuntime},
};
use onrush_seams::OsEntropy;
use onrush_types::NodeId;
use onrush_worker::{Parts as WorkerParts, Worker};
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
    gateway: Option<Gateway>,
    api: Arc<Api>,
}

/// Builds everything and starts what works in the background. Nothing is served to users yet.
pub(crate) async fn furnish(
    foundation: Foundation,
    identity: Identity,
    supervisor: &mut Supervisor,
) -> anyhow::Result<Household> {
    let Foundation { settings, network, clock, .. } = &foundation;
    let (me, cluster_id, name) = (identity.node, identity.cluster, identity.name.clone());
    let node_name: Arc<str> = name.as_str().into();
    info!(node = %me, name = %node_name, cluster = %cluster_id, "this node belongs to the cluster");

    // Observed facts: who is alive and what they offer.
    let generation = foundation.dir.next_generation(clock.now_ms())?;
    let cluster = join_gossip(&foundation, &identity, generation).await?;
    let view = cluster.view();

    // Agreed facts: the catalog.
    let book = AddressBook::new(view.clone());
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
    foundation.introduction.admit_through(consensus.clone(), Arc::clone(clock));

    // Code: blobs, and what turns them into answers.
    let bulk = Peers::new(cluster_id, Arc::clone(network), book.clone());
    let (blobs, compiled) = rooms(&foundation.dir);
    let links = Links {
        me,
        view: view.clone(),
        voters: consensus.voters(),
        catalog: catalog.clone(),
        peers: Arc::new(ArtifactClient::new(bulk)),
    };
    let artifacts = Store::open(settings.tune.artifacts.clone(), blobs, links).await?;
    let mut wasm = settings.tune.wasm.clone();
    if settings.tune.node.compile_in_child {
        wasm.compiler = Compiler::Child(std::env::current_exe()?);
    }
    let wasm = WasmRuntime::new(wasm, foundation.guests.handle(), compiled)?;
    let runtimes: Vec<Arc<dyn Runtime>> = vec![wasm];

    // Calls: run here, or sent to where they run best.
    let worker = Worker::new(
        settings.tune.worker.clone(),
        WorkerParts {
            node: Arc::clone(&node_name),
            me,
            runtimes: runtimes.clone(),
            artifacts: artifacts.clone(),
            catalog: catalog.clone(),
            view: view.clone(),
            clock: Arc::clone(clock),
        },
    );
    let calls = Peers::new(cluster_id, Arc::clone(network), book.clone());
    let router: Arc<dyn Invoke> = Router::new(
        settings.tune.router.clone(),
        RouterParts {
            me,
            local: settings.roles.worker.then(|| worker.clone() as Arc<dyn Invoke>),
            remote: Arc::new(move |node| Arc::new(RemoteNode::new(node, calls.clone())) as Arc<dyn Invoke>),
            view: view.clone(),
            catalog: catalog.clone(),
            entropy: Arc::new(OsEntropy),
        },
    );

    // What operators and users talk to.
    let myself = Arc::new(Myself {
        worker: worker.clone(),
        cluster: cluster.clone(),
        health: foundation.health.clone(),
        catalog: catalog.clone(),
    });
    let control = Peers::new(cluster_id, Arc::clone(network), book);
    let control = Control {
        myself: myself.clone(),
        me,
        consensus: consensus.clone(),
        view,
        peers: ControlClient::new(control),
    };
    let api = Api::new(
        settings.tune.api.clone(),
        onrush_api::Parts {
            store: consensus.clone(),
            artifacts: artifacts.clone(),
            control: Arc::new(control),
            runtimes,
            invoke: router.clone(),
            metrics: telemetry::metrics(),
            ready: ready_fn(&foundation.health),
            clock: Arc::clone(clock),
            node: name.clone(),
        },
    );
    let gateway = Gateway::new(
        settings.tune.gateway.clone(),
        GatewayParts { invoke: router, catalog, health: Arc::new(foundation.health.clone()), node: node_name },
    )?;

    // Peers are answered from now on.
    let (raft, catalog_service) = consensus.services();
    let routes = Routes::new(join_service(foundation.introduction.clone()))
        .add_service(raft)
        .add_service(catalog_service)
        .add_service(ArtifactsService::new(artifacts.clone(), cluster_id, me).into_server())
        .add_service(WorkerService::new(worker.clone(), cluster_id, me).into_server())
        .add_service(ControlService::server(myself.clone(), cluster_id, me));
    foundation.peer_routes.replace(routes);

    let household = Household { foundation, me, consensus, cluster, worker, gateway: Some(gateway), api };
    household.start(supervisor, artifacts);
    Ok(household)
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
        if calm {
            self.finish_calls().await;
        }
        supervisor.stop(Stage::Ingress).await;
        self.api.drained().await;
        if calm {
            let grace = self.foundation.settings.tune.node.drain_grace;
            if tokio::time::timeout(grace, self.worker.idle()).await.is_err() {
                warn!(calls = self.worker.in_flight(), "calls did not finish in time and are ended");
            }
        }
        supervisor.stop(Stage::Work).await;
        supervisor.stop(Stage::Agreement).await;
        self.consensus.shutdown().await;
        supervisor.stop_all().await;
    }

    /// Others stop sending calls here before this node starts to refuse them.
    async fn finish_calls(&self) {
        self.foundation.health.set(Phase::Draining);
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
