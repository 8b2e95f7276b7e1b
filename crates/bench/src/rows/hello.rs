//! The hello component in a whole node, beside `wasmtime serve`.

use crate::{
    bench::Bench,
    load::wrk::Target,
    onrush::{Cluster, Plan},
    peers::wasmtime,
    record::Finding,
    rows::sides::{self, Side},
};

const CONNECTIONS: usize = 64;

/// A fresh instance per call on both sides.
pub(crate) async fn fresh(bench: &Bench) -> anyhow::Result<Finding> {
    beside(bench, &[], &[], (2.0, 3.5)).await
}

/// A thousand calls per instance on both sides.
pub(crate) async fn reuse(bench: &Bench) -> anyhow::Result<Finding> {
    beside(bench, &["--reuse", "1000"], &["--max-instance-reuse-count", "1000"], (1.0, 1.5)).await
}

async fn beside(bench: &Bench, deploy: &[&str], serve: &[&str], goals: (f64, f64)) -> anyhow::Result<Finding> {
    let cluster = Cluster::start(bench, &Plan::of(bench, 1)).await?;
    cluster.deploy(bench, "hello", "hello", deploy).await?;
    let (peer, peer_url) = wasmtime::serve(bench, "hello", serve, cluster.root()).await?;
    let url = format!("{}/function/hello", cluster.nodes[0].gateway());
    let side =
        |label, servers, url| Side { label, servers, target: Target { url, connections: CONNECTIONS, script: None } };
    let sides = [side("onrush, a whole node", cluster.servers(), &url), side("wasmtime serve", vec![&peer], &peer_url)];
    let medians = sides::measure(bench, &sides).await?;
    drop(sides);
    peer.stop().await;
    cluster.stop().await;
    let claims = medians.beside(1, "`wasmtime serve`", goals);
    let mut notes = vec![sides::method(bench, CONNECTIONS)];
    if !serve.is_empty() {
        notes.push(format!("The peer ran with `{}`.", serve.join(" ")));
    }
    Ok(Finding { claims, table: medians.table, notes })
}
