//! Ten times the capacity for a minute, in an open loop: what still goes through, what a refusal costs, how it recovers.

use std::time::Duration;

use http::Uri;
use tokio::time::Instant;

use crate::{
    bench::{Bench, say},
    load::{
        open::{self, Sample, Stream},
        percentile::Times,
        wrk::{self, Target},
    },
    machine::ratio,
    onrush::{Cluster, Plan},
    process::Server,
    record::{Finding, Table},
    report::number,
    verdict::Claim,
};

/// How long the function computes: short enough that a refusal is not free beside it.
const WORK_US: u64 = 2_000;
/// What is offered, as a share of the capacity.
const BEFORE: f64 = 0.7;
const FLOOD: f64 = 10.0;

/// The phases of the run, from its start.
#[derive(Debug, Clone, Copy)]
struct Phases {
    flood: Duration,
    after: Duration,
    end: Duration,
}

/// A quiet phase, the flood, a quiet phase.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let cluster = Cluster::start(bench, &Plan::of(bench, 1)).await?;
    cluster.deploy(bench, "work", "work", &[]).await?;
    let url = format!("{}/function/work?us={WORK_US}", cluster.nodes[0].gateway());
    let server = cluster.nodes[0].running()?;
    let target = Target { url: &url, connections: 16, script: None };
    let peak = wrk::measure(bench, &target, &[server]).await?;
    say(format!("peak {:.0} calls/s, {:.0} µs of processor each", peak.rate, peak.cpu));

    let flood = bench.pick(Duration::from_secs(15), Duration::from_secs(60));
    let quiet = bench.pick(Duration::from_secs(4), Duration::from_secs(10));
    let phases = Phases { flood: quiet, after: quiet + flood, end: quiet + flood + quiet };
    let uri: Uri = url.parse()?;
    let stream = |rate: f64, from, to| Stream { urls: vec![uri.clone()], rate, from, to, connections: 6_000 };
    let streams = vec![
        stream(peak.rate * BEFORE, Duration::ZERO, phases.end),
        stream(peak.rate * (FLOOD - BEFORE), phases.flood, phases.after),
    ];
    let watch = Watch::begin(server, phases);
    let samples = open::run(streams).await?;
    let watched = watch.await?;
    let mut all: Vec<_> = samples.into_iter().flatten().collect();
    all.sort_by_key(|sample| sample.due);
    cluster.stop().await;
    Ok(judged(&Figures { peak: peak.rate, cost: peak.cpu, phases, samples: &all, watched }))
}

/// What is seen from outside while it runs.
#[derive(Debug, Clone, Copy)]
struct Watched {
    /// Processor time of the flood.
    cpu: Duration,
    /// Resident bytes before, and the most meanwhile.
    before: u64,
    most: u64,
    /// Resident bytes at the end.
    end: u64,
}

struct Watch;

impl Watch {
    /// Looks at a process beside the load; the load must begin now.
    fn begin(server: &Server, phases: Phases) -> impl Future<Output = anyhow::Result<Watched>> {
        let process = server.watched();
        let began = Instant::now();
        #[allow(clippy::disallowed_methods, reason = "one task, awaited below")]
        let task = tokio::spawn(async move {
            tokio::time::sleep_until(began + phases.flood).await;
            let (cpu, before) = (process.cpu()?, process.resident()?);
            let mut most = before;
            while began.elapsed() < phases.after {
                tokio::time::sleep(Duration::from_millis(200)).await;
                most = most.max(process.resident()?);
            }
            let cpu = process.cpu()?.saturating_sub(cpu);
            tokio::time::sleep_until(began + phases.end).await;
            Ok(Watched { cpu, before, most, end: process.resident()? })
        });
        async move { task.await? }
    }
}

struct Figures<'a> {
    peak: f64,
    /// Processor time of a call that is served, in microseconds.
    cost: f64,
    phases: Phases,
    samples: &'a [Sample],
    watched: Watched,
}

impl Figures<'_> {
    fn ended_in(&self, from: Duration, to: Duration) -> Vec<Sample> {
        let inside = |sample: &&Sample| (from..to).contains(&sample.ended());
        self.samples.iter().filter(inside).copied().collect()
    }

    /// Successful answers per second of a time.
    fn goodput(&self, from: Duration, to: Duration) -> f64 {
        let good = self.ended_in(from, to).iter().filter(|sample| sample.good()).count();
        good as f64 / (to - from).as_secs_f64()
    }

    /// How long after the flood everything is answered again: the end of the last call due after it that failed, or took
    /// longer than twice the p99 from before.
    fn recovery(&self, usual: f64) -> Duration {
        let slow = Duration::from_secs_f64(usual * 2.0 / 1e3);
        let bad = |sample: &&Sample| sample.due >= self.phases.after && (!sample.good() || sample.took > slow);
        let due: Vec<_> = self.samples.iter().filter(bad).map(|sample| sample.due - self.phases.after).collect();
        // One in a hundred is slow in quiet times as well; what counts is the end of the time when many are.
        let window = Duration::from_millis(100);
        let many = |at: Duration| {
            let inside = |due: &Duration| *due >= at && *due < at + window;
            due.iter().filter(|due| inside(due)).count()
        };
        let expected = self.peak * BEFORE * window.as_secs_f64();
        (0..).map(|step| window * step).find(|at| (many(*at) as f64) < expected * 0.1).unwrap_or_default()
    }
}

fn judged(figures: &Figures<'_>) -> Finding {
    let Phases { flood, after, .. } = figures.phases;
    let during = figures.ended_in(flood, after);
    let before: Vec<_> = figures.samples.iter().filter(|sample| sample.due < flood).copied().collect();
    let usual = open::times(&before);
    let goodput = figures.goodput(flood, after);
    let refused: Vec<_> = during.iter().filter(|sample| matches!(sample.status, 429 | 503)).collect();
    let lost = during.len() - refused.len() - during.iter().filter(|sample| sample.good()).count();
    let seconds = (after - flood).as_secs_f64();
    let refusals = refused.len() as f64 / seconds;
    let spare = figures.watched.cpu.as_secs_f64() * 1e6 / seconds - goodput * figures.cost;
    let accepted = open::times(&during);
    let refusal = Times::of(refused.iter().map(|sample| sample.took));
    let recovery = figures.recovery(usual.ms(99.0));
    let mib = |bytes: u64| format!("{:.0} MiB", ratio(bytes, 1 << 20));
    let mut table = Table::new(&["figure", "value"]);
    for (figure, value) in [
        ("peak, closed loop", format!("{:.0} calls/s, {:.0} µs of processor each", figures.peak, figures.cost)),
        ("offered", format!("{:.0} calls/s for {seconds:.0} s", figures.peak * FLOOD)),
        ("goodput", format!("{goodput:.0} calls/s")),
        ("accepted: p50, p99, p99.9 ms", accepted.cells().join(", ")),
        ("the same before the flood, at 70 % load", usual.cells().join(", ")),
        ("refused", format!("{refusals:.0} calls/s")),
        ("refusals: p50, p99, p99.9 ms", refusal.cells().join(", ")),
        (
            "cost of a refusal",
            format!("{} µs of processor (all that calls served do not explain)", number(spare / refusals)),
        ),
        ("neither", format!("{lost} calls without an answer or with another status")),
        (
            "resident before, at most, at the end",
            [figures.watched.before, figures.watched.most, figures.watched.end].map(mib).join(", "),
        ),
        ("recovery", format!("{} ms", recovery.as_millis())),
    ] {
        table.line(&[figure, &value]);
    }
    Finding {
        claims: vec![
            Claim::at_least("goodput of peak", "%", (80.0, 90.0), goodput / figures.peak * 100.0),
            Claim::at_most(
                "p99 of accepted calls",
                "ms",
                (1_000.0, (usual.ms(99.0) * 2.0).min(1_000.0)),
                accepted.ms(99.0),
            ),
            Claim::at_most("recovery", "s", (5.0, 1.0), recovery.as_secs_f64()),
        ],
        table,
        notes: vec![format!(
            "A function that computes for about {WORK_US} µs on one core; exponential gaps; at most 6,000 connections; 70 % load before and after. The bars for p99 (1 s) and recovery (5 s) are ours, the aim for p99 is twice the p99 at 70 % load."
        )],
    }
}
