//! Two tenants on one node: one floods, the other goes on as before.

use std::time::Duration;

use http::Uri;

use crate::{
    bench::{Bench, say},
    load::{
        open::{self, Sample, Stream},
        percentile::{Times, median},
        wrk::{self, Target},
    },
    onrush::{Cluster, Plan},
    record::{Finding, Table},
    verdict::Claim,
};

const WORK_US: u64 = 2_000;
/// The quiet tenant's load, as a share of the capacity.
const QUIET: f64 = 0.2;
const FLOOD: f64 = 10.0;
/// The quiet tenant is there for so long before anything counts or the flood begins.
const START: Duration = Duration::from_secs(1);

/// The quiet tenant alone, then beside the flood, in turns.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let cluster = Cluster::start(bench, &Plan::of(bench, 1)).await?;
    for tenant in ["quiet", "loud"] {
        let guest = bench.guest("work")?.display().to_string();
        cluster.onrush(&["deploy", "work", "--wasm", &guest, "-n", tenant]).await?;
    }
    let gateway = cluster.nodes[0].gateway();
    let url = |tenant: &str| format!("{gateway}/function/work.{tenant}?us={WORK_US}");
    let (quiet, loud) = (url("quiet"), url("loud"));
    let target = Target { url: &quiet, connections: 16, script: None };
    let peak = wrk::measure(bench, &target, &cluster.servers()).await?.rate;
    let time = bench.pick(Duration::from_secs(6), Duration::from_secs(15));
    let stream = |url: &str, share: f64, from, connections| -> anyhow::Result<Stream> {
        let urls = vec![url.parse::<Uri>()?];
        Ok(Stream { urls, rate: peak * share, from, to: START + time, connections })
    };
    let quiet_alone = || stream(&quiet, QUIET, Duration::ZERO, 1_000);
    let (mut alone, mut beside, mut failed, mut sent) = (Vec::new(), Vec::new(), 0, 0);
    let (mut alone_all, mut beside_all, mut loud_good) = (Vec::new(), Vec::new(), 0);
    let rounds = bench.pick(2, 3);
    for round in 1..=rounds {
        let mut samples = open::run(vec![quiet_alone()?]).await?.remove(0);
        samples.retain(|sample| sample.due >= START);
        let base = open::times(&samples).ms(99.0);
        alone.push(base);
        alone_all.extend(samples);
        let mut both = open::run(vec![quiet_alone()?, stream(&loud, FLOOD, START, 6_000)?]).await?;
        let (loud, mut samples) = (both.remove(1), both.remove(0));
        samples.retain(|sample| sample.due >= START);
        let flooded = open::times(&samples).ms(99.0);
        say(format!("round {round} of {rounds}: p99 alone {base:.2} ms, beside the flood {flooded:.2} ms"));
        beside.push(flooded);
        failed += samples.iter().filter(|sample| !sample.good()).count();
        sent += samples.len();
        loud_good += loud.iter().filter(|sample| sample.good()).count();
        beside_all.extend(samples);
        // The next round begins with an empty queue.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    cluster.stop().await;
    Ok(judged(&Seen { peak, time, rounds, alone, beside, failed, sent, alone_all, beside_all, loud_good }))
}

/// What the rounds showed.
struct Seen {
    peak: f64,
    time: Duration,
    rounds: u32,
    /// p99 of each round.
    alone: Vec<f64>,
    beside: Vec<f64>,
    failed: usize,
    sent: usize,
    alone_all: Vec<Sample>,
    beside_all: Vec<Sample>,
    loud_good: usize,
}

fn judged(seen: &Seen) -> Finding {
    let Seen { peak, time, rounds, .. } = *seen;
    let mut table = Table::new(&["the quiet tenant", "p50 ms", "p99 ms", "p99.9 ms"]);
    for (label, samples) in [("alone", &seen.alone_all), ("beside the flood", &seen.beside_all)] {
        let times: Times = open::times(samples);
        let [p50, p99, p999] = times.cells();
        table.line(&[label, &p50, &p99, &p999]);
    }
    let share = seen.loud_good as f64 / (time.as_secs_f64() * f64::from(rounds)) / peak;
    Finding {
        claims: vec![
            Claim::at_most(
                "p99 beside the flood, of its own",
                "x",
                (2.0, 1.5),
                median(seen.beside.iter().copied()) / median(seen.alone.iter().copied()),
            ),
            Claim::at_most(
                "failed calls of the quiet tenant",
                "%",
                (1.0, 0.0),
                seen.failed as f64 / seen.sent.max(1) as f64 * 100.0,
            ),
        ],
        table,
        notes: vec![
            format!(
                "A function that computes for about {WORK_US} µs on one core (peak {peak:.0} calls/s). The quiet tenant offers {:.0} % of the peak, the loud one ten times the peak; medians of {rounds} rounds of {time:?} from the first moment of the flood, open loop. The quiet tenant began a second before.",
                QUIET * 100.0
            ),
            format!("The loud tenant got {:.0} % of the peak.", share * 100.0),
        ],
    }
}
