//! The first call on a node that never ran the function. Its artifact is local, and it was compiled at deploy.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Uri;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::{
    bench::{Bench, say},
    load::{connection::Connection, percentile::Times},
    onrush::{Cluster, Node, Plan},
    record::{Finding, Table},
    verdict::Claim,
};

/// Deploys functions of which no two are the same bytes, restarts the node, which then has them on disk and has run none,
/// and calls each once. Nothing is made ready ahead, because that would be a warm call.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let (functions, restarts) = bench.pick((100, 1), (300, 3));
    let plan = Plan { tune: "[tune.worker]\nprefetch = 0\n".to_owned(), ..Plan::of(bench, 1) };
    let mut cluster = Cluster::start(bench, &plan).await?;
    say(format!("deploying {functions} functions, each with bytes of its own"));
    let hello = std::fs::read(bench.guest("hello")?)?;
    for index in 0..functions {
        let bytes = distinct(&hello, index);
        let digest = upload(bench, &cluster.nodes[0], bytes).await?;
        put(bench, &cluster.nodes[0], &format!("f{index}"), &digest).await?;
    }
    let mut first = Vec::new();
    let mut second = Vec::new();
    for round in 1..=restarts {
        let server = cluster.nodes[0].server.take().context("it runs")?;
        server.stop().await;
        cluster.restart(0).await?;
        let gateway = cluster.nodes[0].gateway();
        let mut connection = Connection::to(&gateway.parse()?).await?;
        for index in 0..functions {
            let uri: Uri = format!("{gateway}/function/f{index}").parse()?;
            first.push(timed(&mut connection, &uri).await?);
            second.push(timed(&mut connection, &uri).await?);
        }
        say(format!("restart {round} of {restarts}: p99 so far {:.2} ms", Times::of(first.clone()).ms(99.0)));
    }
    cluster.stop().await;
    let mut table = Table::new(&["call", "p50 ms", "p99 ms", "p99.9 ms"]);
    let (first, second) = (Times::of(first), Times::of(second));
    for (label, times) in [("first", &first), ("second", &second)] {
        let [p50, p99, p999] = times.cells();
        table.line(&[label, &p50, &p99, &p999]);
    }
    Ok(Finding {
        claims: vec![Claim::at_most("p99 of a first call", "ms", (10.0, 2.0), first.ms(99.0))],
        table,
        notes: vec![format!(
            "{functions} functions with bytes of their own, {restarts} restarts, one call after the other over one connection; nothing made ready ahead (`prefetch = 0`)."
        )],
    })
}

async fn timed(connection: &mut Connection, uri: &Uri) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let answer = connection.get(uri).await?;
    ensure!(answer.status.is_success(), "{uri}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    Ok(began.elapsed())
}

/// The same component with a custom section of its own, so that nothing of another function's can be used.
fn distinct(component: &[u8], index: usize) -> Vec<u8> {
    let text = format!("{index:08}");
    // Section 0: its size, the name's length, the name, the content.
    let mut bytes = component.to_vec();
    bytes.extend_from_slice(&[0, 14, 5]);
    bytes.extend_from_slice(b"bench");
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Puts a component on a node; its digest.
pub(crate) async fn upload(bench: &Bench, node: &Node, bytes: Vec<u8>) -> anyhow::Result<String> {
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let reply = bench.http.put(format!("{}/v1/artifacts/{digest}", node.api())).body(bytes).send().await?;
    ensure!(reply.status().is_success(), "upload: {}", reply.text().await?);
    Ok(digest)
}

/// Makes a function of what was uploaded.
pub(crate) async fn put(bench: &Bench, node: &Node, name: &str, digest: &str) -> anyhow::Result<()> {
    let url = format!("{}/v1/namespaces/default/functions/{name}", node.api());
    let reply = bench.http.put(url).json(&serde_json::json!({ "digest": digest })).send().await?;
    ensure!(reply.status().is_success(), "deploy of {name}: {}", reply.text().await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_differ_only_in_a_section_that_nobody_reads() {
        let (one, two) = (distinct(b"x", 1), distinct(b"x", 2));
        assert_ne!(one, two);
        assert_eq!(usize::from(one[2]), one.len() - 3, "the section says its size");
    }
}
