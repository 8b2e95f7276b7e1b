use std::{
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use http_body_util::BodyExt;
use onrush_catalog::{ArtifactError, ByteStream, CatalogStore, Command, Proposal, fake::FakeStore};
use onrush_invoke::{Body, Deadline};
use onrush_runtime::fake::FakeRuntime;
use onrush_seams::SystemClock;
use onrush_types::{
    ArtifactRef, Digest, FunctionName, FunctionSpec, InvocationId, Limits, NodeAddresses, NodeInfo, RequestId,
    Revision, Roles, RuntimeKind, VersionNumber,
};
use tokio::sync::{Notify, Semaphore};

use super::*;

/// Artifacts that are there, and can be made to take their time or to be missing.
struct Artifacts {
    gate: Semaphore,
    opened: AtomicUsize,
    missing: AtomicBool,
    asked: Notify,
}

#[async_trait]
impl ArtifactStore for Artifacts {
    async fn put(&self, _: ByteStream, _: Option<ArtifactRef>) -> Result<ArtifactRef, ArtifactError> {
        Err(ArtifactError::Unavailable("not in this test".to_owned()))
    }
    async fn secure(&self, _: ArtifactRef, _: Duration) -> Result<Vec<NodeId>, ArtifactError> {
        Ok(Vec::new())
    }
    async fn open(&self, artifact: ArtifactRef) -> Result<PathBuf, ArtifactError> {
        self.asked.notify_one();
        let _gate = self.gate.acquire().await.unwrap();
        self.opened.fetch_add(1, Ordering::SeqCst);
        if self.missing.load(Ordering::SeqCst) {
            Err(ArtifactError::Missing(artifact.digest))
        } else {
            Ok(PathBuf::new())
        }
    }
    async fn read(&self, digest: Digest) -> Result<(ArtifactRef, ByteStream), ArtifactError> {
        Err(ArtifactError::Missing(digest))
    }
    async fn size_here(&self, _: Digest) -> Option<u64> {
        None
    }
}

struct House {
    worker: Arc<Worker>,
    store: Arc<FakeStore>,
    artifacts: Arc<Artifacts>,
    runtime: Arc<FakeRuntime>,
    view: watch::Sender<Arc<ClusterView>>,
}

fn house(config: Config) -> House {
    let (store, runtime) = (FakeStore::new(), FakeRuntime::new());
    let artifacts = Arc::new(Artifacts {
        gate: Semaphore::new(100),
        opened: AtomicUsize::new(0),
        missing: AtomicBool::new(false),
        asked: Notify::new(),
    });
    let view = watch::Sender::new(Arc::new(ClusterView::empty(NodeId(1))));
    let parts = Parts {
        node: "node-1".into(),
        me: NodeId(1),
        runtimes: vec![Arc::clone(&runtime) as Arc<dyn Runtime>],
        artifacts: Arc::clone(&artifacts) as Arc<dyn ArtifactStore>,
        catalog: store.watch(),
        view: view.subscribe(),
        clock: Arc::new(SystemClock),
    };
    House { worker: Worker::new(config, parts), store, artifacts, runtime, view }
}

fn name(text: &str) -> FunctionName {
    FunctionName::new("default".parse().unwrap(), text.parse().unwrap())
}

impl House {
    /// Deploys a function and returns the target of a call to it.
    async fn deploy(&self, text: &str, limits: Limits) -> Target {
        self.deploy_in("default", text, limits).await
    }

    async fn deploy_in(&self, namespace: &str, text: &str, limits: Limits) -> Target {
        let name = FunctionName::new(namespace.parse().unwrap(), text.parse().unwrap());
        let mut digest = [0; 32];
        digest[..text.len()].copy_from_slice(text.as_bytes());
        let mut spec = FunctionSpec::new(RuntimeKind::Wasm, ArtifactRef { digest: Digest(digest), size: 1 });
        spec.limits = limits;
        self.commit(Command::PutFunction { name: name.clone(), spec, expected: None }).await;
        let revision = self.store.watch().borrow().revision;
        Target { function: name, version: VersionNumber(1), revision }
    }

    async fn commit(&self, command: Command) {
        let proposal = Proposal { request: RequestId::new(), at_ms: 0, command };
        self.store.commit(proposal, Duration::from_secs(1)).await.unwrap().accepted().unwrap();
    }

    async fn call(&self, target: &Target, path: &str) -> Result<Reply, InvokeError> {
        self.worker.invoke(call(target, path, Duration::from_secs(5))).await
    }

    fn run(&self) -> (CancellationToken, tokio::task::JoinHandle<Result<(), RunError>>) {
        let stop = CancellationToken::new();
        (stop.clone(), tokio::spawn(Arc::clone(&self.worker).run(stop)))
    }
}

fn call(target: &Target, path: &str, timeout: Duration) -> Invocation {
    let request = http::Request::post(format!("http://f{path}")).body(Body::from("body")).unwrap();
    Invocation {
        id: InvocationId::new(),
        target: target.clone(),
        deadline: Deadline::after(timeout),
        attempt: 1,
        sharing: None,
        request,
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

#[tokio::test]
async fn a_call_runs_and_is_counted_to_its_last_byte() {
    let house = house(Config::default());
    let target = house.deploy("f", Limits::default()).await;
    let reply = house.call(&target, "/echo").await.unwrap();
    assert_eq!((&*reply.node, reply.load.in_flight), ("node-1", 1));
    assert_eq!(house.worker.in_flight(), 1);
    assert_eq!(reply.response.into_body().collect(9).await.unwrap(), "body");
    assert_eq!(house.worker.in_flight(), 0);
    let dropped = house.call(&target, "/echo").await.unwrap();
    assert_eq!(house.worker.in_flight(), 1);
    drop(dropped);
    house.worker.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_catalog_that_is_behind_is_waited_for_shortly() {
    let house = house(Config::default());
    let mut target = house.deploy("f", Limits::default()).await;
    target.revision = Revision(target.revision.0 + 1);
    let started = tokio::time::Instant::now();
    let error = house.call(&target, "/").await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::Behind, Reached::NotSent));
    assert!(error.load.is_some(), "a worker that refuses says its load");
    assert_eq!(started.elapsed(), Duration::from_millis(50));

    let late = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        house.deploy("other", Limits::default()).await
    };
    let (reply, _) = tokio::join!(house.call(&target, "/"), late);
    assert!(reply.is_ok());
    house.commit(Command::RemoveFunction { name: name("f"), with_routes: false }).await;
    house.worker.versions.keep_those_of(&house.store.watch().borrow());
    assert_eq!(house.call(&target, "/").await.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn however_many_wait_for_a_version_it_is_made_ready_once() {
    let house = house(Config::default());
    let target = house.deploy("f", Limits::default()).await;
    let closed = house.artifacts.gate.acquire_many(100).await.unwrap();
    let calls = futures::future::join_all((0..20).map(|_| house.call(&target, "/echo")));
    tokio::pin!(calls);
    assert!(futures::poll!(&mut calls).is_pending());
    assert_eq!(house.worker.load().queued, 20, "who waits for a version is counted");
    drop(closed);
    assert!(calls.await.iter().all(Result::is_ok));
    assert_eq!((house.runtime.prepared(), house.artifacts.opened.load(Ordering::SeqCst)), (1, 1));
    house.worker.idle().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_call_waits_no_longer_than_its_deadline_and_the_work_goes_on() {
    let house = house(Config::default());
    let target = house.deploy("f", Limits::default()).await;
    let closed = house.artifacts.gate.acquire_many(100).await.unwrap();
    let error = house.worker.invoke(call(&target, "/", Duration::from_millis(100))).await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::DeadlineExceeded, Reached::NotSent));
    assert_eq!(house.worker.in_flight(), 0);
    drop(closed);
    house.call(&target, "/").await.unwrap();
    assert_eq!(house.artifacts.opened.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_failed_is_tried_again_after_a_while_that_doubles() {
    let house = house(Config::default());
    let target = house.deploy("f", Limits::default()).await;
    house.artifacts.missing.store(true, Ordering::SeqCst);
    let error = house.call(&target, "/").await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::Unavailable, Reached::NotSent));
    assert!(error.may_move(false) && error.load.is_some() && error.retry_after.is_some());
    for (seconds, tries) in [(0, 1), (1, 2), (1, 2), (1, 3)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        house.call(&target, "/").await.unwrap_err();
        assert_eq!(house.artifacts.opened.load(Ordering::SeqCst), tries);
    }
    house.artifacts.missing.store(false, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(4)).await;
    house.call(&target, "/").await.unwrap();
    house.runtime.refuse();
    let unfit = house.deploy("g", Limits::default()).await;
    let error = house.call(&unfit, "/").await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::FunctionFailed, Reached::NotSent));
    assert!(!error.may_move(true), "no node can run it");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_takes_too_long_may_have_run() {
    let house = house(Config::default());
    let target = house.deploy("f", Limits::default()).await;
    let error = house.worker.invoke(call(&target, "/sleep/9000", Duration::from_millis(100))).await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::DeadlineExceeded, Reached::MaybeRan));
    assert_eq!(house.call(&target, "/fail").await.unwrap_err().code, Code::FunctionFailed);
    assert_eq!(house.worker.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_functions_concurrency_is_divided_over_the_nodes_that_serve() {
    let house = house(Config::default());
    let (stop, running) = house.run();
    let target = house.deploy("f", Limits { concurrency: Some(2), ..Limits::default() }).await;
    let most_at_once = async |calls: usize| {
        let calls = futures::future::join_all((0..calls).map(|_| house.call(&target, "/sleep/1000")));
        tokio::pin!(calls);
        assert!(futures::poll!(&mut calls).is_pending());
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(futures::poll!(&mut calls).is_pending());
        let load = house.worker.load();
        calls.await;
        load.in_flight - load.queued
    };
    assert_eq!(most_at_once(4).await, 2, "alone, all of it");
    let address = "127.0.0.1:1".parse().unwrap();
    let info = |id| NodeInfo {
        id: NodeId(id),
        name: format!("n-{id}").parse().unwrap(),
        addresses: NodeAddresses { gateway: address, api: address, peer: address },
        roles: Roles::default(),
        slots: 2,
        speed: 100,
        zone: None,
        generation: 1,
        draining: false,
        ready: true,
        alive: true,
        version: String::new(),
    };
    let nodes = [1, 2].map(|id| (NodeId(id), Arc::new(info(id)))).into();
    house.view.send_replace(Arc::new(ClusterView { me: NodeId(1), nodes }));
    let two = [NodeId(1), NodeId(2)];
    until("the worker has seen the other", || *house.worker.nodes.read().unwrap().serving == two).await;
    assert_eq!(most_at_once(4).await, 1, "two nodes, half each");
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_draining_worker_finishes_and_takes_nothing_new() {
    let house = house(Config::default());
    let target = house.deploy("f", Limits::default()).await;
    let reply = house.call(&target, "/echo").await.unwrap();
    house.worker.drain();
    let error = house.call(&target, "/").await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::Unavailable, Reached::NotSent));
    assert!(error.load.is_some() && error.may_move(false));
    let idle = house.worker.idle();
    tokio::pin!(idle);
    assert!(futures::poll!(&mut idle).is_pending());
    assert_eq!(reply.response.into_body().collect(9).await.unwrap(), "body");
    idle.await;
    house.worker.undrain();
    house.call(&target, "/").await.unwrap();
}

#[tokio::test]
async fn the_newest_functions_are_ready_ahead_of_their_calls_and_removed_ones_go() {
    let house = house(Config { prefetch: 2, ..Config::default() });
    for text in ["a", "b", "c"] {
        house.deploy(text, Limits::default()).await;
    }
    let (stop, running) = house.run();
    until("two are ready", || house.runtime.prepared() == 2).await;
    let is_ready = |text: &str| {
        house.worker.versions.get(&name(text), VersionNumber(1)).is_some_and(|version| version.ready().is_some())
    };
    until("the newest are ready", || is_ready("b") && is_ready("c")).await;
    assert!(!is_ready("a"));
    house.commit(Command::RemoveFunction { name: name("c"), with_routes: false }).await;
    until("the removed one has gone", || house.worker.versions.get(&name("c"), VersionNumber(1)).is_none()).await;
    until("the next one is ready", || is_ready("a")).await;
    stop.cancel();
    assert_eq!(running.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn versions_are_bounded_and_the_one_unused_for_longest_goes() {
    let house = house(Config { prepared_versions: 2, ..Config::default() });
    let mut targets = Vec::new();
    for text in ["a", "b", "c"] {
        targets.push(house.deploy(text, Limits::default()).await);
    }
    for index in [0, 1, 0, 2, 0] {
        house.call(&targets[index], "/").await.unwrap();
        assert!(house.worker.versions.len() <= 2);
    }
    assert_eq!(house.runtime.prepared(), 3, "the one in use stayed");
    house.call(&targets[1], "/").await.unwrap();
    assert_eq!(house.runtime.prepared(), 4);
}

#[tokio::test]
async fn ten_thousand_functions_are_registered_and_only_the_newest_made_ready() {
    let house = house(Config { prefetch: 16, ..Config::default() });
    for number in 0..10_000 {
        house.deploy(&format!("f-{number}"), Limits::default()).await;
    }
    let (stop, running) = house.run();
    until("the newest are ready", || house.runtime.prepared() == 16).await;
    let revision = house.store.watch().borrow().revision;
    let oldest = Target { function: name("f-0"), version: VersionNumber(1), revision };
    house.call(&oldest, "/").await.unwrap();
    assert_eq!(house.runtime.prepared(), 17);
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// A flooding namespace and a quiet one on a node with one slot: how long the quiet one's calls take.
async fn quiet_beside(flooders: usize) -> Vec<Duration> {
    let house = Arc::new(house(Config { slots: 1, ..Config::default() }));
    let flood = house.deploy("flood", Limits::default()).await;
    let quiet = house.deploy_in("quiet", "f", Limits::default()).await;
    house.call(&quiet, "/compute/5").await.unwrap();
    let stop = CancellationToken::new();
    for _ in 0..flooders {
        let (house, flood, stop) = (Arc::clone(&house), flood.clone(), stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                // A client that does not listen to Retry-After; it only may not spin in a time that stands still.
                if house.call(&flood, "/compute/50").await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }));
    }
    let mut took = Vec::new();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(13)).await;
        let started = tokio::time::Instant::now();
        house.call(&quiet, "/compute/5").await.unwrap();
        took.push(started.elapsed());
    }
    stop.cancel();
    took.sort_unstable();
    took
}

#[tokio::test(start_paused = true)]
async fn a_flooded_namespace_does_not_slow_another_one_down() {
    let (alone, beside) = (quiet_beside(0).await, quiet_beside(200).await);
    let p99 = |took: &[Duration]| took[took.len() * 99 / 100];
    // Calls of the other one are ten times as long, cannot be cut short, and hold the only usual slot all the time.
    assert!(p99(&beside) <= 2 * p99(&alone), "{:?} alone, {:?} beside", p99(&alone), p99(&beside));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_from_the_queue_is_proven_not_to_have_run() {
    let house = Arc::new(house(Config { slots: 1, ..Config::default() }));
    let target = house.deploy("f", Limits::default()).await;
    house.call(&target, "/compute/5").await.unwrap();
    // Four seconds of ten times too much, from clients that do not wait for one another.
    let mut calls = Vec::new();
    for _ in 0..8_000 {
        let (house, target) = (Arc::clone(&house), target.clone());
        calls.push(tokio::spawn(async move { house.call(&target, "/compute/5").await.map(drop) }));
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    let outcomes: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(refused.len() > 4_000 && refused.len() < outcomes.len() - 500, "{}", refused.len());
    for error in refused {
        assert_eq!((error.code, error.reached), (Code::Overloaded, Reached::NotSent), "{error}");
        assert!(error.retry_after.is_some() && error.load.is_some());
    }
    house.worker.idle().await;
}

/// P8 through the whole worker: calls are dropped at random points, cold and warm, and nothing stays counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_clients_do_in_flight_returns_to_zero() {
    let house = Arc::new(house(Config { max_running: 4, ..Config::default() }));
    let mut targets = Vec::new();
    for text in ["a", "b", "c"] {
        targets.push(house.deploy(text, Limits { concurrency: Some(2), ..Limits::default() }).await);
    }
    let served = Arc::new(Mutex::new(0));
    let tasks = (0..600_usize).map(|number| {
        let (house, target, served) = (Arc::clone(&house), targets[number % 3].clone(), Arc::clone(&served));
        tokio::spawn(async move {
            let path = ["/echo", "/sleep/1", "/fail", "/"][number % 4];
            let work = async {
                if let Ok(reply) = house.call(&target, path).await {
                    if number % 5 != 0 {
                        BodyExt::collect(reply.response.into_body()).await.unwrap();
                    }
                    *served.lock().unwrap() += 1;
                }
            };
            // Some clients go after a few polls, wherever the call is then.
            tokio::pin!(work);
            for _ in 0..number % 7 {
                if futures::poll!(&mut work).is_ready() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            if number % 2 == 0 {
                work.await;
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(10), house.worker.idle()).await.expect("a count that never returns");
    assert_eq!(house.worker.load().in_flight, 0);
    assert!(*served.lock().unwrap() > 0);
}
