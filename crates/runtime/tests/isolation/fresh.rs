//! Fresh instances: same slot, other slots, after every way in which a call can end.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use onrush_invoke::{Body, InvokeError};
use onrush_runtime::wasm::Config;
use onrush_types::Code;

use super::{
    bench::{Bench, Guest, until},
    probe::{End, Probe},
};

/// A call that computes for ever ends after this. Looking and leaving takes a few milliseconds.
const SPIN: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(60);

struct Prepared {
    probe: Probe,
    guest: Guest,
}

async fn prepare(bench: &Bench, probe: Probe) -> Prepared {
    let name = format!("probe-{}-{:?}", probe.mark, probe.end).to_lowercase();
    let guest = bench.prepare_text(&name, &probe.text(), |_| {}).await;
    Prepared { probe, guest }
}

impl Prepared {
    /// How one call ended. The slot of an earlier one may be free a moment after that one's end.
    async fn call(&self) -> InvokeError {
        let patience = if self.probe.end == End::Spin { SPIN } else { LONG };
        loop {
            let error = self.guest.send("/", Body::empty(), patience).await.map(drop).expect_err("no probe answers");
            if error.code != Code::Overloaded {
                return error;
            }
            tokio::task::yield_now().await;
        }
    }

    /// One call, which must end as its guest was made to.
    async fn check(&self) {
        let error = self.call().await;
        let fits = match self.probe.end {
            End::Return => error.code == Code::FunctionFailed && !error.message().contains("trapped"),
            End::Trap => error.message().contains("panicked or aborted"),
            End::Spin => error.code == Code::DeadlineExceeded,
        };
        assert!(fits, "{:?} ended as it should not (a division by zero is a finding): {error}", self.probe);
    }
}

fn probes(mark: u32, sparse: bool) -> [Probe; 3] {
    [
        // All of it is kept resident; it grows by a page.
        Probe { mark, pages: 1, growth: 1, sparse, end: End::Return },
        // More than what is kept.
        Probe { mark: mark + 1, pages: 4, growth: 60, sparse, end: End::Return },
        Probe { mark: mark + 2, pages: 40, growth: 0, sparse, end: End::Return },
    ]
}

async fn quiet(bench: &Bench, guests: usize) {
    until("the call's end", || bench.in_flight(guests) == 0 && bench.runtime.memory_in_use() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slot_holds_nothing_for_the_next_call_whoever_makes_it() {
    for (pagemap_scan, sparse) in [(true, true), (true, false), (false, true), (false, false)] {
        let bench = Bench::with(Config { instances: 1, pagemap_scan, ..Config::default() });
        let mut all = Vec::new();
        for probe in probes(10, sparse) {
            for end in [End::Return, End::Trap, End::Spin] {
                all.push(prepare(&bench, Probe { end, ..probe }).await);
            }
        }
        // Each after itself, and each after each other: the slot's image changes and comes back.
        for stride in [0, 1, 4] {
            for index in 0..all.len() {
                all[index].check().await;
                quiet(&bench, all.len()).await;
                all[(index + stride) % all.len()].check().await;
                quiet(&bench, all.len()).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_cancelled_leave_nothing_either() {
    for pagemap_scan in [true, false] {
        let bench = Bench::with(Config { instances: 1, pagemap_scan, ..Config::default() });
        let spin = Probe { mark: 5, pages: 4, growth: 60, sparse: false, end: End::Spin };
        let spinner = Arc::new(prepare(&bench, spin).await);
        let looker = prepare(&bench, Probe { mark: 6, end: End::Return, ..spin }).await;
        for _ in 0..20 {
            let call = tokio::spawn({
                let spinner = Arc::clone(&spinner);
                async move { spinner.guest.send("/", Body::empty(), LONG).await.map(drop) }
            });
            until("all traces to be left", || bench.runtime.memory_in_use() == spin.bytes_when_done()).await;
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
            quiet(&bench, 2).await;
            looker.check().await;
            quiet(&bench, 2).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_slots_and_calls_at_once_hold_nothing_either() {
    for pagemap_scan in [true, false] {
        let bench = Bench::with(Config { instances: 8, function_share: 100, pagemap_scan, ..Config::default() });
        let mut all = Vec::new();
        for probe in probes(20, false).into_iter().chain(probes(30, true)) {
            for end in [End::Return, End::Trap] {
                all.push(prepare(&bench, Probe { end, ..probe }).await);
            }
        }
        all.push(prepare(&bench, Probe { mark: 40, pages: 2, growth: 9, sparse: false, end: End::Spin }).await);
        let calls = stream::iter(0..600_usize).map(|number| all[number * 7 % all.len()].check());
        calls.buffer_unordered(12).collect::<()>().await;
        quiet(&bench, all.len()).await;
    }
}
