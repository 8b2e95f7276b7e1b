//! Instances that serve more than one call.

use std::time::Duration;

use onrush_invoke::Body;
use onrush_runtime::wasm::Config;

use super::bench::{Bench, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_fresh_for_each_call_unless_reuse_says_otherwise() {
    let bench = Bench::new();
    let fresh = bench.prepare("hostile").await;
    assert_eq!([fresh.text("/count").await, fresh.text("/count").await], ["0", "0"]);
    let reused = bench.prepare_with("hostile", |spec| spec.limits.reuse = 3).await;
    let mut counts = Vec::new();
    for _ in 0..7 {
        counts.push(reused.text("/count").await);
        until("the call's end", || bench.in_flight(2) == 0).await;
    }
    assert_eq!(counts, ["0", "1", "2", "0", "1", "2", "0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_failed_is_not_used_again() {
    let bench = Bench::new();
    let guest = bench.prepare_with("hostile", |spec| spec.limits.reuse = 100).await;
    for path in ["/trap", "/spin", "/silent"] {
        assert_eq!(guest.text("/count").await, "0", "before {path}");
        until("the call's end", || bench.in_flight(1) == 0).await;
        assert!(guest.send(path, Body::empty(), Duration::from_millis(100)).await.is_err());
        bench.all_quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_instances_make_room_for_others() {
    let bench = Bench::with(Config { instances: 2, function_share: 100, ..Config::default() });
    let idle = bench.prepare_with("hostile", |spec| spec.limits.reuse = 100).await;
    let (one, two) = tokio::join!(idle.get("/sleep?50"), idle.get("/sleep?50"));
    assert!(one.is_ok() && two.is_ok());
    until("the calls' end", || bench.in_flight(1) == 0).await;
    assert!(bench.runtime.memory_in_use() > 0, "both are idle now");
    let other = bench.prepare("hello").await;
    assert_eq!(other.get("/").await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_instances_go_after_a_while() {
    let bench = Bench::with(Config { idle_time: Duration::from_millis(50), ..Config::default() });
    let guest = bench.prepare_with("hostile", |spec| spec.limits.reuse = 100).await;
    assert_eq!(guest.text("/count").await, "0");
    bench.all_quiet().await;
    assert_eq!(guest.text("/count").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_of_0_3_are_reused_too() {
    let bench = Bench::new();
    let guest = bench.prepare_with("hello-p3", |spec| spec.limits.reuse = 10).await;
    for _ in 0..25 {
        assert!(guest.text("/").await.starts_with("Hello from Onrush 0.3"));
    }
    until("the calls' end", || bench.in_flight(1) == 0).await;
}
