//! With `reuse`, state may survive, but only within one version of one function.

use std::sync::Arc;

use onrush_runtime::wasm::Config;
use onrush_types::FunctionName;

use super::bench::{Bench, Guest, until};

async fn counter(bench: &Bench, namespace: &str, name: &str, reuse: u32) -> Guest {
    let mut artifact = bench.artifact("hostile", |spec| spec.limits.reuse = reuse);
    artifact.function = FunctionName::new(namespace.parse().unwrap(), name.parse().unwrap());
    bench.prepare_artifact(artifact).await
}

async fn count(bench: &Bench, guest: &Guest, guests: usize) -> String {
    let count = guest.text("/count").await;
    until("the call's end", || bench.in_flight(guests) == 0).await;
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reused_instances_serve_their_own_function_and_no_other() {
    let bench = Bench::with(Config { instances: 16, ..Config::default() });
    // The same component each time: only its owner differs.
    let mine = counter(&bench, "shop", "f", 100).await;
    let other_function = counter(&bench, "shop", "g", 100).await;
    let other_namespace = counter(&bench, "bank", "f", 100).await;
    let other_version = counter(&bench, "shop", "f", 100).await;
    let fresh = counter(&bench, "shop", "h", 0).await;
    for round in 0..5 {
        for guest in [&mine, &other_function, &other_namespace, &other_version] {
            assert_eq!(count(&bench, guest, 5).await, round.to_string(), "each has a count of its own");
        }
        assert_eq!(count(&bench, &fresh, 5).await, "0", "without reuse nothing survives");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_made_room_left_nothing_for_who_came() {
    let bench = Bench::with(Config { instances: 1, function_share: 100, ..Config::default() });
    let kept = counter(&bench, "shop", "f", 100).await;
    let other = counter(&bench, "bank", "f", 100).await;
    for _ in 0..20 {
        // One slot: each call of one ends the idle instance of the other.
        for guest in [&kept, &other] {
            assert_eq!(count(&bench, guest, 2).await, "0");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_once_never_share_an_instance() {
    let bench = Bench::with(Config { instances: 16, ..Config::default() });
    let guest = Arc::new(counter(&bench, "shop", "f", 1_000).await);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let guest = Arc::clone(&guest);
            tokio::spawn(async move { guest.text("/sleep?50").await })
        })
        .collect();
    until("eight calls", || bench.in_flight(1) == 8).await;
    assert!(bench.runtime.memory_in_use() >= 8 << 16, "each has a memory of its own");
    for call in calls {
        assert_eq!(call.await.unwrap(), "slept");
    }
}
