//! The assembled thing: opened, run, shut down.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
};

use onrush_catalog::{Catalog, CommitError};
use onrush_proto::peers::{FindPeer, Peers};
use onrush_seams::{Network, WallClock};
use onrush_types::{ClusterId, ClusterView, Label, NodeId, Roles};
use openraft::{
    EmptyNode,
    error::{InitializeError, RaftError},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, DataDir, DirError, Identity, Storage,
    membership::keeper,
    network::PeerNetwork,
    proposer,
    reads::{self, Rounds},
    registration, storage,
    types::Raft,
    waiting::Waiting,
};

/// How many appends of the leader's may wait for this node's disk: it sends one at a time, and again when it is tired
/// of waiting.
const APPENDS_WAITING: usize = 16;

/// What a node says of itself to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// Its name.
    pub name: Label,
    /// Where others reach its peer listener, `host:port`.
    pub peer: String,
    /// What it does.
    pub roles: Roles,
}

/// What the agreement needs from outside.
pub struct Parts {
    /// Connections.
    pub network: Arc<dyn Network>,
    /// Where peers are, by what is fresher than the catalog; the catalog is asked second.
    pub find: Arc<dyn FindPeer>,
    /// The time, for people.
    pub clock: Arc<dyn WallClock>,
    /// Who is alive.
    pub view: watch::Receiver<Arc<ClusterView>>,
    /// This node.
    pub me: Me,
}

/// Why the agreement cannot be taken part in.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings contradict themselves.
    #[error("consensus settings: {}", .0.join("; "))]
    Config(Vec<String>),
    /// The data directory.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// What Raft keeps in it.
    #[error(transparent)]
    Storage(#[from] storage::OpenError),
    /// The log belongs to another cluster than the identity beside it.
    #[error(
        "the data directory says cluster {identity}, the log in it belongs to {log}: files of two nodes were mixed; \
         restore the directory as a whole"
    )]
    Mixed {
        /// The identity's cluster.
        identity: ClusterId,
        /// The log's.
        log: ClusterId,
    },
    /// Raft did not start.
    #[error("Raft did not start: {0}")]
    Raft(String),
}

/// Why a node can take part no longer. Final: the process should end and say so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The disk failed, or a defect. A restart in place does not cure a disk.
    #[error("the catalog has stopped on this node: {0}. Look at the disk before the node is started again")]
    Stopped(String),
    /// An operator removed this node.
    #[error(
        "node {0} was removed from the cluster, its id is never used again. To come back as a new node, start with an \
         empty data directory"
    )]
    Removed(NodeId),
    /// The cluster refuses this node's registration.
    #[error("the cluster refuses this node's registration: {0}")]
    Refused(String),
    /// A second call of `run`.
    #[error("the catalog's tasks run already")]
    RunsAlready,
}

/// The agreed catalog on one node.
pub struct Consensus {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) me: Me,
    pub(crate) raft: Raft,
    pub(crate) catalog: watch::Receiver<Arc<Catalog>>,
    pub(crate) applied: watch::Receiver<u64>,
    pub(crate) peers: Peers,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) view: watch::Receiver<Arc<ClusterView>>,
    /// When a leader was heard last.
    pub(crate) heard: watch::Sender<Option<Instant>>,
    pub(crate) voters: watch::Sender<Arc<BTreeSet<NodeId>>>,
    pub(crate) queue: mpsc::Sender<Waiting>,
    pub(crate) queue_bytes: Arc<Semaphore>,
    pub(crate) reads: Semaphore,
    /// Fresh reads of this node, by whoever leads.
    pub(crate) fresh: Rounds<CommitError>,
    /// Fresh reads of all nodes, while this one leads.
    pub(crate) confirmed: Rounds<String>,
    /// Appends from the leader that Raft has not taken yet.
    pub(crate) appends: Arc<Semaphore>,
    /// Whom to ask next where no leader is known.
    pub(crate) turn: AtomicUsize,
    pub(crate) tracker: TaskTracker,
    queue_end: Mutex<Option<mpsc::Receiver<Waiting>>>,
}

impl Consensus {
    /// Opens the log and starts Raft on the current runtime; give it one that guests cannot starve. `dir` must stay open
    /// until [`Consensus::shutdown`] has returned.
    ///
    /// # Errors
    /// [`OpenError`], with what to do about it.
    pub async fn open(config: Config, dir: &DataDir, identity: Identity, parts: Parts) -> Result<Arc<Self>, OpenError> {
        let raft_dir = dir.raft(identity.node)?;
        let storage = open_storage(&raft_dir, &config).await?;
        dir.mark_started()?;
        Self::start(config, identity, parts, storage).await
    }

    /// The same over a storage that is open already.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn start(
        config: Config,
        identity: Identity,
        parts: Parts,
        storage: Storage,
    ) -> Result<Arc<Self>, OpenError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(OpenError::Config(problems));
        }
        let Storage { log, machine, catalog, applied } = storage;
        let known = catalog.borrow().cluster.as_ref().map(|cluster| cluster.id);
        if let Some(log) = known.filter(|known| *known != identity.cluster) {
            return Err(OpenError::Mixed { identity: identity.cluster, log });
        }
        let Parts { network, find, clock, view, me } = parts;
        let peers = Peers::new(identity.cluster, network, Arc::new(finder(find, catalog.clone())));
        let largest_message = usize::try_from(config.largest_message.0).unwrap_or(usize::MAX);
        let net = PeerNetwork { me: identity.node, peers: peers.clone(), largest_message };
        let raft_config = config.raft(identity.node).validate().map_err(|error| OpenError::Raft(error.to_string()))?;
        let raft = Raft::new(identity.node.0, Arc::new(raft_config), net, log, machine).await;
        let raft = raft.map_err(|error| OpenError::Raft(error.to_string()))?;
        if identity.founding.is_some() {
            found(&raft, identity.node).await?;
        }
        let (queue, queue_end) = mpsc::channel(config.queue);
        let queue_bytes = Arc::new(Semaphore::new(usize::try_from(config.queue_bytes.0).unwrap_or(usize::MAX >> 3)));
        let consensus = Self {
            reads: Semaphore::new(config.reads_in_flight),
            fresh: Rounds::new(config.reads_in_flight),
            confirmed: Rounds::new(config.reads_in_flight * 2),
            appends: Arc::new(Semaphore::new(APPENDS_WAITING)),
            config,
            identity,
            me,
            raft,
            catalog,
            applied,
            peers,
            clock,
            view,
            heard: watch::Sender::new(None),
            voters: watch::Sender::default(),
            queue,
            queue_bytes,
            turn: AtomicUsize::default(),
            tracker: TaskTracker::new(),
            queue_end: Mutex::new(Some(queue_end)),
        };
        consensus.note_voters();
        Ok(Arc::new(consensus))
    }

    /// Drives everything that is not Raft's own: proposals, membership, this node's registration. Ends when `stop` says so,
    /// or with the reason for which this node can go on no longer.
    ///
    /// # Errors
    /// [`RunError`]: the process should end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), RunError> {
        let queue = self.queue_end.lock().unwrap_or_else(PoisonError::into_inner).take();
        let queue = queue.ok_or(RunError::RunsAlready)?;
        let tasks_end = stop.child_token();
        let _tasks_end_with_this = tasks_end.clone().drop_guard();
        let mut proposer = self.tracker.spawn(proposer::run(Arc::clone(&self), queue, tasks_end.clone()));
        let mut keeper = self.tracker.spawn(keeper::run(Arc::clone(&self), tasks_end.clone()));
        let mut reads = self.tracker.spawn(Arc::clone(&self).confirm_reads(tasks_end));
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            why = self.watch_raft() => Err(why),
            why = registration::run(&self) => Err(why),
            ended = &mut proposer => Err(RunError::Stopped(format!("the proposer ended: {ended:?}"))),
            ended = &mut reads => Err(RunError::Stopped(format!("the task of fresh reads ended: {ended:?}"))),
            ended = &mut keeper => Err(RunError::Stopped(format!("the membership task ended: {ended:?}"))),
        }
    }

    /// Stops Raft and waits for it. The data directory may be closed afterwards.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "Raft did not end in order");
        }
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn confirm_reads(self: Arc<Self>, stop: CancellationToken) {
        let (Some(fresh), Some(confirmed)) = (self.fresh.take(), self.confirmed.take()) else { return };
        let (me, leader) = (Arc::clone(&self), self);
        let read = move |until| {
            let me = Arc::clone(&me);
            async move { me.read_index(until).await }
        };
        let confirm = move |until| {
            let leader = Arc::clone(&leader);
            async move { leader.local_read_index(until).await }
        };
        let of_this_node = reads::run(fresh, read, stop.clone());
        let of_all_nodes = reads::run(confirmed, confirm, stop);
        tokio::join!(of_this_node, of_all_nodes);
    }

    /// Publishes the voters; returns when Raft has stopped.
    async fn watch_raft(&self) -> RunError {
        let mut metrics = self.raft.metrics();
        loop {
            self.note_voters();
            let running = metrics.borrow_and_update().running_state.clone();
            if let Err(fatal) = running {
                return RunError::Stopped(fatal.to_string());
            }
            if metrics.changed().await.is_err() {
                return RunError::Stopped("its core is gone".to_owned());
            }
        }
    }

    fn note_voters(&self) {
        let membership = Arc::clone(&self.raft.metrics().borrow().membership_config);
        // While a change is under way both sets must agree; only who is in both surely votes. Counting the new ones early
        // would call a cluster safe that still hangs on its founder.
        let sets = membership.membership().get_joint_config();
        let everywhere = |node: &u64| sets.iter().all(|set| set.contains(node));
        let voters: BTreeSet<NodeId> = membership.voter_ids().filter(everywhere).map(NodeId).collect();
        self.voters.send_if_modified(|known| {
            let changed = **known != voters;
            if changed {
                *known = Arc::new(voters);
            }
            changed
        });
    }
}

/// Makes this node the single voter, once. Repeated after an interruption it does nothing.
async fn found(raft: &Raft, node: NodeId) -> Result<(), OpenError> {
    let members = BTreeMap::from([(node.0, EmptyNode {})]);
    match raft.initialize(members).await {
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(OpenError::Raft(error.to_string())),
    }
}

fn finder(find: Arc<dyn FindPeer>, catalog: watch::Receiver<Arc<Catalog>>) -> impl FindPeer {
    move |node: NodeId| find.find(node).or_else(|| catalog.borrow().nodes.get(&node).map(|record| record.peer.clone()))
}

#[cfg(feature = "rocksdb")]
async fn open_storage(path: &Path, config: &Config) -> Result<Storage, OpenError> {
    let (path, config) = (path.to_owned(), config.storage.clone());
    let opened = tokio::task::spawn_blocking(move || storage::open(&path, &config)).await;
    Ok(opened.map_err(|error| OpenError::Raft(format!("its storage could not be opened: {error}")))??)
}

#[cfg(not(feature = "rocksdb"))]
async fn open_storage(_path: &Path, _config: &Config) -> Result<Storage, OpenError> {
    Err(OpenError::Raft("this program was built without its database (feature `rocksdb`)".to_owned()))
}
