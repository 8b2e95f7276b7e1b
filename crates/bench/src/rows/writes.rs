//! Writes that three nodes agree on, 64 writers, beside etcd.

use std::time::Duration;

use super::{
    cold,
    store::{Dialect, Writers},
};
use crate::{
    bench::{Bench, say},
    load::percentile::{Times, median},
    onrush::{Cluster, Node, Plan},
    peers::etcd::Etcd,
    process::Server,
    record::{Finding, Table},
    report::number,
    verdict::Claim,
};

const WRITERS: usize = 64;

/// One side.
struct Side<'a> {
    label: &'a str,
    writers: Writers,
    servers: Vec<&'a Server>,
    rates: Vec<f64>,
    cpu: Vec<f64>,
    times: Vec<Duration>,
}

/// A changed route, and a deploy, beside a put of etcd. All six processes are on one core and one disk.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let cluster = Cluster::start(bench, &Plan::of(bench, 3)).await?;
    cluster.deploy(bench, "hello", "hello", &[]).await?;
    let digest = cold::upload(bench, &cluster.nodes[0], std::fs::read(bench.guest("hello")?)?).await?;
    for node in &cluster.nodes[1..] {
        cold::upload(bench, node, std::fs::read(bench.guest("hello")?)?).await?;
    }
    let etcd = Etcd::start(bench).await?;
    let apis: Vec<_> = cluster.nodes.iter().map(Node::api).collect();
    let clients: Vec<_> = etcd.members.iter().map(|member| member.client.clone()).collect();
    let side = |dialect, targets, servers| Side {
        label: label(dialect),
        writers: Writers { dialect, targets, count: WRITERS, digest: digest.clone(), run: 0 },
        servers,
        rates: Vec::new(),
        cpu: Vec::new(),
        times: Vec::new(),
    };
    let mut sides = [
        side(Dialect::OnrushRoute, apis.clone(), cluster.servers()),
        side(Dialect::Etcd, clients, etcd.servers()),
        side(Dialect::OnrushDeploy, apis, cluster.servers()),
    ];
    for side in &mut sides {
        side.writers = side.writers.clone().with_what_there_is().await?;
        side.label = label(side.writers.dialect);
    }
    for round in 1..=bench.rounds() {
        for side in &mut sides {
            side.round(bench, round).await?;
        }
    }
    let finding = judged(bench, &sides);
    drop(sides);
    etcd.stop().await;
    cluster.stop().await;
    Ok(finding)
}

const fn label(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OnrushRoute => "onrush, a route",
        Dialect::OnrushDeploy => "onrush, a deploy",
        Dialect::Etcd => "etcd, a key",
    }
}

impl Side<'_> {
    async fn round(&mut self, bench: &Bench, round: usize) -> anyhow::Result<()> {
        let cpu = |servers: &[&Server]| servers.iter().map(|server| server.cpu()).sum::<anyhow::Result<Duration>>();
        self.writers.run = round;
        let before = cpu(&self.servers)?;
        let writes = self.writers.write(bench.round()).await?;
        let spent = cpu(&self.servers)?.saturating_sub(before);
        let good: Vec<_> = writes.iter().filter(|write| write.good).map(|write| write.took).collect();
        let rate = good.len() as f64 / bench.round().as_secs_f64();
        let times = Times::of(good.iter().copied());
        say(format!(
            "round {round}, {}: {rate:.0} writes/s, p50 {:.1} ms, p99 {:.1} ms, {} failed",
            self.label,
            times.ms(50.0),
            times.ms(99.0),
            writes.len() - good.len()
        ));
        self.rates.push(rate);
        self.cpu.push(spent.as_secs_f64() * 1e6 / good.len().max(1) as f64);
        self.times.extend(good);
        Ok(())
    }
}

fn judged(bench: &Bench, sides: &[Side<'_>]) -> Finding {
    let mut table = Table::new(&["write", "writes/s", "CPU µs per write", "p50 ms", "p99 ms", "p99.9 ms"]);
    let rates: Vec<_> = sides.iter().map(|side| median(side.rates.iter().copied())).collect();
    for (side, rate) in sides.iter().zip(&rates) {
        let [p50, p99, p999] = Times::of(side.times.iter().copied()).cells();
        table.line(&[side.label, &number(*rate), &number(median(side.cpu.iter().copied())), &p50, &p99, &p999]);
    }
    Finding {
        claims: vec![Claim::at_least("rate of small writes beside etcd", "x", (1.0, 1.5), rates[0] / rates[1])],
        table,
        notes: vec![
            format!("{WRITERS} writers, one write after the other each, over HTTP and JSON on both sides by the same client, spread over the three members; medians of {} alternating rounds of {:?}.", bench.rounds(), bench.round()),
            "All members of both are on one core and one disk, and every write is fsynced by a majority before it is acknowledged. A write of Onrush's is acknowledged when the node that took it has applied it; a deploy in addition checks and copies the artifact and waits for all live nodes.".to_owned(),
        ],
    }
}
