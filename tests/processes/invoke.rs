//! Three nodes with equal seed lists: any of them deploys, and any of them runs what was deployed.

use std::{collections::BTreeSet, time::Duration};

use onrush_tests::{Cluster, cluster::PATIENCE, guests, wait};

const EXE: &str = env!("CARGO_BIN_EXE_onrush");

#[tokio::test(flavor = "multi_thread")]
async fn a_function_deployed_through_one_node_answers_through_each() {
    let cluster = Cluster::start(EXE, 3).await;
    cluster.deploy(1, "hello", "hello", &[]).await;
    for node in 0..3 {
        let (status, ran_on, body) = cluster.call(node, "/function/hello").await.unwrap();
        assert_eq!(status, 200, "{body:?}");
        assert!(ran_on.starts_with('n'), "x-onrush-node is {ran_on:?}");
        let list = cluster.onrush(node, &["list", "-o", "json"]).await.json();
        let hello = &list.as_array().unwrap()[0];
        assert_eq!((&hello["name"], &hello["namespace"]), (&"hello".into(), &"default".into()));
        assert_eq!((&hello["version"], &hello["runtime"]), (&1.into(), &"wasm".into()));
        assert_eq!(hello["digest"].as_str().unwrap().len(), 64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_metrics_tell_what_happened_on_every_node() {
    let cluster = Cluster::start(EXE, 2).await;
    cluster.deploy(0, "hostile", "hostile", &[]).await;
    for node in [0, 1] {
        let (status, _, body) = cluster.call(node, "/function/hostile/log").await.unwrap();
        assert_eq!(status, 200, "{body:?}");
    }
    let written = async || {
        let logs = cluster.onrush(1, &["logs", "hostile"]).await;
        if logs.stdout.matches("out line").count() >= 2 { Ok(()) } else { Err(format!("{logs:?}")) }
    };
    wait::until("both lines, read through one node", PATIENCE, written).await;
    for node in [0, 1] {
        let url = format!("{}/metrics", cluster.members[node].api());
        let metrics = cluster.http.get(url).send().await.unwrap().text().await.unwrap();
        for name in ["onrush_gateway_requests_total", "onrush_worker_", "onrush_router_"] {
            assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_for_long_catches_up_by_a_snapshot() {
    let settings = "[tune.consensus]\nsnapshot-every = 20\nkeep-behind-snapshot = 5\nlag-threshold = 30\n";
    let mut cluster = Cluster::start_with(EXE, 3, settings).await;
    let voters = |status: &serde_json::Value| {
        status["nodes"].as_array().unwrap().iter().filter(|node| node["voter"] == true).count() == 3
    };
    cluster.status_until(0, "three voters", PATIENCE, voters).await;
    let leader = cluster.leader(0).await;
    let (away, here) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.members[away].kill().await;
    for round in 0..80 {
        cluster.deploy(here, "hello", "hello", &["--env", &format!("ROUND={round}")]).await;
    }
    cluster.restart(away).await;
    let newest = async || {
        let list = cluster.onrush(away, &["list", "-o", "json"]).await;
        let list: serde_json::Value = serde_json::from_str(&list.stdout).map_err(|_| list.stderr)?;
        if list[0]["version"] == 80 { Ok(()) } else { Err(list.to_string()) }
    };
    wait::until("the newest version on the node that was away", PATIENCE, newest).await;
    assert!(cluster.members[away].running().log().contains("installed a snapshot"), "it must have come by a snapshot");
    let (status, _, body) = cluster.call(away, "/function/hello").await.unwrap();
    assert_eq!(status, 200, "{body:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_at_one_gateway_spreads_over_the_nodes() {
    let cluster = Cluster::start(EXE, 3).await;
    cluster.deploy(0, "image", "image", &[]).await;
    let picture = std::fs::read(picture()).unwrap();
    let url = format!("{}/function/image?w=256&h=256", cluster.members[0].gateway());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let post = cluster.http.post(&url).body(picture.clone());
        calls.spawn(async move {
            let reply = post.send().await.unwrap();
            let node = reply.headers()["x-onrush-node"].to_str().unwrap().to_owned();
            (reply.status().as_u16(), node)
        });
    }
    let ended = calls.join_all().await;
    assert!(ended.iter().all(|(status, _)| *status == 200), "{ended:?}");
    let nodes: BTreeSet<_> = ended.into_iter().map(|(_, node)| node).collect();
    assert!(nodes.len() >= 2, "64 calls at once were all made by {nodes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_function_makes_a_right_thumbnail() {
    let cluster = Cluster::start(EXE, 1).await;
    cluster.deploy(0, "image", "image", &[]).await;
    let url = format!("{}/function/image?w=120&h=120&format=png", cluster.members[0].gateway());
    let reply = cluster.http.post(&url).body(std::fs::read(picture()).unwrap()).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["content-type"], "image/png");
    let thumbnail = reply.bytes().await.unwrap();
    assert_eq!(&thumbnail[..8], b"\x89PNG\r\n\x1a\n");
    let side = |at: usize| u32::from_be_bytes(thumbnail[at..at + 4].try_into().unwrap());
    let (width, height) = (side(16), side(20));
    assert!(width.max(height) == 120 && width.min(height) > 0, "{width} x {height}");
    let wrong = cluster.http.post(&url).body("no picture").send().await.unwrap();
    assert!(wrong.status().is_client_error(), "{}", wrong.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joining_node_is_used_and_a_drained_one_gets_nothing_new() {
    let mut cluster = Cluster::start(EXE, 3).await;
    cluster.deploy(0, "hello", "hello", &[]).await;
    let fourth = cluster.join("n4").await;
    let used = async || match cluster.call(fourth, "/function/hello").await {
        Ok((200, node, _)) if node == "n4" => Ok(()),
        other => Err(format!("{other:?}")),
    };
    wait::until("the fourth node to run a call", PATIENCE, used).await;
    let drained = "n1";
    cluster.onrush(1, &["node", "drain", drained]).await.success();
    let is_draining = |status: &serde_json::Value| {
        status["nodes"].as_array().unwrap().iter().any(|node| node["name"] == drained && node["draining"] == true)
    };
    for node in 0..4 {
        cluster.status_until(node, "everyone to hear of the drain", PATIENCE, is_draining).await;
    }
    for round in 0..60 {
        let (status, ran_on, body) = cluster.call(round % 4, "/function/hello").await.unwrap();
        assert_eq!(status, 200, "{body:?}");
        assert_ne!(ran_on, drained, "a drained node got a call");
    }
    cluster.onrush(1, &["node", "undrain", drained]).await.success();
    let again = async || match cluster.call(0, "/function/hello").await {
        Ok((200, node, _)) if node == drained => Ok(()),
        other => Err(format!("{other:?}")),
    };
    wait::until("the node to be used again", PATIENCE, again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_stop_loses_no_call() {
    let mut cluster = Cluster::start(EXE, 3).await;
    cluster.deploy(0, "hello", "hello", &[]).await;
    // Clients of the other gateways; the stopping node works for them until it has drained.
    let urls: Vec<_> = [1, 2].map(|node| format!("{}/function/hello", cluster.members[node].gateway())).to_vec();
    let load = onrush_tests::load::Load::start(&cluster.http, &urls, 16);
    let works = async || if load.ran_on("n1") > 20 { Ok(()) } else { Err(format!("{} calls", load.ended())) };
    wait::until("the node to work for the others", PATIENCE, works).await;
    let stopping = cluster.members[0].running();
    stopping.signal(rustix::process::Signal::TERM);
    assert_eq!(stopping.ended(PATIENCE).await, 0);
    let after = load.ended();
    wait::until("the load to go on", PATIENCE, async || {
        (load.ended() > after + 200).then_some(()).ok_or(String::new())
    })
    .await;
    let calls = load.finish().await;
    let lost: Vec<_> = calls.iter().filter(|call| call.status != Some(200)).collect();
    assert!(lost.is_empty(), "{} of {} calls were lost: {:?}", lost.len(), calls.len(), &lost[..lost.len().min(5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_streams_through_without_being_held() {
    const TOTAL: u64 = 1 << 30;
    const CHUNK: usize = 1 << 20;
    let mut cluster = Cluster::start(EXE, 1).await;
    cluster.deploy(0, "echo", "echo", &["--timeout", "10m"]).await;
    let url = format!("{}/function/echo", cluster.members[0].gateway());
    let warm = cluster.http.post(&url).body(vec![7; CHUNK]).send().await.unwrap();
    assert_eq!(warm.bytes().await.unwrap().len(), CHUNK);
    let before = cluster.members[0].running().resident();
    let chunk = bytes::Bytes::from(vec![7; CHUNK]);
    let chunks = (0..TOTAL / CHUNK as u64).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
    let body = reqwest::Body::wrap_stream(tokio_stream::iter(chunks));
    let client = reqwest::Client::builder().timeout(Duration::from_secs(600)).build().unwrap();
    let mut reply = client.post(&url).body(body).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let (mut received, mut highest) = (0, before);
    let mut looked_at = 0;
    while let Some(chunk) = reply.chunk().await.unwrap() {
        assert!(chunk.iter().all(|byte| *byte == 7));
        received += chunk.len() as u64;
        if received - looked_at > 16 << 20 {
            looked_at = received;
            highest = highest.max(cluster.members[0].running().resident());
        }
    }
    assert_eq!(received, TOTAL);
    let grown = (highest - before) >> 20;
    println!("1 GiB echoed; resident memory grew by {grown} MiB");
    assert!(grown <= 64, "the node grew by {grown} MiB");
}

fn picture() -> std::path::PathBuf {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/image");
    let found = std::fs::read_dir(&dir).expect("the example").flatten().map(|entry| entry.path());
    let kinds = ["png", "jpg", "jpeg", "webp"];
    let mut pictures: Vec<_> =
        found.filter(|path| path.extension().is_some_and(|kind| kinds.iter().any(|known| kind == *known))).collect();
    pictures.sort();
    pictures.into_iter().next().unwrap_or_else(|| panic!("no sample picture in {}", dir.display()))
}

#[test]
fn the_examples_are_there() {
    for name in ["hello", "echo", "image"] {
        guests::component(name);
    }
}
