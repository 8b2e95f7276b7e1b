//! Thumbnails of a photo through a cluster, beside the same component in bare `wasmtime serve`.

use crate::{
    bench::Bench,
    load::wrk::Target,
    onrush::{Cluster, Plan},
    peers::wasmtime,
    record::Finding,
    rows::sides::{self, Side},
    verdict::Claim,
};

const CONNECTIONS: usize = 8;

/// Three nodes with one gateway asked, so that some calls take a hop.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let cluster = Cluster::start(bench, &Plan::of(bench, 3)).await?;
    cluster.deploy(bench, "image", "image", &[]).await?;
    // The same without hops, and without three processes that take turns on one core.
    let alone = Cluster::start(bench, &Plan::of(bench, 1)).await?;
    alone.deploy(bench, "image", "image", &[]).await?;
    let (peer, peer_url) = wasmtime::serve(bench, "image", &[], cluster.root()).await?;
    // Onrush bounds every call's time, which costs a check in each loop of the guest; the peer does so only where asked.
    let bounded_log = tempfile::tempdir()?;
    let (bounded, bounded_url) = wasmtime::serve(bench, "image", &["-W", "timeout=30s"], bounded_log.path()).await?;
    let script = cluster.root().join("post.lua");
    let photo = bench.places.root.join("examples/image/sample.jpg").display().to_string();
    std::fs::write(
        &script,
        format!(
            "local file = assert(io.open({photo:?}, \"rb\"))\nwrk.method = \"POST\"\nwrk.body = file:read(\"*a\")\nwrk.headers[\"content-type\"] = \"image/jpeg\"\nfile:close()\n"
        ),
    )?;
    let script = script.display().to_string();
    let query = "?w=160&h=160&fit=cover";
    let url = format!("{}/function/image{query}", cluster.nodes[0].gateway());
    let alone_url = format!("{}/function/image{query}", alone.nodes[0].gateway());
    let peer_url = format!("{peer_url}{query}");
    let bounded_url = format!("{bounded_url}{query}");
    let side = |label, servers, url| Side {
        label,
        servers,
        target: Target { url, connections: CONNECTIONS, script: Some(&script) },
    };
    let sides = [
        side("onrush, three nodes", cluster.servers(), &url),
        side("wasmtime serve", vec![&peer], &peer_url),
        side("wasmtime serve -W timeout=30s", vec![&bounded], &bounded_url),
        side("onrush, one node", alone.servers(), &alone_url),
    ];
    let medians = sides::measure(bench, &sides).await?;
    drop(sides);
    peer.stop().await;
    bounded.stop().await;
    cluster.stop().await;
    alone.stop().await;
    let more = (medians.cpu[0] / medians.cpu[1] - 1.0) * 100.0;
    Ok(Finding {
        claims: vec![Claim::at_most("more processor time per thumbnail", "%", (5.0, 0.0), more)],
        table: medians.table,
        notes: vec![
            format!(
                "Beside `wasmtime serve -W timeout=30s`, which bounds the time of a call as Onrush always does, it is {:.1} % more.",
                (medians.cpu[0] / medians.cpu[2] - 1.0) * 100.0
            ),
            format!(
                "A node alone needs {:.1} % more than `wasmtime serve`; the rest is hops of the photo between nodes, and three processes that take turns on one core and its caches.",
                (medians.cpu[3] / medians.cpu[1] - 1.0) * 100.0
            ),
            "The photo of examples/image to 160 x 160; processor time of all three nodes together.".to_owned(),
            sides::method(bench, CONNECTIONS),
        ],
    })
}
