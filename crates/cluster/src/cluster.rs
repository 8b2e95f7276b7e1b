//! This node's part in gossip.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chitchat::{Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use onrush_seams::{Datagrams, Network};
use onrush_types::{ClusterId, ClusterView, NodeId, NodeInfo};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    Advertised, Config, Error,
    fold::{Folded, Sighting, Viewer, fold},
    quiet::Quiet,
    transport::{PROTOCOL, SeamTransport},
    words::{gossip_name, say, say_state},
};

/// How many peers hear of a change directly; the others hear it from them.
const DIRECTLY: usize = 16;
const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);

/// What gossip travels over.
#[derive(Clone)]
pub struct Link {
    /// Looks up seeds that are host names.
    pub network: Arc<dyn Network>,
    /// Bound to the peer address.
    pub datagrams: Arc<dyn Datagrams>,
}

impl Link {
    /// Binds the UDP port for gossip: the same number as the TCP port for peers.
    ///
    /// # Errors
    /// [`Error::PortInUse`] or [`Error::Bind`].
    pub async fn bind(network: Arc<dyn Network>, address: SocketAddr) -> Result<Self, Error> {
        let datagrams = network.datagrams(address).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::PortInUse(address),
            _ => Error::Bind { address, source },
        })?;
        Ok(Self { network, datagrams })
    }
}

/// This node's part in gossip. Cheap to clone; gossip ends when the last clone is dropped.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    me: NodeId,
    peer: SocketAddr,
    seeds: Vec<String>,
    network: Arc<dyn Network>,
    handle: ChitchatHandle,
    own: Mutex<NodeInfo>,
    view: watch::Sender<Arc<ClusterView>>,
    /// The own state changed and gossip has not been told.
    unsaid: Notify,
    left: AtomicBool,
    garbage: Quiet,
    double: Quiet,
    crowd: Quiet,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Cluster {
    /// Starts to gossip. The own node is in the view at once, not ready; [`run`](Self::run) keeps the view up to date.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings or words that make no sense, [`Error::Start`].
    pub async fn join(
        config: Config,
        me: Advertised,
        cluster: ClusterId,
        seeds: Vec<String>,
        link: Link,
    ) -> Result<Self, Error> {
        let problem = config.problem().map(str::to_owned).or_else(|| me.problem());
        if let Some(problem) = problem {
            return Err(Error::Invalid(problem));
        }
        let own = me.info();
        let transport = SeamTransport { cluster, datagrams: link.datagrams };
        let settings = chitchat_config(&config, &own, cluster, &seeds);
        let handle = spawn_chitchat(settings, say(&own), &transport);
        let handle = handle.await.map_err(|error| Error::Start(format!("{error:#}")))?;
        let nodes = BTreeMap::from([(own.id, Arc::new(own.clone()))]);
        let view = watch::Sender::new(Arc::new(ClusterView { me: own.id, nodes }));
        let (id, peer) = (own.id, own.addresses.peer);
        info!(node = %id, %peer, generation = own.generation, "gossip started");
        let inner = Inner {
            config,
            me: id,
            peer,
            seeds,
            network: link.network,
            handle,
            own: Mutex::new(own),
            view,
            unsaid: Notify::new(),
            left: AtomicBool::new(false),
            garbage: Quiet::default(),
            double: Quiet::default(),
            crowd: Quiet::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The newest picture; wakes only when something in it changed.
    pub fn view(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.inner.view.subscribe()
    }

    /// Tells everybody that this node takes nothing new, or that it serves again.
    pub fn set_draining(&self, draining: bool) {
        self.inner.change(|own| own.draining = draining);
    }

    /// Tells everybody that this node serves, or that it does not yet.
    pub fn set_ready(&self, ready: bool) {
        self.inner.change(|own| own.ready = ready);
    }

    /// Keeps the view up to date until `stop`, then says goodbye.
    ///
    /// # Errors
    /// [`Error::Died`] when gossip ends by itself; the process must then end as well.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let ended = self.inner.handle.termination_watcher();
        tokio::select! {
            () = stop.cancelled() => {
                self.leave().await;
                Ok(())
            }
            ended = ended => match ended {
                Ok(()) if self.inner.left.load(Ordering::SeqCst) => Ok(()),
                Ok(()) => Err(Error::Died("its task stopped".to_owned())),
                Err(error) => Err(Error::Died(format!("{error:#}"))),
            },
            () = self.inner.follow() => Err(Error::Died("its task is gone".to_owned())),
            () = self.inner.seek() => Err(Error::Died("the search for seeds ended".to_owned())),
        }
    }

    /// Tells the others that this node goes, so that they need not find out, and ends gossip. Takes about two intervals.
    pub async fn leave(&self) {
        if self.inner.left.swap(true, Ordering::SeqCst) {
            return;
        }
        self.inner.speak().await;
        if self.inner.tell_others() > 0 {
            tokio::time::sleep((self.inner.config.interval * 2).min(Duration::from_secs(2))).await;
        }
        if self.inner.handle.initiate_shutdown().is_ok() {
            let ended = tokio::time::timeout(Duration::from_secs(1), self.inner.handle.termination_watcher()).await;
            debug!(in_time = ended.is_ok(), "gossip stopped");
        }
    }
}

impl Inner {
    fn change(&self, change: impl FnOnce(&mut NodeInfo)) {
        change(&mut self.own.lock().unwrap_or_else(PoisonError::into_inner));
        let others = self.view.borrow().nodes.clone();
        self.publish(others);
        self.unsaid.notify_one();
    }

    /// Puts the own node into the picture and shows it, if it differs from the one that is shown.
    fn publish(&self, mut nodes: BTreeMap<NodeId, Arc<NodeInfo>>) {
        self.view.send_if_modified(|shown| {
            let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let own = shown.get(self.me).filter(|old| ***old == own).cloned().unwrap_or_else(|| Arc::new(own));
            nodes.insert(self.me, own);
            if shown.nodes == nodes {
                return false;
            }
            *shown = Arc::new(ClusterView { me: self.me, nodes: std::mem::take(&mut nodes) });
            true
        });
    }

    /// Writes the own state where gossip takes it from.
    async fn speak(&self) {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (key, value) = say_state(&own, self.left.load(Ordering::SeqCst));
        self.handle.with_chitchat(|gossip| gossip.self_node_state().set(key, &value)).await;
    }

    /// Gossips with some peers now instead of at the next interval. How many there were.
    fn tell_others(&self) -> usize {
        let view = Arc::clone(&self.view.borrow());
        let others = view.alive().filter(|node| node.id != self.me).take(DIRECTLY);
        let told = others.map(|node| self.handle.gossip(node.addresses.peer));
        let (sent, gone): (Vec<_>, Vec<_>) = told.partition(Result::is_ok);
        if let Some(Err(error)) = gone.first() {
            debug!(%error, "gossip is gone already");
        }
        sent.len()
    }

    /// Turns what gossip hears into views. Returns when gossip is gone.
    async fn follow(&self) {
        let mut living = self.handle.with_chitchat(|gossip| gossip.live_nodes_watcher()).await;
        // chitchat looks at the living once an interval; what a peer told directly (ready, draining, gone) shows earlier.
        let mut tick = tokio::time::interval(self.config.interval / 4);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = living.changed() => if changed.is_err() { return },
                () = self.unsaid.notified() => {
                    self.speak().await;
                    self.tell_others();
                }
                _ = tick.tick() => {}
            }
            self.refold().await;
        }
    }

    async fn refold(&self) {
        let before = Arc::clone(&self.view.borrow());
        let generation = self.own.lock().unwrap_or_else(PoisonError::into_inner).generation;
        let viewer = Viewer { me: self.me, generation, room: self.config.max_nodes.saturating_sub(1) };
        let folded = self.handle.with_chitchat(|gossip| fold(&viewer, &before, sightings(gossip).into_iter())).await;
        self.report(&folded);
        self.publish(folded.nodes);
    }

    fn report(&self, folded: &Folded) {
        if let Some((name, why)) = &folded.garbage
            && let Some(held) = self.garbage.pass()
        {
            warn!(node = name, why, others = held, "a node gossips what cannot be understood; it is left out");
        }
        if folded.double && self.double.pass().is_some() {
            error!(node = %self.me, "another process gossips as this node: was its data directory copied? stop one of them");
        }
        if folded.dropped > 0 && self.crowd.pass().is_some() {
            warn!(dropped = folded.dropped, limit = self.config.max_nodes, "more nodes than gossip's max-nodes");
        }
    }

    /// Looks seeds up that are host names and greets them. Never returns.
    async fn seek(&self) {
        let names: Vec<_> = self.seeds.iter().filter(|seed| seed.parse::<SocketAddr>().is_err()).collect();
        if names.is_empty() {
            return std::future::pending().await;
        }
        loop {
            for name in &names {
                self.greet(name).await;
            }
            let alone = self.view.borrow().alive().count() < 2;
            tokio::time::sleep(if alone { self.config.seed_refresh / 10 } else { self.config.seed_refresh }).await;
        }
    }

    async fn greet(&self, seed: &str) {
        match tokio::time::timeout(LOOKUP_PATIENCE, self.network.resolve(seed)).await {
            Ok(Ok(addresses)) => {
                for address in addresses.into_iter().filter(|address| *address != self.peer).take(DIRECTLY) {
                    if let Err(error) = self.handle.gossip(address) {
                        debug!(%error, "gossip is gone");
                    }
                }
            }
            Ok(Err(error)) => warn!(seed, %error, "seed cannot be looked up, trying again later"),
            Err(_) => warn!(seed, "looking the seed up takes too long, trying again later"),
        }
    }
}

fn sightings(gossip: &Chitchat) -> Vec<Sighting<'_, chitchat::NodeState>> {
    let living: HashSet<&ChitchatId> = gossip.live_nodes().collect();
    let states = gossip.node_states().iter();
    states
        .map(|(id, words)| Sighting {
            name: &id.node_id,
            generation: id.generation_id,
            alive: living.contains(id),
            words,
        })
        .collect()
}

fn chitchat_config(config: &Config, own: &NodeInfo, cluster: ClusterId, seeds: &[String]) -> ChitchatConfig {
    let peer = own.addresses.peer;
    let failure_detector_config = FailureDetectorConfig {
        phi_threshold: config.phi,
        sampling_window_size: 1_000,
        max_interval: config.interval * 10,
        initial_interval: config.interval,
        dead_node_grace_period: config.dead_grace,
    };
    ChitchatConfig {
        chitchat_id: ChitchatId::new(gossip_name(own.id), own.generation, peer),
        cluster_id: cluster.to_string(),
        gossip_interval: config.interval,
        listen_addr: peer,
        // Names are looked up by us, through the network seam.
        seed_nodes: seeds.iter().filter(|seed| seed.parse::<SocketAddr>().is_ok()).cloned().collect(),
        failure_detector_config,
        marked_for_deletion_grace_period: config.dead_grace,
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: PROTOCOL,
    }
}
