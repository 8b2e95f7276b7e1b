//! What nodes that die take with them: nothing that was acknowledged, and no call but those in flight to them.

use std::time::Duration;

use onrush_tests::{Cluster, cluster::PATIENCE, load::Load, load::summary, wait};
use serde_json::Value;

const EXE: &str = env!("CARGO_BIN_EXE_onrush");

fn alive(status: &Value, count: usize) -> bool {
    status["nodes"].as_array().expect("nodes").iter().filter(|node| node["alive"] == true).count() == count
}

fn voters(status: &Value, count: usize) -> bool {
    status["nodes"].as_array().expect("nodes").iter().filter(|node| node["voter"] == true).count() == count
}

/// A deploy of another environment, so that it is a change.
async fn deploy_variant(cluster: &Cluster, node: usize, variant: &str) -> onrush_tests::Output {
    let file = onrush_tests::guests::component("hello").display().to_string();
    let env = format!("VARIANT={variant}");
    cluster.onrush(node, &["deploy", "hello", "--wasm", &file, "--env", &env, "-o", "json"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_leader_under_load_costs_no_call_but_those_in_flight_to_it() {
    let mut cluster = Cluster::start(EXE, 3).await;
    cluster.deploy(0, "hello", "hello", &[]).await;
    cluster.status_until(0, "three voters", PATIENCE, |status| voters(status, 3)).await;
    let leader = cluster.leader(0).await;
    let others: Vec<_> = (0..3).filter(|node| *node != leader).collect();
    let urls: Vec<_> =
        others.iter().map(|node| format!("{}/function/hello", cluster.members[*node].gateway())).collect();
    let load = Load::start(&cluster.http, &urls, 32);
    wait::until("the load to run", PATIENCE, async || (load.ended() > 500).then_some(()).ok_or(String::new())).await;
    cluster.members[leader].kill().await;
    let killed_at = load.age();
    let began = tokio::time::Instant::now();
    deploy_variant(&cluster, others[0], "after").await.success();
    let outage = began.elapsed();
    assert!(outage < Duration::from_secs(5), "the deploy took {outage:?}");
    let so_far = load.ended();
    wait::until("the load to go on", PATIENCE, async || {
        (load.ended() > so_far + 500).then_some(()).ok_or(String::new())
    })
    .await;
    let calls = load.finish().await;
    let failed: Vec<_> = calls.iter().filter(|call| call.status != Some(200)).collect();
    println!("deploy after the kill: {outage:?}; calls: {:?}", summary(&calls));
    // Whatever failed must have been on its way when the leader died, and must say that its fate is not known.
    let slack = Duration::from_millis(500);
    for call in &failed {
        assert!(call.sent <= killed_at + slack, "a call sent after the kill failed: {call:?}");
        assert_eq!(call.status, Some(502), "{call:?}");
        assert!(call.body.contains("unknown"), "{call:?}");
    }
    assert!(failed.len() <= 32, "{} calls failed, more than can have been in flight", failed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_of_three_dead_calls_go_on_and_deploys_are_refused() {
    let mut cluster = Cluster::start(EXE, 3).await;
    cluster.deploy(0, "hello", "hello", &[]).await;
    cluster.status_until(0, "three voters", PATIENCE, |status| voters(status, 3)).await;
    let survivor = 0;
    for node in [1, 2] {
        cluster.members[node].kill().await;
    }
    for _ in 0..50 {
        let (status, ran_on, body) = cluster.call(survivor, "/function/hello").await.unwrap();
        assert_eq!((status, ran_on.as_str()), (200, "n1"), "{body:?}");
    }
    let began = tokio::time::Instant::now();
    let refused = deploy_variant(&cluster, survivor, "refused").await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "the refusal took {took:?}");
    assert_eq!(refused.code, 1, "{refused:?}");
    let error: Value = serde_json::from_str(refused.stderr.lines().last().unwrap()).unwrap();
    assert!(["unavailable", "outcome_unknown"].contains(&error["code"].as_str().unwrap()), "{error}");
    println!("refused after {took:?}: {error}");
    assert_eq!(cluster.call(survivor, "/function/hello").await.unwrap().0, 200);
    let readiness = cluster.http.get(format!("{}/readyz", cluster.members[survivor].gateway())).send().await.unwrap();
    assert_eq!(readiness.status(), 200, "readiness needs no quorum");
    cluster.restart(1).await;
    let (_, back) = cluster.status_until(survivor, "a quorum", PATIENCE, |status| status["quorum"] == true).await;
    println!("writes are possible {back:?} after the second node was ready");
    deploy_variant(&cluster, survivor, "accepted").await.success();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_killing_every_node_at_once_everything_is_there() {
    let mut cluster = Cluster::start(EXE, 3).await;
    cluster.deploy(0, "hello", "hello", &[]).await;
    for variant in 0..5 {
        deploy_variant(&cluster, variant % 3, &variant.to_string()).await.success();
    }
    let before = cluster.status(0).await;
    for member in &mut cluster.members {
        member.kill().await;
    }
    cluster.start_all().await;
    for node in 0..3 {
        let list = cluster.onrush(node, &["list", "-o", "json"]).await.json();
        assert_eq!(list[0]["version"], 6, "{list}");
        assert_eq!(cluster.call(node, "/function/hello").await.unwrap().0, 200);
    }
    let after = cluster.status(0).await;
    assert_eq!(after["cluster"], before["cluster"]);
    deploy_variant(&cluster, 1, "after").await.success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_under_its_old_name_is_told_what_to_do() {
    let mut cluster = Cluster::start(EXE, 3).await;
    cluster.deploy(0, "hello", "hello", &[]).await;
    cluster.status_until(0, "three voters", PATIENCE, |status| voters(status, 3)).await;
    cluster.members[2].kill().await;
    std::fs::remove_dir_all(cluster.members[2].dir()).unwrap();
    cluster.launch(2);
    let wiped = cluster.members[2].running();
    assert_eq!(wiped.ended(PATIENCE).await, 1);
    assert!(wiped.log().contains("onrush node remove n3"), "{}", wiped.log());
    cluster.members[2].process = None;
    cluster.onrush(0, &["node", "remove", "n3"]).await.success();
    cluster.restart(2).await;
    let (status, _) = cluster.status_until(0, "three live nodes", PATIENCE, |status| alive(status, 3)).await;
    let names: Vec<_> = status["nodes"].as_array().unwrap().iter().map(|node| (&node["name"], &node["id"])).collect();
    assert!(names.iter().any(|(name, id)| **name == "n3" && id.as_u64() == Some(4)), "{names:?}");
    let (_, took) = cluster.status_until(0, "three voters", PATIENCE, |status| voters(status, 3)).await;
    println!("the replaced node votes after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_stays_out() {
    let mut cluster = Cluster::start(EXE, 3).await;
    cluster.status_until(0, "three voters", PATIENCE, |status| voters(status, 3)).await;
    cluster.members[2].kill().await;
    cluster.onrush(0, &["node", "remove", "n3"]).await.success();
    cluster.launch(2);
    let removed = cluster.members[2].running();
    assert_eq!(removed.ended(PATIENCE).await, 1);
    assert!(removed.log().contains("removed"), "{}", removed.log());
}
