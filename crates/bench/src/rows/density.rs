//! Ten thousand functions registered on one node: memory, and the first call of one of them.

use std::sync::Arc;

use http::Uri;
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use super::cold;
use crate::{
    bench::{Bench, say},
    load::{connection::Connection, percentile::Times},
    machine::ratio,
    onrush::{Cluster, Node, Plan},
    record::{Finding, Table},
    report::number,
    verdict::Claim,
};

/// Registers them all with one artifact, then calls functions that nobody has called.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let functions = bench.pick(2_000, 10_000);
    let cluster = Cluster::start(bench, &Plan::of(bench, 1)).await?;
    let node = &cluster.nodes[0];
    let empty = node.running()?.resident()?;
    let digest = cold::upload(bench, node, std::fs::read(bench.guest("hello")?)?).await?;
    let began = Instant::now();
    register(bench, node, &digest, functions).await?;
    let took = began.elapsed();
    let full = node.running()?.resident()?;
    let times = first_calls(bench, node).await?;
    let called = node.running()?.resident()?;
    cluster.stop().await;
    let mib = |bytes: u64| ratio(bytes, 1 << 20);
    let mut table = Table::new(&["figure", "value"]);
    for (figure, value) in [
        ("resident, empty", format!("{:.0} MiB", mib(empty))),
        ("resident, all registered", format!("{:.0} MiB", mib(full))),
        ("resident, after the calls", format!("{:.0} MiB", mib(called))),
        (
            "registered",
            format!(
                "{functions} in {:.1} s, {}/s",
                took.as_secs_f64(),
                number(f64::from(functions) / took.as_secs_f64())
            ),
        ),
        ("first call: p50, p99, p99.9 ms", times.cells().join(", ")),
    ] {
        table.line(&[figure, &value]);
    }
    Ok(Finding {
        claims: vec![
            Claim::at_most("resident memory", "MiB", (16_384.0, 1_024.0), mib(called)),
            Claim::at_most("p99 of a first call", "ms", (10.0, 2.0), times.ms(99.0)),
        ],
        table,
        notes: vec![format!(
            "{functions} functions with the bytes of hello, registered 32 at a time. The functions called are the oldest, which are not made ready ahead."
        )],
    })
}

/// Registers functions of the same artifact, a few at a time.
async fn register(bench: &Bench, node: &Node, digest: &str, functions: u32) -> anyhow::Result<()> {
    let began = Instant::now();
    let permits = Arc::new(Semaphore::new(32));
    let mut putting = JoinSet::new();
    for index in 0..functions {
        let permit = Arc::clone(&permits).acquire_owned().await?;
        let url = format!("{}/v1/namespaces/default/functions/d{index}", node.api());
        let (http, digest) = (bench.http.clone(), digest.to_owned());
        putting.spawn(async move {
            let _permit = permit;
            let reply = http.put(url).json(&serde_json::json!({ "digest": digest })).send().await?;
            anyhow::ensure!(reply.status().is_success(), "d{index}: {}", reply.text().await?);
            Ok(())
        });
        if index % 2_000 == 1_999 {
            say(format!("{} of {functions} registered after {:.0?}", index + 1, began.elapsed()));
        }
    }
    while let Some(put) = putting.join_next().await {
        put??;
    }
    Ok(())
}

/// The newest are ready ahead of their first call, so the oldest are asked.
async fn first_calls(bench: &Bench, node: &Node) -> anyhow::Result<Times> {
    let gateway = node.gateway();
    let mut connection = Connection::to(&gateway.parse()?).await?;
    let mut times = Vec::new();
    for index in 0..bench.pick(200, 500) {
        let uri: Uri = format!("{gateway}/function/d{index}").parse()?;
        let began = Instant::now();
        let answer = connection.get(&uri).await?;
        anyhow::ensure!(answer.status.is_success(), "d{index}: {}", answer.status);
        times.push(began.elapsed());
    }
    Ok(Times::of(times))
}
