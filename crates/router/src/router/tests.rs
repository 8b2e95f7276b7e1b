use std::sync::atomic::AtomicBool;

use futures::{future::join_all, stream};
use http_body_util::{BodyExt, StreamBody};
use onrush_catalog::{CatalogStore, Command, Proposal, fake::FakeStore};
use onrush_invoke::{BodyError, Deadline, LoadReport, Reached};
use onrush_seams::OsEntropy;
use onrush_types::{
    ArtifactRef, Digest, FunctionName, FunctionSpec, InvocationId, NodeAddresses, NodeInfo, RequestId, Revision, Roles,
    RuntimeKind, VersionNumber,
};
use tokio::sync::Semaphore;

use super::*;

/// What a node does with calls.
#[derive(Clone)]
enum Act {
    Echo,
    Fail(InvokeError),
    /// Reads one frame of the body first.
    ReadAndFail(InvokeError),
}

struct TestNode {
    act: Mutex<Act>,
    /// Calls get through when this has permits.
    gate: Semaphore,
    seen: Mutex<Vec<(InvocationId, u8)>>,
    running: AtomicU32,
    endless: AtomicBool,
    /// How often it was asked for its load.
    asked: AtomicU32,
    takes_ms: AtomicU32,
}

impl TestNode {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            act: Mutex::new(Act::Echo),
            gate: Semaphore::new(1_000),
            seen: Mutex::default(),
            running: AtomicU32::new(0),
            endless: AtomicBool::new(false),
            asked: AtomicU32::new(0),
            takes_ms: AtomicU32::new(0),
        })
    }

    fn set(&self, act: Act) {
        *self.act.lock().unwrap() = act;
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    fn load(&self) -> LoadReport {
        let running = self.running.load(Ordering::SeqCst);
        LoadReport { in_flight: running, busy: running, slots: 2, ..LoadReport::default() }
    }
}

#[async_trait]
impl Invoke for TestNode {
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError> {
        self.seen.lock().unwrap().push((call.id, call.attempt));
        self.running.fetch_add(1, Ordering::SeqCst);
        let _gate = self.gate.acquire().await.unwrap();
        let takes = self.takes_ms.load(Ordering::SeqCst);
        if takes > 0 {
            tokio::time::sleep(Duration::from_millis(takes.into())).await;
        }
        let act = self.act.lock().unwrap().clone();
        let load = self.load();
        self.running.fetch_sub(1, Ordering::SeqCst);
        let mut body = call.request.into_body();
        match act {
            Act::Fail(error) => return Err(error),
            Act::ReadAndFail(error) => {
                body.frame().await.unwrap().unwrap();
                return Err(error);
            }
            Act::Echo => {}
        }
        if self.endless.load(Ordering::SeqCst) {
            body = Body::stream(StreamBody::new(stream::pending::<Result<http_body::Frame<_>, BodyError>>()));
        }
        Ok(Reply { response: http::Response::new(body), node: "test".into(), load })
    }
}

#[async_trait]
impl Ask for TestNode {
    async fn load(&self) -> Result<LoadReport, InvokeError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match &*self.act.lock().unwrap() {
            Act::Fail(error) if error.reached == Reached::NotSent && error.load.is_none() => Err(error.clone()),
            _ => Ok(TestNode::load(self)),
        }
    }
}

struct Cluster {
    router: Arc<Router>,
    nodes: Vec<Arc<TestNode>>,
    store: Arc<FakeStore>,
    view: watch::Sender<Arc<ClusterView>>,
}

fn info(id: u64) -> Arc<NodeInfo> {
    let any = "127.0.0.1:1".parse().unwrap();
    Arc::new(NodeInfo {
        id: NodeId(id),
        name: format!("n-{id}").parse().unwrap(),
        addresses: NodeAddresses { gateway: any, api: any, peer: any },
        roles: Roles::default(),
        slots: 2,
        speed: 100,
        zone: None,
        generation: 1,
        draining: false,
        ready: true,
        alive: true,
        version: String::new(),
    })
}

fn view(ids: impl IntoIterator<Item = u64>) -> Arc<ClusterView> {
    Arc::new(ClusterView { me: NodeId(1), nodes: ids.into_iter().map(|id| (NodeId(id), info(id))).collect() })
}

/// A cluster of nodes 1 to `count`; the router is on node 1, which is a worker if `local`.
fn cluster(count: u64, local: bool, config: Config) -> Cluster {
    let nodes: Vec<_> = (0..count).map(|_| TestNode::new()).collect();
    let (store, view) = (FakeStore::new(), watch::Sender::new(view(1..=count)));
    let remote = nodes.clone();
    let parts = Parts {
        me: NodeId(1),
        local: local.then(|| {
            let node = Arc::clone(&nodes[0]);
            Here { invoke: node.clone(), load: Arc::new(move || TestNode::load(&node)) }
        }),
        remote: Arc::new(move |id: NodeId| {
            let node = &remote[usize::try_from(id.0).unwrap() - 1];
            Way { invoke: node.clone(), ask: node.clone() }
        }),
        view: view.subscribe(),
        catalog: store.watch(),
        entropy: Arc::new(OsEntropy),
    };
    Cluster { router: Router::new(config, parts), nodes, store, view }
}

impl Cluster {
    async fn call(&self, body: Body) -> Result<Reply, InvokeError> {
        self.router.invoke(call(body)).await
    }

    fn seen(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.seen()).collect()
    }

    async fn deploy(&self, change: impl FnOnce(&mut FunctionSpec)) {
        let mut spec = FunctionSpec::new(RuntimeKind::Wasm, ArtifactRef { digest: Digest([1; 32]), size: 1 });
        change(&mut spec);
        let command = Command::PutFunction { name: target().function, spec, expected: None };
        let proposal = Proposal { request: RequestId::new(), at_ms: 0, command };
        self.store.commit(proposal, Duration::from_secs(1)).await.unwrap().accepted().unwrap();
    }
}

/// Second tries for everybody: what is tested is where they go.
fn generous() -> Config {
    Config { retry_per_second: 1_000, ..Config::default() }
}

fn target() -> Target {
    let function = FunctionName::new("default".parse().unwrap(), "f".parse().unwrap());
    Target { function, version: VersionNumber(1), revision: Revision(0) }
}

fn call(body: Body) -> Invocation {
    Invocation {
        id: InvocationId::new(),
        target: target(),
        deadline: Deadline::after(Duration::from_secs(5)),
        attempt: 1,
        sharing: None,
        request: http::Request::post("http://f/").body(body).unwrap(),
    }
}

fn streamed() -> Body {
    Body::stream(Body::from("streamed"))
}

fn full() -> Act {
    Act::Fail(InvokeError::refused(Code::Overloaded, "full").with_load(LoadReport::default()))
}

fn lost() -> InvokeError {
    InvokeError::interrupted(Code::OutcomeUnknown, "reset")
}

fn unreachable() -> Act {
    Act::Fail(InvokeError::refused(Code::Unavailable, "connection refused"))
}

#[tokio::test]
async fn an_idle_cluster_runs_calls_where_they_arrive() {
    let cluster = cluster(3, true, Config::default());
    for _ in 0..10 {
        let reply = cluster.call(Body::from("x")).await.unwrap();
        assert_eq!(reply.response.into_body().collect(9).await.unwrap(), "x");
    }
    assert_eq!(cluster.seen(), [10, 0, 0]);
}

#[tokio::test]
async fn a_refused_call_moves_once_and_says_that_it_is_the_second_try() {
    let cluster = cluster(3, true, Config::default());
    cluster.nodes[0].set(full());
    let reply = cluster.call(Body::from("x")).await.unwrap();
    assert_eq!(reply.response.into_body().collect(9).await.unwrap(), "x");
    assert_eq!((cluster.seen()[0], cluster.seen().iter().sum::<usize>()), (1, 2));
    let attempts: Vec<_> = cluster.nodes.iter().flat_map(|node| node.seen.lock().unwrap().clone()).collect();
    assert_eq!(attempts[0].0, attempts[1].0);
    assert_eq!((attempts[0].1, attempts[1].1), (1, 2));

    cluster.nodes.iter().for_each(|node| node.set(full()));
    let error = cluster.call(Body::from("x")).await.unwrap_err();
    assert_eq!((error.code, cluster.seen().iter().sum::<usize>()), (Code::Overloaded, 4), "two tries, not three");
}

#[tokio::test]
async fn a_call_that_may_have_run_is_repeated_only_if_that_is_harmless() {
    for idempotent in [false, true] {
        let cluster = cluster(3, true, Config::default());
        cluster.deploy(|spec| spec.idempotent = idempotent).await;
        cluster.nodes[0].set(Act::Fail(lost()));
        let outcome = cluster.call(Body::from("x")).await;
        assert_eq!(outcome.is_ok(), idempotent);
        assert_eq!(cluster.seen().iter().sum::<usize>(), if idempotent { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_stream_moves_only_while_nobody_has_read_from_it() {
    let cluster = cluster(2, true, Config::default());
    cluster.nodes[0].set(full());
    let reply = cluster.call(streamed()).await.unwrap();
    assert_eq!(reply.response.into_body().collect(9).await.unwrap(), "streamed", "the other node gets all of it");
    assert_eq!(cluster.seen(), [1, 1]);

    let refusal = InvokeError::refused(Code::Overloaded, "full").with_load(LoadReport::default());
    cluster.nodes[0].set(Act::ReadAndFail(refusal));
    assert_eq!(cluster.call(streamed()).await.unwrap_err().code, Code::Overloaded);
    assert_eq!(cluster.seen(), [2, 1]);
    cluster.call(Body::from("whole")).await.unwrap();
}

#[tokio::test]
async fn in_flight_returns_to_zero_whatever_happens() {
    let cluster = cluster(2, true, Config::default());
    cluster.nodes[0].endless.store(true, Ordering::SeqCst);
    let reply = cluster.call(Body::from("x")).await.unwrap();
    assert_eq!(cluster.router.in_flight(NodeId(1)), 1, "to the last byte");
    drop(reply);
    assert_eq!(cluster.router.in_flight(NodeId(1)), 0);

    cluster.nodes[0].endless.store(false, Ordering::SeqCst);
    let mut reply = cluster.call(streamed()).await.unwrap().response.into_body();
    assert_eq!(cluster.router.in_flight(NodeId(1)), 1);
    while let Some(frame) = reply.frame().await {
        frame.unwrap();
    }
    assert_eq!(cluster.router.in_flight(NodeId(1)), 0, "the last byte has been read");

    let closed = cluster.nodes[0].gate.acquire_many(1_000).await.unwrap();
    let mut waiting = Box::pin(cluster.call(Body::from("x")));
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(cluster.router.in_flight(NodeId(1)), 1);
    drop(waiting);
    assert_eq!(cluster.router.in_flight(NodeId(1)), 0);
    drop(closed);
    cluster.nodes[0].set(Act::Fail(lost()));
    cluster.call(Body::from("x")).await.unwrap_err();
    assert_eq!((cluster.router.in_flight(NodeId(1)), cluster.router.in_flight(NodeId(2))), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_node_costs_no_try_gets_nothing_and_comes_back() {
    let cluster = cluster(2, false, Config::default());
    // This gateway has no worker of its own, so node 2 is all there is.
    cluster.nodes[1].set(unreachable());
    let error = cluster.call(Body::from("x")).await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::Unavailable, Reached::NotSent));

    let cluster = self::cluster(3, true, generous());
    cluster.nodes[0].set(full());
    cluster.nodes[1].set(unreachable());
    for _ in 0..20 {
        cluster.call(Body::from("x")).await.unwrap();
    }
    assert_eq!(cluster.seen()[1], 1, "ejected at its first failed connect");
    cluster.nodes[1].set(Act::Echo);
    tokio::time::advance(Duration::from_millis(1_100)).await;
    cluster.call(Body::from("x")).await.unwrap();
    assert_eq!((cluster.seen()[1], cluster.nodes[1].asked()), (1, 0), "no call is the first to try");
    cluster.router.readmit().await;
    assert_eq!(cluster.nodes[1].asked(), 1);
    tokio::time::advance(Duration::from_secs(5)).await;
    for _ in 0..50 {
        cluster.call(Body::from("x")).await.unwrap();
    }
    assert!(cluster.seen()[1] > 5, "its time is over and it says that it is well: {:?}", cluster.seen());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_loses_calls_is_ejected_after_five() {
    let cluster = cluster(5, true, generous());
    cluster.nodes[0].set(full());
    cluster.nodes[1].set(Act::Fail(lost()));
    let mut lost = 0;
    for _ in 0..200 {
        lost += usize::from(cluster.call(Body::from("x")).await.is_err_and(|error| error.code == Code::OutcomeUnknown));
        tokio::time::advance(Duration::from_millis(4)).await;
    }
    assert_eq!((lost, cluster.seen()[1]), (5, 5));
}

#[tokio::test]
async fn this_node_is_the_last_resort() {
    let cluster = cluster(3, true, Config::default());
    cluster.view.send_replace({
        let mut view = ClusterView::clone(&view(1..=3));
        let mut me = NodeInfo::clone(&info(1));
        me.ready = false;
        view.nodes.insert(NodeId(1), Arc::new(me));
        Arc::new(view)
    });
    cluster.nodes[1].set(unreachable());
    cluster.nodes[2].set(unreachable());
    cluster.call(streamed()).await.unwrap();
    assert_eq!(cluster.seen(), [1, 1, 1]);
    cluster.call(Body::from("x")).await.unwrap();
    assert_eq!(cluster.seen(), [2, 1, 1], "the others are ejected");
}

#[tokio::test]
async fn a_burst_on_one_gateway_spreads_over_the_nodes() {
    let cluster = cluster(3, true, Config::default());
    let closed: Vec<_> = join_all(cluster.nodes.iter().map(|node| node.gate.acquire_many(1_000))).await;
    let mut calls: Vec<_> = (0..64).map(|_| Box::pin(cluster.call(Body::from("x")))).collect();
    for call in &mut calls {
        assert!(futures::poll!(call).is_pending());
    }
    for seen in cluster.seen() {
        assert!((19..=24).contains(&seen), "{:?}", cluster.seen());
    }
    drop(closed);
    assert!(join_all(calls).await.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn calls_of_other_gateways_count_as_reported_until_the_report_is_old() {
    // Without questions: in paused time their answers take no time, and nodes that were asked would look nearer.
    let cluster = cluster(3, false, Config { ask_percent: 0, ..Config::default() });
    // Nodes 2 and 3 run; node 2 has fifty calls of others.
    cluster.nodes[1].running.store(50, Ordering::SeqCst);
    for _ in 0..40 {
        cluster.call(Body::from("x")).await.unwrap();
    }
    assert!(cluster.seen()[1] <= 1, "once it has said so it gets nothing more: {:?}", cluster.seen());
    cluster.nodes[1].running.store(0, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(60)).await;
    // What is not known of it is taken to be usual, and the usual load is an average that forgets that report too.
    for _ in 0..1_000 {
        cluster.call(Body::from("x")).await.unwrap();
    }
    assert!(cluster.seen()[1] > 100, "an old report is not held against it: {:?}", cluster.seen());
}

#[tokio::test]
async fn large_clusters_are_sampled_and_every_node_gets_its_part() {
    let cluster = cluster(50, false, Config::default());
    let closed: Vec<_> = join_all(cluster.nodes.iter().map(|node| node.gate.acquire_many(1_000))).await;
    let mut calls: Vec<_> = (0..980).map(|_| Box::pin(cluster.call(Body::from("x")))).collect();
    for call in &mut calls {
        assert!(futures::poll!(call).is_pending());
    }
    let seen = cluster.seen();
    assert_eq!(seen[0], 0, "this gateway is no worker");
    let (least, most) = (seen[1..].iter().min().unwrap(), seen[1..].iter().max().unwrap());
    assert!(*least >= 14 && *most <= 26, "two choices keep 49 nodes near 20 each: {seen:?}");
    drop(closed);
}

#[tokio::test]
async fn a_call_with_a_small_cap_goes_to_a_node_that_has_a_share() {
    let cluster = cluster(5, true, Config::default());
    cluster.deploy(|spec| spec.limits.concurrency = Some(1)).await;
    for _ in 0..10 {
        cluster.call(Body::from("x")).await.unwrap();
    }
    let owners: Vec<_> = cluster.seen().into_iter().filter(|seen| *seen > 0).collect();
    assert_eq!(owners, [10]);
}

#[tokio::test]
async fn without_any_worker_the_answer_says_what_to_do() {
    let cluster = cluster(1, false, Config::default());
    let error = cluster.call(Body::from("x")).await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::Unavailable, Reached::NotSent));
    assert!(error.retry_after.is_some() && error.message().contains("onrush node list"));
    cluster.view.send_replace(view([1, 2]));
}

#[tokio::test]
async fn second_tries_are_budgeted() {
    let cluster = cluster(3, true, Config { retry_per_second: 2, ..Config::default() });
    cluster.nodes.iter().for_each(|node| node.set(full()));
    for _ in 0..100 {
        cluster.call(Body::from("x")).await.unwrap_err();
    }
    let sent: usize = cluster.seen().iter().sum();
    assert!((102..=110).contains(&sent), "a hundred calls and a few second tries: {sent}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_still_gone_is_asked_less_and_less_and_in_the_background() {
    let cluster = cluster(3, true, generous());
    cluster.nodes[0].set(full());
    cluster.nodes[1].set(unreachable());
    for _ in 0..20 {
        cluster.call(Body::from("x")).await.unwrap();
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&cluster.router).run(stop.clone()));
    tokio::time::sleep(Duration::from_secs(20)).await;
    // After 1, 2, 4 and 8 seconds more each time.
    assert_eq!((cluster.nodes[1].asked(), cluster.seen()[1]), (4, 1));
    cluster.nodes[1].set(Act::Echo);
    tokio::time::sleep(Duration::from_secs(20)).await;
    for _ in 0..50 {
        cluster.call(Body::from("x")).await.unwrap();
    }
    assert!(cluster.seen()[1] > 5, "{:?}", cluster.seen());
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_gateway_asks_before_it_sends_to_nodes_that_it_knows_little_of() {
    // With a budget for questions that does not end.
    let cluster = cluster(20, true, Config { sampled: 7, ask_percent: 100, ..Config::default() });
    cluster.nodes[0].running.store(40, Ordering::SeqCst);
    cluster.nodes.iter().for_each(|node| node.takes_ms.store(10, Ordering::SeqCst));
    for node in &cluster.nodes[2..] {
        node.running.store(30, Ordering::SeqCst);
    }
    // Node 2 alone is idle. Whoever asks seven of nineteen finds it in one of three calls.
    for _ in 0..60 {
        cluster.call(Body::from("x")).await.unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    let seen = cluster.seen();
    assert!(seen[1] > 8 && seen[2..].iter().sum::<usize>() < 60, "{seen:?}");
    let asked: u32 = cluster.nodes.iter().map(|node| node.asked()).sum();
    assert!(asked > 100, "{asked}");
    assert_eq!(cluster.nodes[0].asked(), 0, "this node is looked at, not asked");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_longer_than_others_is_left_for_them() {
    let cluster = cluster(3, true, Config::default());
    cluster.nodes[0].takes_ms.store(30, Ordering::SeqCst);
    for node in &cluster.nodes[1..] {
        node.takes_ms.store(10, Ordering::SeqCst);
    }
    // More than run here at once, so that the others get some and their pace is known.
    let calls = |count: usize| join_all((0..count).map(|_| cluster.call(Body::from("x"))));
    for _ in 0..120 {
        calls(6).await;
    }
    let before = cluster.seen();
    for _ in 0..40 {
        calls(1).await;
    }
    let here = cluster.seen()[0] - before[0];
    assert!(here <= 8, "it is idle, but slow: {here} of 40, {before:?}");
}

#[tokio::test]
async fn processes_keep_to_the_nodes_where_they_are_warm() {
    let cluster = cluster(8, true, Config::default());
    cluster.deploy(|spec| spec.runtime = RuntimeKind::Process).await;
    for _ in 0..40 {
        cluster.call(Body::from("x")).await.unwrap();
    }
    let warm: Vec<_> = cluster.seen().into_iter().filter(|seen| *seen > 0).collect();
    assert_eq!(warm, [40]);
}

#[tokio::test(start_paused = true)]
async fn what_the_whole_cluster_shares_goes_to_its_owner_and_then_to_the_next_in_line() {
    let cluster = cluster(3, true, generous());
    let shared = |word: u8, scope| {
        let (coalesce, cache, timeout) = (None, None, None);
        let key = onrush_invoke::SharingKey([word; 32]);
        let sharing = onrush_invoke::Sharing { key, scope, coalesce, cache, largest: 0, timeout };
        Invocation { sharing: Some(Box::new(sharing)), ..call(Body::empty()) }
    };
    let owner = |key: u8, among: &[u64]| {
        let owner = onrush_catalog::owner_of(&[key; 32], among.iter().copied().map(NodeId)).unwrap();
        usize::try_from(owner.0).unwrap() - 1
    };
    let key = (0..).find(|key| owner(*key, &[1, 2, 3]) == 2).unwrap();
    for _ in 0..10 {
        cluster.router.invoke(shared(key, onrush_invoke::Scope::Cluster)).await.unwrap();
    }
    assert_eq!(cluster.seen(), [0, 0, 10]);
    // What only a gateway shares goes wherever it is best.
    cluster.router.invoke(shared(key, onrush_invoke::Scope::Gateway)).await.unwrap();
    assert_eq!(cluster.seen(), [1, 0, 10]);
    let next = owner(key, &[1, 2]);
    for act in [full(), unreachable()] {
        cluster.nodes[2].set(act);
        let before = cluster.nodes[next].seen();
        cluster.router.invoke(shared(key, onrush_invoke::Scope::Cluster)).await.unwrap();
        assert_eq!(cluster.nodes[next].seen(), before + 1);
    }
    // It is ejected now, so nobody knocks any more.
    let knocked = cluster.nodes[2].seen();
    cluster.router.invoke(shared(key, onrush_invoke::Scope::Cluster)).await.unwrap();
    assert_eq!(cluster.nodes[2].seen(), knocked);
}

/// A measurement, not a test: `cargo test -p onrush-router -- --ignored --nocapture what_a_choice_costs`.
#[tokio::test]
#[ignore = "prints what a choice costs"]
async fn what_a_choice_costs() {
    const COUNT: u32 = 200_000;
    for (nodes, busy) in [(3, false), (3, true), (1_000, false), (1_000, true)] {
        let cluster = cluster(nodes, true, Config { ask_percent: 0, ..Config::default() });
        cluster.deploy(|_| {}).await;
        if busy {
            cluster.nodes[0].running.store(64, Ordering::SeqCst);
        }
        // What may be spent on asking at the start is spent first.
        for _ in 0..1_000 {
            cluster.router.pick(&target(), &[]).await.unwrap();
        }
        let (start, target) = (Instant::now(), target());
        for _ in 0..COUNT {
            cluster.router.pick(&target, &[]).await.unwrap();
        }
        println!("{nodes} nodes, this one {}: {:?}", if busy { "full" } else { "idle" }, start.elapsed() / COUNT);
    }
}
