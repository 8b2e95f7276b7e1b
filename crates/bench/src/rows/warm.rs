//! What the platform adds to a warm call, at 70 % of what it can do at most, in an open loop.

use std::time::Duration;

use anyhow::ensure;
use http::Uri;

use crate::{
    bench::{Bench, say},
    load::{
        open::{self, Sample, Stream},
        percentile::median,
        wrk::{self, Target},
    },
    machine::ratio,
    onrush::{Cluster, Plan},
    peers::wasmtime,
    process::Server,
    record::{Finding, Table},
    report::number,
    verdict::Claim,
};

const CONNECTIONS: usize = 64;
/// The function's own time: long enough that the generator sends requests when they are due, short enough that what the
/// platform adds is not lost beside it.
const WORK_US: u64 = 100;

/// The function's own time is what its processor time grows by when it computes. All the rest is charged to the platform:
/// client, network and the wait behind others, which at this load is more than everything else.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let cluster = Cluster::start(bench, &Plan::of(bench, 1)).await?;
    cluster.deploy(bench, "work", "work", &[]).await?;
    let (peer, peer_url) = wasmtime::serve(bench, "work", &[], cluster.root()).await?;
    let url = format!("{}/function/work", cluster.nodes[0].gateway());
    let ours = Subject { label: "onrush, a whole node", url: &url, server: cluster.nodes[0].running()? };
    let theirs = Subject { label: "wasmtime serve", url: &peer_url, server: &peer };
    let mut table =
        Table::new(&["server", "peak/s", "offered/s", "own ms", "p50 ms", "p99 ms", "p99.9 ms", "sent late, p99 ms"]);
    let mut medians = Vec::new();
    for subject in [&ours, &theirs] {
        medians.push(subject.measure(bench, &mut table).await?);
    }
    peer.stop().await;
    cluster.stop().await;
    let (p50, p99) = medians[0];
    Ok(Finding {
        claims: vec![
            Claim::at_most("added, p50", "ms", (0.3, 0.1), p50),
            Claim::at_most("added, p99", "ms", (2.0, 1.0), p99),
        ],
        table,
        notes: vec![format!(
            "Open loop, exponential gaps, at 70 % of the rate that `wrk` with {CONNECTIONS} connections reached just before; medians of {} rounds; times count from when a request was due. Claimed is what is more than the function's own time, which is what its processor time grows by when it computes for about {WORK_US} µs. Client, network and the wait behind other calls are included.",
            bench.rounds()
        )],
    })
}

struct Subject<'a> {
    label: &'a str,
    url: &'a str,
    server: &'a Server,
}

impl Subject<'_> {
    /// The medians of p50 and p99 over the rounds, without the function's own time.
    async fn measure(&self, bench: &Bench, table: &mut Table) -> anyhow::Result<(f64, f64)> {
        let url = format!("{}?us={WORK_US}", self.url);
        let target = |url| Target { url, connections: CONNECTIONS, script: None };
        let nothing = wrk::measure(bench, &target(self.url), &[self.server]).await?;
        let busy = wrk::measure(bench, &target(&url), &[self.server]).await?;
        let (peak, own) = (busy.rate, (busy.cpu - nothing.cpu).max(0.0) / 1e3);
        let offered = peak * 0.7;
        let (mut p50, mut p99, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=bench.rounds() {
            let samples = at_rate(&url, offered, bench.round()).await?;
            let times = open::times(&samples);
            say(format!(
                "round {round}, {}: {offered:.0}/s, p50 {:.3} ms, p99 {:.3} ms",
                self.label,
                times.ms(50.0),
                times.ms(99.0)
            ));
            p50.push(times.ms(50.0));
            p99.push(times.ms(99.0));
            all.extend(samples);
        }
        let good = all.iter().filter(|sample| sample.good()).count();
        ensure!(
            ratio(good as u64, all.len() as u64) > 0.99,
            "{}: {good} of {} calls succeeded at 70 % load",
            self.label,
            all.len()
        );
        let medians = (median(p50), median(p99));
        let cells =
            [peak, offered, own, medians.0, medians.1, open::times(&all).ms(99.9), open::lateness(&all).ms(99.0)];
        let cells = cells.map(number);
        table.line(&[&[self.label], &cells.each_ref().map(String::as_str)[..]].concat());
        Ok((medians.0 - own, medians.1 - own))
    }
}

/// One stream for a while. The first half second warms up and does not count.
pub(crate) async fn at_rate(url: &str, rate: f64, time: Duration) -> anyhow::Result<Vec<Sample>> {
    const WARM_UP: Duration = Duration::from_millis(500);
    let urls = vec![url.parse::<Uri>()?];
    let stream = Stream { urls, rate, from: Duration::ZERO, to: time + WARM_UP, connections: 1_024 };
    let mut samples = open::run(vec![stream]).await?.remove(0);
    samples.retain(|sample| sample.due >= WARM_UP);
    Ok(samples)
}
