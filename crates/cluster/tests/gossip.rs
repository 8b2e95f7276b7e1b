//! Real nodes gossip over loopback.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use onrush_cluster::{Advertised, Cluster, Config, Error, Link};
use onrush_seams::{Network as _, TokioNetwork};
use onrush_types::{ClusterId, ClusterView, NodeAddresses, NodeId, NodeInfo, Roles};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Generous, for machines that are busy; detection itself takes half a second at this interval.
const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    cluster: Cluster,
    peer: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

fn config() -> Config {
    Config { interval: Duration::from_millis(50), ..Config::default() }
}

fn advertised(id: u64, generation: u64, peer: SocketAddr) -> Advertised {
    Advertised {
        id: NodeId(id),
        name: format!("node-{id}").parse().unwrap(),
        addresses: NodeAddresses { gateway: peer, api: peer, peer },
        roles: Roles::default(),
        slots: 2,
        speed: 100,
        zone: None,
        version: "0.1.0".into(),
        generation,
    }
}

async fn bind(address: SocketAddr) -> (Link, SocketAddr) {
    let link = Link::bind(Arc::new(TokioNetwork), address).await.unwrap();
    let peer = link.datagrams.local_addr().unwrap();
    (link, peer)
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

impl Node {
    async fn start(cluster: ClusterId, id: u64, seeds: &[String]) -> Self {
        let (link, peer) = bind(loopback()).await;
        Self::start_on(cluster, advertised(id, 1, peer), seeds, link).await
    }

    async fn start_on(cluster: ClusterId, me: Advertised, seeds: &[String], link: Link) -> Self {
        let peer = me.addresses.peer;
        let cluster = Cluster::join(config(), me, cluster, seeds.to_vec(), link).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(cluster.clone().run(stop.clone()));
        Self { cluster, peer, stop, task }
    }

    /// As `kill -9` does it: no goodbye.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    async fn sees(&self, what: &str, condition: impl Fn(&ClusterView) -> bool) {
        let mut view = self.cluster.view();
        let seen = tokio::time::timeout(PATIENCE, view.wait_for(|view| condition(view))).await;
        assert!(seen.is_ok(), "never saw that {what}: {:?}", self.cluster.view().borrow());
    }

    async fn sees_node(&self, id: u64, what: &str, condition: impl Fn(&NodeInfo) -> bool) {
        self.sees(what, |view| view.get(NodeId(id)).is_some_and(|node| condition(node))).await;
    }
}

async fn three(cluster: ClusterId) -> [Node; 3] {
    let one = Node::start(cluster, 1, &[]).await;
    let seeds = [one.peer.to_string()];
    let nodes = [one, Node::start(cluster, 2, &seeds).await, Node::start(cluster, 3, &seeds).await];
    for node in &nodes {
        node.sees("all three are alive", |view| view.alive().count() == 3).await;
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_find_each_other_and_a_killed_one_is_noticed() {
    let [one, two, three] = three(ClusterId::new()).await;
    let shown = one.cluster.view().borrow().get(NodeId(3)).cloned().unwrap();
    assert_eq!(shown.addresses.peer, three.peer);
    assert_eq!((shown.slots, shown.name.as_str()), (2, "node-3"));
    three.kill().await;
    for node in [&one, &two] {
        node.sees_node(3, "node 3 is dead", |node| !node.alive).await;
        assert!(node.cluster.view().borrow().is_alive(NodeId(1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_and_ready_spread_and_the_own_view_has_them_at_once() {
    let [one, two, three] = three(ClusterId::new()).await;
    two.cluster.set_ready(true);
    two.cluster.set_draining(true);
    let own = two.cluster.view().borrow().get(NodeId(2)).cloned().unwrap();
    assert!(own.ready && own.draining);
    for node in [&one, &three] {
        node.sees_node(2, "node 2 drains", |node| node.ready && node.draining).await;
    }
    two.cluster.set_draining(false);
    one.sees_node(2, "node 2 serves again", |node| node.ready && !node.draining).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_says_so_and_a_later_start_takes_its_place() {
    let cluster = ClusterId::new();
    let [one, two, three] = three(cluster).await;
    let peer = three.peer;
    let left = tokio::time::Instant::now();
    three.stop.cancel();
    three.task.await.unwrap().unwrap();
    drop(three.cluster);
    for node in [&one, &two] {
        node.sees_node(3, "node 3 left", |node| !node.alive && node.draining).await;
    }
    assert!(left.elapsed() < PATIENCE);
    let (link, _) = bind(peer).await;
    let again = Node::start_on(cluster, advertised(3, 2, peer), &[one.peer.to_string()], link).await;
    for node in [&one, &two] {
        node.sees_node(3, "node 3 is back", |node| node.alive && !node.draining && node.generation == 2).await;
        assert_eq!(node.cluster.view().borrow().nodes.len(), 3);
    }
    again.sees("all three are alive", |view| view.alive().count() == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_on_the_same_seed_never_mix() {
    let [one, two, _three] = three(ClusterId::new()).await;
    let foreign = Node::start(ClusterId::new(), 4, &[one.peer.to_string(), two.peer.to_string()]).await;
    let friend = Node::start(ClusterId::new(), 5, &[foreign.peer.to_string(), one.peer.to_string()]).await;
    // What was sent before this arrived before this: the flag went through the same sockets for many rounds.
    for round in 0..10 {
        two.cluster.set_draining(round % 2 == 0);
        one.sees_node(2, "the flag", |node| node.draining == (round % 2 == 0)).await;
    }
    assert_eq!(one.cluster.view().borrow().nodes.len(), 3);
    assert_eq!(foreign.cluster.view().borrow().nodes.len(), 1);
    assert_eq!(friend.cluster.view().borrow().nodes.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_datagrams_do_no_harm() {
    let [one, two, _three] = three(ClusterId::new()).await;
    let raw = TokioNetwork.datagrams(loopback()).await.unwrap();
    for length in 0..500_usize {
        let bytes: Vec<u8> = (0..length).map(|place| u8::try_from((place * 31 + length * 7) % 256).unwrap()).collect();
        raw.send_to(&bytes, one.peer).await.unwrap();
    }
    raw.send_to(&vec![0xff; 65_507], one.peer).await.unwrap();
    two.cluster.set_draining(true);
    one.sees_node(2, "node 2 drains", |node| node.draining).await;
    assert!(!one.task.is_finished());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_in_which_nothing_changed_is_not_shown_again() {
    let [one, two, _three] = three(ClusterId::new()).await;
    let mut view = one.cluster.view();
    view.mark_unchanged();
    one.cluster.set_ready(false);
    // A full round trip, with dozens of heartbeats in it, changes node 2 only.
    two.cluster.set_ready(true);
    one.sees_node(2, "node 2 is ready", |node| node.ready).await;
    let mut wakes = 0;
    while view.has_changed().unwrap() {
        view.mark_unchanged();
        wakes += 1;
    }
    assert_eq!(wakes, 1);
    let idle = tokio::time::timeout(Duration::from_secs(1), view.changed()).await;
    assert!(idle.is_err(), "twenty rounds without a change showed a view");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_may_be_a_host_name() {
    let cluster = ClusterId::new();
    let one = Node::start(cluster, 1, &[]).await;
    let two = Node::start(cluster, 2, &[format!("localhost:{}", one.peer.port())]).await;
    two.sees_node(1, "node 1 is alive", |node| node.alive).await;
}

#[tokio::test]
async fn a_node_alone_is_in_its_own_view_before_anything_ran() {
    let (link, peer) = bind(loopback()).await;
    let me = advertised(1, 1, peer);
    let cluster = Cluster::join(config(), me, ClusterId::new(), vec![], link).await.unwrap();
    let view = cluster.view().borrow().clone();
    assert!(view.is_alive(NodeId(1)) && !view.get(NodeId(1)).unwrap().ready);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_link, peer) = bind(loopback()).await;
    let error = Link::bind(Arc::new(TokioNetwork), peer).await.err().unwrap();
    assert!(matches!(error, Error::PortInUse(address) if address == peer));
    assert!(error.to_string().contains("in use"));
}

#[tokio::test]
async fn an_address_nobody_can_reach_is_refused() {
    let (link, _) = bind(loopback()).await;
    let me = advertised(1, 1, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7071)));
    let error = Cluster::join(config(), me, ClusterId::new(), vec![], link).await.err().unwrap();
    assert!(error.to_string().contains("0.0.0.0:7071"), "{error}");
}

/// A socket that breaks once it has been told to.
struct Breaking(Arc<dyn onrush_seams::Datagrams>, CancellationToken);

#[async_trait::async_trait]
impl onrush_seams::Datagrams for Breaking {
    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> std::io::Result<usize> {
        self.0.send_to(bytes, to).await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> std::io::Result<(usize, SocketAddr)> {
        tokio::select! {
            () = self.1.cancelled() => Err(std::io::Error::other("the network card fell out")),
            received = self.0.recv_from(buffer) => received,
        }
    }
}

#[tokio::test]
async fn a_broken_socket_ends_the_run_with_its_reason() {
    let (mut link, peer) = bind(loopback()).await;
    let pull = CancellationToken::new();
    link.datagrams = Arc::new(Breaking(link.datagrams, pull.clone()));
    let node = Node::start_on(ClusterId::new(), advertised(1, 1, peer), &[], link).await;
    pull.cancel();
    let error = tokio::time::timeout(PATIENCE, node.task).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(&error, Error::Died(why) if why.contains("broken")), "{error}");
}
