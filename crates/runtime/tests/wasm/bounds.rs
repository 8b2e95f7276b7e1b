//! A guest cannot hurt its neighbours, whatever it does.

use std::time::Duration;

use futures::future::join_all;
use onrush_invoke::{Body, Reached};
use onrush_runtime::wasm::Config;
use onrush_types::Code;

use super::bench::{Bench, until};

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spinning_guest_ends_at_its_deadline_and_lets_others_through() {
    let bench = Bench::new();
    let guest = bench.prepare("hostile").await;
    let spinners: Vec<_> = (0..8)
        .map(|_| {
            let guest = guest.clone();
            tokio::spawn(async move { guest.send("/spin", Body::empty(), Duration::from_secs(3)).await.map(drop) })
        })
        .collect();
    assert_eq!(guest.text("/").await, "hello", "more spinners than threads do not stop a neighbour");
    assert!(!spinners.iter().any(tokio::task::JoinHandle::is_finished), "it did not wait for them to end");
    for error in join_all(spinners).await {
        let error = error.unwrap().unwrap_err();
        assert_eq!((error.code, error.reached), (Code::DeadlineExceeded, Reached::MaybeRan));
    }
    bench.all_quiet().await;
    assert!(bench.log.says("longer than its time"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_guest_ends_at_its_deadline_too() {
    let bench = Bench::new();
    let guest = bench.prepare("hostile").await;
    let error = guest.send("/sleep?60000", Body::empty(), SHORT).await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::DeadlineExceeded, Reached::MaybeRan));
    let late = guest.send("/", Body::empty(), Duration::ZERO).await.unwrap_err();
    assert_eq!((late.code, late.reached), (Code::DeadlineExceeded, Reached::NotSent));
    assert_eq!(guest.text("/").await, "hello");
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_ends_at_the_functions_limit_which_is_named() {
    let bench = Bench::new();
    let guest = bench.prepare_with("hostile", |spec| spec.limits.memory = 16 << 20).await;
    let error = guest.get("/allocate").await.unwrap_err();
    assert_eq!(error.code, Code::FunctionFailed);
    assert!(error.message().contains("limit of 16 MiB"), "{error}");
    bench.all_quiet().await;
    let tight = bench.prepare_with("hostile", |spec| spec.limits.memory = 64 << 10).await;
    let error = tight.get("/").await.unwrap_err();
    assert!(error.message().contains("memory"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_of_all_instances_together_is_bounded() {
    let bench = Bench::with(Config { memory_total: 32 << 20, ..Config::default() });
    let guest = bench.prepare("hostile").await;
    let error = guest.get("/allocate").await.unwrap_err();
    assert!(error.message().contains("no memory left"), "{error}");
    bench.all_quiet().await;
    assert_eq!(guest.text("/").await, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_and_a_dropped_body_end_the_guest() {
    let bench = Bench::new();
    let guest = bench.prepare("hostile").await;
    for path in ["/spin", "/sleep?60000"] {
        let call = tokio::spawn({
            let guest = guest.clone();
            async move { guest.get(path).await.map(drop) }
        });
        until("the guest to run", || bench.runtime.memory_in_use() > 0).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        bench.all_quiet().await;
    }
    let reply = guest.get("/large?100000000").await.unwrap();
    assert!(bench.runtime.memory_in_use() > 0);
    drop(reply);
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_function_holds_the_whole_pool() {
    let bench = Bench::with(Config { instances: 10, ..Config::default() });
    let greedy = bench.prepare("hostile").await;
    assert_eq!(greedy.prepared.capacity(), 9);
    let calls: Vec<_> = (0..9)
        .map(|_| {
            let greedy = greedy.clone();
            tokio::spawn(async move { greedy.get("/sleep?60000").await.map(drop) })
        })
        .collect();
    until("nine calls", || bench.in_flight(10) == 9).await;
    let error = greedy.get("/").await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::Overloaded, Reached::NotSent));
    assert!(error.may_move(false));
    let other = bench.prepare("hello").await;
    assert_eq!(other.get("/").await.unwrap().status(), 200, "the rest of the pool is for others");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    join_all(calls).await;
    drop(other);
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_pool_is_a_refusal() {
    let bench = Bench::with(Config { instances: 4, function_share: 100, ..Config::default() });
    let guest = bench.prepare("hostile").await;
    let other = bench.prepare("hello").await;
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let guest = guest.clone();
            tokio::spawn(async move { guest.get("/sleep?60000").await.map(drop) })
        })
        .collect();
    until("four instances", || bench.runtime.memory_in_use() >= 4 << 20).await;
    let error = other.get("/").await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::Overloaded, Reached::NotSent), "{error}");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    join_all(calls).await;
    drop(other);
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_instance_never_sees_an_earlier_ones_bytes() {
    for pagemap_scan in [true, false] {
        // One slot: each call gets the memory that the one before it has dirtied.
        let bench = Bench::with(Config { instances: 1, pagemap_scan, ..Config::default() });
        let guest = bench.prepare("hostile").await;
        for _ in 0..300 {
            assert_eq!(guest.text("/pristine").await, "globals true memory true", "scan {pagemap_scan}");
            bench.all_quiet().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_failure_the_runtime_is_as_before() {
    let bench = Bench::with(Config { instances: 8, ..Config::default() });
    let guest = bench.prepare_with("hostile", |spec| spec.limits.memory = 8 << 20).await;
    for _ in 0..10 {
        for path in ["/trap", "/spin", "/allocate", "/silent", "/exit", "/headers?1000000"] {
            assert!(guest.send(path, Body::empty(), Duration::from_millis(50)).await.is_err(), "{path}");
        }
    }
    bench.all_quiet().await;
    let replies = join_all((0..7).map(|_| guest.get("/"))).await;
    assert!(replies.iter().all(Result::is_ok), "all instances are back");
}
