//! What a call costs more when another node runs it.

use crate::{
    bench::Bench,
    load::wrk::Target,
    onrush::{Cluster, Plan},
    peers::nginx::{self, Use},
    record::Finding,
    rows::sides::{self, Side},
    verdict::Claim,
};

const CONNECTIONS: usize = 64;

/// Local beside forwarded, and an origin beside the origin behind nginx. Everything is on one core, so processor time adds
/// up. Instances are reused, because the cost of a fresh one would drown the difference in its noise.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let local = Cluster::start(bench, &Plan::of(bench, 1)).await?;
    local.deploy(bench, "hello", "hello", &["--reuse", "1000"]).await?;
    let plan = Plan { roles: vec!["worker,control", "gateway"], ..Plan::of(bench, 2) };
    let pair = Cluster::start(bench, &plan).await?;
    pair.onrush(&["deploy", "hello", "--wasm", &bench.guest("hello")?.display().to_string(), "--reuse", "1000"])
        .await?;
    let dir = tempfile::tempdir()?;
    let (origin, origin_at) = nginx::origin(bench, bench.cores.server, dir.path()).await?;
    let (proxy, proxy_url) = nginx::proxy(bench, &origin_at, Use::Proxy, dir.path()).await?;

    let origin_url = format!("http://{origin_at}/");
    let local_url = format!("{}/function/hello", local.nodes[0].gateway());
    let pair_url = format!("{}/function/hello", pair.nodes[1].gateway());
    let side =
        |label, servers, url| Side { label, servers, target: Target { url, connections: CONNECTIONS, script: None } };
    let sides = [
        side("onrush, one node", local.servers(), &local_url),
        side("onrush, a gateway and a worker", pair.servers(), &pair_url),
        side("a plain origin", vec![&origin], &origin_url),
        side("nginx before it", vec![&proxy, &origin], &proxy_url),
    ];
    let medians = sides::measure(bench, &sides).await?;
    drop(sides);
    let extra = medians.cpu[1] - medians.cpu[0];
    let hop = medians.cpu[3] - medians.cpu[2];
    proxy.stop().await;
    origin.stop().await;
    local.stop().await;
    pair.stop().await;
    Ok(Finding {
        claims: vec![Claim::at_most("extra CPU of a hop beside nginx's", "x", (3.0, 1.5), extra / hop)],
        table: medians.table,
        notes: vec![
            format!("A hop costs Onrush {extra:.1} µs on both nodes together, nginx {hop:.1} µs with the origin's part."),
            "Instances are reused on both sides of Onrush, so that the difference is not lost in the noise of fresh ones."
                .to_owned(),
            sides::method(bench, CONNECTIONS),
        ],
    })
}
