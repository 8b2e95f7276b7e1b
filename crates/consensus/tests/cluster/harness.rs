//! Real nodes in one process: RocksDB in temporary directories, gRPC over loopback, gossip played by the test.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use onrush_catalog::{CatalogStore, Command, CommitError, Committed, Proposal};
use onrush_consensus::{
    Applicant, BootstrapError, Config, Consensus, DataDir, Identity, Introduction, Me, Parts, RunError, find_identity,
    join_service,
};
use onrush_proto::peers::FindPeer;
use onrush_seams::{Network, OsEntropy, SystemClock, TokioNetwork};
use onrush_types::{ClusterView, NodeAddresses, NodeId, NodeInfo, RequestId, Roles};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::Service as _;

pub(crate) const WAIT: Duration = Duration::from_secs(40);

/// The places where nodes live; a node can die and come back in its place.
pub(crate) struct World {
    temp: tempfile::TempDir,
    pub(crate) seeds: Vec<String>,
    listeners: Vec<Option<TcpListener>>,
    addresses: Vec<SocketAddr>,
    alive: watch::Sender<BTreeMap<NodeId, bool>>,
}

/// A node that lives.
pub(crate) struct TestNode {
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) run: JoinHandle<Result<(), RunError>>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    _view: JoinHandle<()>,
    dir: DataDir,
}

impl World {
    /// Places for `nodes` nodes, of which the first `seeds` are seeds.
    pub(crate) async fn new(nodes: usize, seeds: usize) -> Self {
        let mut listeners = Vec::new();
        for _ in 0..nodes {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        // The lowest seed founds; the places are sorted so that it is the first one.
        listeners.sort_by_key(|listener| listener.local_addr().unwrap().to_string());
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        Self {
            temp: tempfile::tempdir().unwrap(),
            seeds: addresses.iter().take(seeds).map(ToString::to_string).collect(),
            listeners: listeners.into_iter().map(Some).collect(),
            addresses,
            alive: watch::Sender::default(),
        }
    }

    pub(crate) fn dir(&self, place: usize) -> PathBuf {
        self.temp.path().join(format!("node-{place}"))
    }

    /// All places at once, as a cluster forms.
    pub(crate) async fn start_all(&mut self, places: &[usize]) -> Vec<TestNode> {
        let mut starting = Vec::new();
        for place in places {
            starting.push(self.prepare(*place).await);
        }
        let started = futures::future::join_all(starting.into_iter().map(Starting::start)).await;
        started.into_iter().map(Result::unwrap).collect()
    }

    pub(crate) async fn start(&mut self, place: usize) -> Result<TestNode, BootstrapError> {
        self.prepare(place).await.start().await
    }

    async fn prepare(&mut self, place: usize) -> Starting {
        let address = self.addresses[place];
        let listener = match self.listeners[place].take() {
            Some(listener) => listener,
            None => bind_again(address).await,
        };
        let dir = DataDir::open(&self.dir(place)).unwrap();
        let introduction = Introduction::new(&dir, &self.seeds, &OsEntropy).unwrap();
        let routes = Arc::new(Mutex::new(Routes::new(join_service(Arc::clone(&introduction)))));
        let server = tokio::spawn(serve(listener, Arc::clone(&routes)));
        let me =
            Me { name: format!("node-{place}").parse().unwrap(), peer: address.to_string(), roles: Roles::default() };
        let applicant = Applicant { me, seeds: self.seeds.clone(), voters: 3 };
        Starting { dir, introduction, routes, server, applicant, alive: self.alive.clone() }
    }

    /// What gossip would find out.
    pub(crate) fn set_alive(&self, node: NodeId, alive: bool) {
        self.alive.send_modify(|nodes| {
            nodes.insert(node, alive);
        });
    }

    /// Ends a node as abruptly as one process allows: its connections break, its tasks stop.
    pub(crate) async fn kill(&self, node: TestNode) {
        self.set_alive(node.consensus.identity().node, false);
        node.server.abort();
        node.stop.cancel();
        node._view.abort();
        let _ended = node.run.await;
        node.consensus.shutdown().await;
    }
}

async fn bind_again(address: SocketAddr) -> TcpListener {
    until("the old listener is gone", || async { TcpListener::bind(address).await.ok() }).await
}

struct Starting {
    dir: DataDir,
    introduction: Arc<Introduction>,
    routes: Arc<Mutex<Routes>>,
    server: JoinHandle<()>,
    applicant: Applicant,
    alive: watch::Sender<BTreeMap<NodeId, bool>>,
}

impl Starting {
    async fn start(self) -> Result<TestNode, BootstrapError> {
        let network: Arc<dyn Network> = Arc::new(TokioNetwork);
        let config = Config::default();
        let me = self.applicant.me.clone();
        let found = find_identity(&config, &self.dir, &self.introduction, &network, self.applicant);
        let identity = match timeout(WAIT, found).await.expect("a node has no identity yet") {
            Ok(identity) => identity,
            Err(error) => {
                self.server.abort();
                return Err(error);
            }
        };
        let (view_in, view) = watch::channel(Arc::new(ClusterView::empty(identity.node)));
        let view_task = tokio::spawn(gossip(self.alive.clone(), identity.node, view_in));
        let nobody: Arc<dyn FindPeer> = Arc::new(|_: NodeId| None);
        let parts = Parts { network, find: nobody, clock: Arc::new(SystemClock), view, me };
        let consensus = Consensus::open(config, &self.dir, identity.clone(), parts).await.unwrap();
        let (raft, catalog) = consensus.services();
        let routes = self.routes.lock().unwrap().clone().add_service(raft).add_service(catalog);
        *self.routes.lock().unwrap() = routes;
        self.introduction.admit_through(Arc::clone(&consensus) as Arc<dyn CatalogStore>, Arc::new(SystemClock));
        self.alive.send_modify(|nodes| {
            nodes.insert(identity.node, true);
        });
        let stop = CancellationToken::new();
        let run = tokio::spawn(Arc::clone(&consensus).run(stop.clone()));
        Ok(TestNode { consensus, run, stop, server: self.server, _view: view_task, dir: self.dir })
    }
}

async fn gossip(alive: watch::Sender<BTreeMap<NodeId, bool>>, me: NodeId, view: watch::Sender<Arc<ClusterView>>) {
    let mut alive = alive.subscribe();
    loop {
        let nodes = alive.borrow_and_update().iter().map(|(id, alive)| (*id, Arc::new(info(*id, *alive)))).collect();
        view.send_replace(Arc::new(ClusterView { me, nodes }));
        if alive.changed().await.is_err() {
            return;
        }
    }
}

fn info(id: NodeId, alive: bool) -> NodeInfo {
    let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
    NodeInfo {
        id,
        name: format!("n{id}").parse().unwrap(),
        addresses: NodeAddresses { gateway: nowhere, api: nowhere, peer: nowhere },
        roles: Roles::default(),
        slots: 1,
        speed: 100,
        zone: None,
        generation: 1,
        draining: false,
        ready: true,
        alive,
        version: "0".to_owned(),
    }
}

/// Connections end with this task.
async fn serve(listener: TcpListener, routes: Arc<Mutex<Routes>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let routes = Arc::clone(&routes);
        connections.spawn(async move {
            let service = TowerToHyperService::new(tower::service_fn(move |request| {
                let mut routes = routes.lock().unwrap().clone();
                async move { routes.call(request).await }
            }));
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).http2_only();
            let _closed = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl TestNode {
    pub(crate) fn id(&self) -> NodeId {
        self.consensus.identity().node
    }

    pub(crate) fn identity(&self) -> &Identity {
        self.consensus.identity()
    }

    pub(crate) async fn commit(&self, command: Command) -> Result<Committed, CommitError> {
        self.consensus.commit(proposal(command), Duration::from_secs(9)).await
    }

    /// A change that nobody else makes: whether this node is cordoned.
    pub(crate) async fn cordon(&self, node: NodeId, cordoned: bool) -> Result<Committed, CommitError> {
        self.commit(Command::SetCordoned { node, cordoned }).await
    }

    pub(crate) fn is_cordoned(&self, node: NodeId) -> bool {
        self.consensus.watch().borrow().nodes[&node].cordoned
    }

    pub(crate) fn data_dir(&self) -> &DataDir {
        &self.dir
    }

    pub(crate) async fn await_voters(&self, voters: &[u64]) {
        let wanted = voters.iter().copied().map(NodeId).collect();
        let mut seen = self.consensus.voters();
        timeout(WAIT, seen.wait_for(|seen| **seen == wanted)).await.expect("other voters").unwrap();
    }
}

pub(crate) fn proposal(command: Command) -> Proposal {
    Proposal { request: RequestId::new(), at_ms: 1, command }
}

/// Asks again until there is something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asked = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WAIT, asked).await.unwrap_or_else(|_| panic!("never: {what}"))
}
