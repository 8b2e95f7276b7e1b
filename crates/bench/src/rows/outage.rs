//! `kill -9` of the leader: how long nobody can write, and what calls notice.

use std::time::Duration;

use anyhow::Context as _;
use http::Uri;

use super::{
    cold,
    store::{Dialect, Writers, longest_gap},
};
use crate::{
    bench::{Bench, say},
    load::{
        open::{self, Stream},
        percentile::Times,
    },
    onrush::{Cluster, Plan},
    peers::etcd::Etcd,
    process::signal_to,
    record::{Finding, Table},
    verdict::Claim,
};

/// When the leader is killed, and how long is looked after it.
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(7);

/// What the kills did.
#[derive(Default)]
struct Seen {
    outages: Vec<Duration>,
    calls: usize,
    failed: usize,
}

/// Some kills of the leader on both sides, one after the other; the killed node comes back in between.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let ours = onrush(bench, bench.pick(4, 20)).await?;
    let theirs = etcd(bench, bench.pick(3, 10)).await?;
    let mut table = Table::new(&["writes to", "kills", "outage p50 ms", "p99 ms", "worst ms"]);
    for (label, seen) in [("onrush", &ours), ("etcd", &theirs)] {
        let times = Times::of(seen.outages.iter().copied());
        let cells = [50.0, 99.0, 100.0].map(|percentile| format!("{:.0}", times.ms(percentile)));
        table.line(&[label, &seen.outages.len().to_string(), &cells[0], &cells[1], &cells[2]]);
    }
    let p99 = Times::of(ours.outages.iter().copied()).ms(99.0) / 1e3;
    Ok(Finding {
        claims: vec![
            Claim::at_most("write outage, p99", "s", (5.0, 2.0), p99),
            Claim::at_most(
                "failed calls meanwhile",
                "%",
                (1.0, 0.0),
                ours.failed as f64 / ours.calls.max(1) as f64 * 100.0,
            ),
        ],
        table,
        notes: vec![
            format!(
                "Eight writers at the two nodes that stay; the outage is the longest time between two successful writes. Meanwhile 200 calls/s go to the gateways that stay: {} of {} failed.",
                ours.failed, ours.calls
            ),
            "etcd runs with its defaults (heartbeat 100 ms, election 1 s).".to_owned(),
        ],
    })
}

async fn onrush(bench: &Bench, kills: usize) -> anyhow::Result<Seen> {
    let mut cluster = Cluster::start(bench, &Plan::of(bench, 3)).await?;
    cluster.deploy(bench, "hello", "hello", &["--idempotent"]).await?;
    let component = std::fs::read(bench.guest("hello")?)?;
    let mut digest = String::new();
    for node in &cluster.nodes {
        digest = cold::upload(bench, node, component.clone()).await?;
    }
    let mut seen = Seen::default();
    for kill in 1..=kills {
        let leader = cluster.leader(bench, 0).await?;
        let stay: Vec<_> =
            cluster.nodes.iter().enumerate().filter(|(index, _)| *index != leader).map(|(_, node)| node).collect();
        let targets = stay.iter().map(|node| node.api()).collect();
        let urls = stay.iter().map(|node| format!("{}/function/hello", node.gateway()).parse::<Uri>());
        let urls = urls.collect::<Result<Vec<_>, _>>()?;
        let digest = digest.clone();
        let writers = Writers { dialect: Dialect::OnrushRoute, targets, count: 8, digest, run: kill };
        let writers = writers.with_what_there_is().await?;
        let stream = Stream { urls, rate: 200.0, from: Duration::ZERO, to: BEFORE + AFTER, connections: 500 };
        let pid = cluster.nodes[leader].running()?.pid();
        let (writes, calls, killed) =
            tokio::join!(writers.write(BEFORE + AFTER), open::run(vec![stream]), kill_later(pid));
        killed?;
        let (writes, calls) = (writes?, calls?.remove(0));
        let outage = longest_gap(&writes);
        let failed = calls.iter().filter(|call| !call.good()).count();
        say(format!(
            "kill {kill} of {kills}: {} ms without a write, {failed} of {} calls failed",
            outage.as_millis(),
            calls.len()
        ));
        seen.outages.push(outage);
        seen.calls += calls.len();
        seen.failed += failed;
        cluster.nodes[leader].server.take().context("it was killed")?.kill().await?;
        cluster.restart(leader).await?;
        back(bench, &cluster).await?;
    }
    cluster.stop().await;
    Ok(seen)
}

/// Waits until every node is seen as ready by each of the others.
async fn back(bench: &Bench, cluster: &Cluster) -> anyhow::Result<()> {
    for node in &cluster.nodes {
        cluster.sees_all(bench, node).await?;
    }
    Ok(())
}

async fn etcd(bench: &Bench, kills: usize) -> anyhow::Result<Seen> {
    let mut etcd = Etcd::start(bench).await?;
    let mut seen = Seen::default();
    for kill in 1..=kills {
        let leader = etcd.leader(bench).await?;
        let stay = etcd.members.iter().enumerate().filter(|(index, _)| *index != leader);
        let targets = stay.map(|(_, member)| member.client.clone()).collect();
        let writers = Writers { dialect: Dialect::Etcd, targets, count: 8, digest: String::new(), run: kill };
        let pid = etcd.members[leader].server.as_ref().context("it leads")?.pid();
        let (writes, killed) = tokio::join!(writers.write(BEFORE + AFTER), kill_later(pid));
        killed?;
        let outage = longest_gap(&writes?);
        say(format!("etcd, kill {kill} of {kills}: {} ms without a write", outage.as_millis()));
        seen.outages.push(outage);
        etcd.members[leader].server.take().context("it was killed")?.kill().await?;
        etcd.restart(bench, leader).await?;
    }
    etcd.stop().await;
    Ok(seen)
}

async fn kill_later(pid: u32) -> anyhow::Result<()> {
    tokio::time::sleep(BEFORE).await;
    signal_to(pid, rustix::process::Signal::KILL)
}
