//! One of three workers slowed threefold under load: how fast the gateway notices.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use http::Uri;
use rustix::process::Signal;

use crate::{
    bench::{Bench, say},
    load::{
        open::{self, Sample, Stream},
        percentile::median,
        wrk::{self, Target},
    },
    onrush::{Cluster, Plan},
    process::signal_to,
    record::{Finding, Table},
    report::number,
    verdict::Claim,
};

const WORK_US: u64 = 2_000;
/// What is offered, as a share of what the three can do together.
const LOAD: f64 = 0.5;
/// The slowed node runs for a part of each period. A third of the time would not be three
/// times as slow: what a stopped process misses it is given later, by a scheduler that is fair, at the cost of the others on
/// its core. This much is, as the table shows.
const PERIOD: Duration = Duration::from_micros(6_000);
const RUNS: Duration = Duration::from_micros(1_000);
const WINDOW: Duration = Duration::from_millis(100);

/// A gateway of its own before three workers, so that none of them is nearer than the others.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let worker = "worker,control";
    // The gateway is beside the load: what it computes must not slow the workers down, as if they were one.
    let cores = vec![bench.cores.server, bench.cores.server, bench.cores.server, bench.cores.load];
    let plan = Plan { roles: vec![worker, worker, worker, "gateway"], cores, ..Plan::of(bench, 4) };
    let cluster = Cluster::start(bench, &plan).await?;
    let guest = bench.guest("work")?.display().to_string();
    cluster.onrush(&["deploy", "work", "--wasm", &guest, "--idempotent"]).await?;
    let url = format!("{}/function/work?us={WORK_US}", cluster.nodes[3].gateway());
    let target = Target { url: &url, connections: 24, script: None };
    let peak = wrk::measure(bench, &target, &cluster.servers()).await?.rate;
    let slowed = cluster.nodes[1].running()?.pid();
    let (before, after) = (Duration::from_secs(3), bench.pick(Duration::from_secs(4), Duration::from_secs(6)));
    let rounds = bench.pick(3, 7);
    let mut table = Table::new(&[
        "round",
        "times slower",
        "share before %",
        "share after %",
        "fallen by 80 % after ms",
        "p99 before ms",
        "p99 after ms",
        "failed",
    ]);
    let mut times = Vec::new();
    for round in 1..=rounds {
        let uri: Uri = url.parse()?;
        let stream =
            Stream { urls: vec![uri], rate: peak * LOAD, from: Duration::ZERO, to: before + after, connections: 2_000 };
        let brake = Brake::begin(slowed, before, after)?;
        let samples = open::run(vec![stream]).await?.remove(0);
        brake.release()?;
        let seen = Seen::of(&samples, before, before + after);
        let fallen = seen.fallen.map_or(f64::NAN, |time| time.as_secs_f64());
        say(format!(
            "round {round} of {rounds}: {:.1} times slower, share {:.1} % -> {:.1} %, fallen after {fallen:.2} s",
            seen.slower,
            seen.before * 100.0,
            seen.after * 100.0
        ));
        let time = seen.fallen.map_or_else(|| "never".to_owned(), |time| time.as_millis().to_string());
        let quiet = open::times(samples.iter().filter(|sample| sample.due < before));
        let slow = open::times(samples.iter().filter(|sample| sample.due >= before));
        let failed = samples.iter().filter(|sample| !sample.good()).count().to_string();
        let [share, rest] = [seen.before, seen.after].map(|share| number(share * 100.0));
        let [quiet, slow] = [quiet.ms(99.0), slow.ms(99.0)].map(number);
        let slower = number(seen.slower);
        table.line(&[&round.to_string(), &slower, &share, &rest, &time, &quiet, &slow, &failed]);
        times.push(if fallen.is_nan() { f64::INFINITY } else { fallen });
        // Its queue empties, its reports become fresh.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    cluster.stop().await;
    Ok(Finding {
        claims: vec![Claim::at_most("until its share has fallen by 80 %", "s", (1.0, 0.2), median(times))],
        table,
        notes: vec![format!(
            "Three workers on one core, a gateway of its own on the other beside the load (peak {peak:.0} calls/s of about {WORK_US} µs), {:.0} % of the peak offered, open loop. The slowed node runs for {RUNS:?} of every {PERIOD:?}. Its share is counted in steps of {WINDOW:?} by when calls were due; the first step from which on it stays down counts.",
            LOAD * 100.0
        )],
    })
}

/// Stops and continues a process, so that it runs a part of the time.
struct Brake {
    off: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<anyhow::Result<()>>,
}

impl Brake {
    fn begin(pid: u32, before: Duration, time: Duration) -> anyhow::Result<Self> {
        let off = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&off);
        let thread = std::thread::Builder::new().name("brake".to_owned());
        let thread = thread.spawn(move || {
            std::thread::sleep(before);
            let periods = time.as_micros() / PERIOD.as_micros();
            for _ in 0..periods {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                signal_to(pid, Signal::STOP)?;
                std::thread::sleep(PERIOD.saturating_sub(RUNS));
                signal_to(pid, Signal::CONT)?;
                std::thread::sleep(RUNS);
            }
            Ok(())
        });
        Ok(Self { off, thread: thread.context("a thread for the brake")? })
    }

    fn release(self) -> anyhow::Result<()> {
        self.off.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the brake failed"))?
    }
}

/// What became of the slowed node's share.
#[derive(Debug, PartialEq)]
struct Seen {
    before: f64,
    after: f64,
    fallen: Option<Duration>,
    /// How many times longer its calls take than the others', by the geometric mean.
    slower: f64,
}

impl Seen {
    /// Node 2 is slowed from `at` to `end`.
    fn of(samples: &[Sample], at: Duration, end: Duration) -> Self {
        let share = |from: Duration, to: Duration| {
            let inside = samples.iter().filter(|sample| (from..to).contains(&sample.due) && sample.node > 0);
            let (all, own) = inside.fold((0, 0), |(all, own), sample| (all + 1, own + u32::from(sample.node == 2)));
            f64::from(own) / f64::from(all.max(1))
        };
        let before = share(at / 3, at);
        let after = share(at + (end - at) / 2, end);
        let steps = (0..).map(|step| at + WINDOW * step).take_while(|step| *step + WINDOW <= end);
        // Single steps are noisy: three in a row on average below a fifth.
        let fallen = steps
            .take_while(|step| *step + WINDOW * 3 <= end)
            .find(|step| share(*step, *step + WINDOW * 3) <= before * 0.2);
        let logs = |slowed: bool| {
            let inside = samples.iter().filter(|sample| (at..end).contains(&sample.due) && sample.node > 0);
            let own = inside.filter(|sample| (sample.node == 2) == slowed);
            let (sum, count) = own
                .fold((0.0, 0_u32), |(sum, count), sample| (sum + sample.took.as_secs_f64().max(1e-6).ln(), count + 1));
            sum / f64::from(count.max(1))
        };
        let slower = (logs(true) - logs(false)).exp();
        Self { before, after, fallen: fallen.map(|step| step - at), slower }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_when_a_share_falls_is_found() {
        let sample = |ms: u64| {
            let slowed = if ms < 1_400 { 3 } else { 60 };
            let node = if ms.is_multiple_of(slowed) { 2 } else { 1 };
            let zero = Duration::ZERO;
            Sample { due: Duration::from_millis(ms), took: zero, late: zero, status: 200, node }
        };
        let samples: Vec<_> = (0..3_000).map(sample).collect();
        let seen = Seen::of(&samples, Duration::from_secs(1), Duration::from_secs(3));
        assert!((seen.before - 0.333).abs() < 0.02 && seen.after < 0.05, "{seen:?}");
        assert_eq!(seen.fallen, Some(Duration::from_millis(400)));
        let steady: Vec<_> = (0..1_000).map(sample).collect();
        assert_eq!(Seen::of(&steady, Duration::from_millis(500), Duration::from_secs(1)).fallen, None);
    }
}
