//! A function cannot hurt its neighbours (P9): hello answers in time, beside guests that spin, allocate and crash.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use onrush_invoke::Body;
use onrush_runtime::wasm::Config;

use super::bench::{Bench, Guest};

/// In time: far more than hello takes between spinning guests, who give way at each tick, and far less than they have.
const IN_TIME: Duration = Duration::from_secs(2);

/// Calls one path again and again until told to stop; each call fails, and is counted.
async fn harm(guest: Guest, path: &'static str, stop: Arc<AtomicBool>, failed: Arc<AtomicUsize>) {
    while !stop.load(Relaxed) {
        let ended = guest.send(path, Body::empty(), Duration::from_millis(500)).await;
        assert!(ended.is_err(), "{path} cannot succeed");
        failed.fetch_add(1, Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_answers_in_time_beside_guests_that_do_their_worst() {
    let bench = Bench::with(Config { memory_total: 256 << 20, ..Config::default() });
    let harmful = bench.prepare_with("hostile", |spec| spec.limits.memory = 64 << 20).await;
    let hello = bench.prepare("hello").await;
    let (stop, failed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let paths = ["/spin", "/spin", "/spin", "/allocate", "/allocate", "/trap", "/headers?1000000"];
    let harms: Vec<_> = (paths.iter())
        .map(|path| tokio::spawn(harm(harmful.clone(), path, Arc::clone(&stop), Arc::clone(&failed))))
        .collect();
    for answered in 0..100 {
        let reply = hello.send("/", Body::empty(), IN_TIME).await;
        assert!(reply.is_ok_and(|reply| reply.status() == 200), "after {answered} answers");
    }
    assert!(failed.load(Relaxed) > 0, "harm was done meanwhile");
    stop.store(true, Relaxed);
    for harm in harms {
        harm.await.unwrap();
    }
    assert!(failed.load(Relaxed) >= paths.len(), "each kind of it");
}
