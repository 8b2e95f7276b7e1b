//! Replies from the cache and replies shared in flight, beside nginx's cache.

use anyhow::ensure;

use crate::{
    bench::Bench,
    load::wrk::Target,
    onrush::{Cluster, Plan},
    peers::nginx::{self, Use},
    record::Finding,
    rows::sides::{self, Medians, Side},
    verdict::Claim,
};

const CONNECTIONS: usize = 64;
/// Enough for a few dozen to share one execution of 10 ms.
const SHARING: usize = 512;

/// A hit of the cache beside a hit of nginx's.
pub(crate) async fn hit(bench: &Bench) -> anyhow::Result<Finding> {
    let filter = "{ use = \"cache\", ttl = \"1h\" }";
    let medians = beside(bench, filter, "/shared", CONNECTIONS).await?;
    Ok(Finding {
        claims: medians.beside(1, "nginx `proxy_cache`", (0.7, 1.0)),
        notes: vec![sides::method(bench, CONNECTIONS)],
        table: medians.table,
    })
}

/// A reply shared in flight. The function waits, so a rate says nothing: what counts is the processor time of a request.
pub(crate) async fn coalesced(bench: &Bench) -> anyhow::Result<Finding> {
    let medians = beside(bench, "{ use = \"coalesce\" }", "/shared?sleep=10", SHARING).await?;
    Ok(Finding {
        claims: vec![Claim::at_least(
            "CPU per request, nginx's hit beside it",
            "x",
            (0.7, 1.0),
            medians.cpu[1] / medians.cpu[0],
        )],
        table: medians.table,
        notes: vec![
            "The function waits for 10 ms and nothing is stored: all that arrives meanwhile shares one execution."
                .to_owned(),
            sides::method(bench, SHARING),
        ],
    })
}

async fn beside(bench: &Bench, filter: &str, path: &str, connections: usize) -> anyhow::Result<Medians> {
    let cluster = Cluster::start(bench, &Plan::of(bench, 1)).await?;
    share(bench, &cluster, &[filter]).await?;
    let dir = tempfile::tempdir()?;
    // On the load's core: its share in what is measured is one request.
    let (origin, origin_at) = nginx::origin(bench, bench.cores.load, dir.path()).await?;
    let (proxy, proxy_url) = nginx::proxy(bench, &origin_at, Use::Cache, dir.path()).await?;
    let url = format!("{}{path}", cluster.nodes[0].gateway());
    let reply = bench.http.get(&url).send().await?;
    ensure!(reply.status().is_success(), "{url}: {}", reply.text().await?);
    let side = |label, servers, url| Side { label, servers, target: Target { url, connections, script: None } };
    let sides =
        [side("onrush, a whole node", cluster.servers(), &url), side("nginx proxy_cache", vec![&proxy], &proxy_url)];
    let medians = sides::measure(bench, &sides).await?;
    drop(sides);
    proxy.stop().await;
    origin.stop().await;
    cluster.stop().await;
    Ok(medians)
}

/// Deploys `work` with one route for each filter: `/shared`, `/shared-1`...
pub(crate) async fn share(bench: &Bench, cluster: &Cluster, filters: &[&str]) -> anyhow::Result<()> {
    let mut text = format!(
        "[function.work]\nruntime = \"wasm\"\nsource = {:?}\nidempotent = true\n",
        bench.guest("work")?.display().to_string()
    );
    for (index, filter) in filters.iter().enumerate() {
        let path = if index == 0 { "/shared".to_owned() } else { format!("/shared-{index}") };
        text += &format!(
            "\n[[route]]\npath = \"{path}\"\nmethods = [\"GET\"]\nfunction = \"work\"\nfilters = [ {filter} ]\n"
        );
    }
    cluster.manifest(&text).await?;
    for node in &cluster.nodes {
        // A route is there when its catalog is.
        for tries in 0.. {
            let reply = bench.http.get(format!("{}/shared?cache=no-store", node.gateway())).send().await?;
            if reply.status().is_success() {
                break;
            }
            ensure!(tries < 100, "{}: the route does not answer: {}", node.name, reply.text().await?);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    Ok(())
}
