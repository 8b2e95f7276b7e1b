//! The burst itself: ten thousand identical requests at the same moment, tenants that flood, clients that are refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use onrush_tests::{Cluster, cluster::PATIENCE, wait};
use tokio::{sync::Barrier, task::JoinSet};

const EXE: &str = env!("CARGO_BIN_EXE_onrush");

/// As many identical requests as the promise names.
const REQUESTS: usize = 10_000;

/// HTTP/2 connections that the requests of one gateway are spread over.
const CONNECTIONS: usize = 40;

/// How one request was answered. The body begins with a number that each execution draws anew.
struct Answer {
    status: u16,
    body: String,
    cache_status: String,
}

/// Sends `REQUESTS` to these gateways, all at once.
async fn storm(cluster: &Cluster, gateways: &[usize], path: &str) -> Vec<Answer> {
    let client = || reqwest::Client::builder().http2_prior_knowledge().timeout(PATIENCE).build().expect("a client");
    let clients: Vec<_> = gateways.iter().map(|_| (0..CONNECTIONS).map(|_| client()).collect::<Vec<_>>()).collect();
    let (mut calls, start) = (JoinSet::new(), Arc::new(Barrier::new(REQUESTS)));
    for request in 0..REQUESTS {
        let which = request % gateways.len();
        let client = clients[which][request / gateways.len() % CONNECTIONS].clone();
        let url = format!("{}{path}", cluster.members[gateways[which]].gateway());
        let start = Arc::clone(&start);
        calls.spawn(async move {
            start.wait().await;
            let reply = client.get(url).send().await.expect("an answer");
            let status = reply.status().as_u16();
            let said = reply.headers().get("cache-status").and_then(|value| value.to_str().ok());
            let cache_status = said.unwrap_or_default().to_owned();
            Answer { status, cache_status, body: reply.text().await.expect("a whole body") }
        });
    }
    calls.join_all().await
}

/// Every request is answered well; the executions, by their numbers; how many said what of the cache.
fn executions(answers: &[Answer]) -> (BTreeSet<&str>, BTreeMap<&str, usize>) {
    assert_eq!(answers.len(), REQUESTS);
    let mut kinds = BTreeMap::new();
    for Answer { status, body, cache_status } in answers {
        assert_eq!(*status, 200, "{body}");
        let kind = match cache_status {
            said if said.contains("hit") => "hit",
            said if said.contains("collapsed") => "collapsed",
            said if said.contains("fwd=") => "forwarded",
            said => panic!("cache-status says {said:?}"),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    (answers.iter().map(|answer| &answer.body[..16]).collect(), kinds)
}

async fn cluster_with(filters: &[&str]) -> Cluster {
    let cluster = Cluster::start(EXE, 3).await;
    cluster.deploy(0, "work", "work", &["--idempotent"]).await;
    let mut arguments = vec!["route", "set", "shared", "--path", "/shared", "--function", "work"];
    arguments.extend(filters.iter().flat_map(|filter| ["--filter", *filter]));
    cluster.onrush(0, &arguments).await.success();
    for node in 0..3 {
        let known = async || match cluster.call(node, "/shared?warm").await {
            Ok((200, ..)) => Ok(()),
            other => Err(format!("{other:?}")),
        };
        wait::until("the route to be known", PATIENCE, known).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_identical_requests_cost_one_execution_per_gateway() {
    let cluster = cluster_with(&["coalesce lock-age=60s", "cache ttl=10m"]).await;
    let answers = storm(&cluster, &[0], "/shared?id&sleep=1500&one").await;
    let (drawn, kinds) = executions(&answers);
    assert_eq!(drawn.len(), 1, "{kinds:?}");
    assert_eq!(kinds["forwarded"], 1, "{kinds:?}");
    assert!(kinds["collapsed"] > REQUESTS / 2, "most came while it ran: {kinds:?}");

    let answers = storm(&cluster, &[0, 1, 2], "/shared?id&sleep=1500&three").await;
    let (drawn, kinds) = executions(&answers);
    assert_eq!(drawn.len(), 3, "one for each gateway: {kinds:?}");
    assert_eq!(kinds["forwarded"], 3, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_identical_requests_cost_one_execution_in_the_whole_cluster() {
    let cluster =
        cluster_with(&["coalesce lock-age=60s scope=cluster host=false", "cache ttl=10m scope=cluster host=false"])
            .await;
    let answers = storm(&cluster, &[0, 1, 2], "/shared?id&sleep=1500").await;
    let (drawn, kinds) = executions(&answers);
    assert_eq!(drawn.len(), 1, "{kinds:?}");
    assert_eq!(kinds["forwarded"], 1, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_refuses_with_a_time_to_come_back_and_without_a_call() {
    let cluster = cluster_with(&["rate-limit rate=1/h burst=4 per=route"]).await;
    let url = format!("{}/shared", cluster.members[0].gateway());
    let mut refused = None;
    for _ in 0..6 {
        let reply = cluster.http.get(&url).send().await.unwrap();
        if reply.status().as_u16() == 429 {
            refused = Some(reply);
        }
    }
    let reply = refused.expect("more than the burst was let through");
    let header = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let wait: u64 = header("retry-after").expect("retry-after").parse().unwrap();
    assert!(Duration::from_secs(wait) <= Duration::from_secs(3_600), "{wait}");
    assert_eq!(header("x-onrush-error-origin").as_deref(), Some("platform"));
    let body: serde_json::Value = reply.json().await.unwrap();
    assert_eq!(body["code"], "rate_limited", "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_filter_is_refused_by_its_place_and_changes_nothing() {
    let cluster = Cluster::start(EXE, 1).await;
    cluster.deploy(0, "work", "work", &[]).await;
    let set = async |filters: &[&str]| {
        let mut arguments = vec!["route", "set", "shop", "--path", "/shop", "--function", "work"];
        arguments.extend(filters.iter().flat_map(|filter| ["--filter", *filter]));
        cluster.onrush(0, &arguments).await
    };
    for (filters, place) in [
        (&["rate-limit rate=0/s"][..], "filters[0].rate"),
        (&["cors", "rate-limt rate=1/s"], "filters[1].use"),
        (&["cache ttl=60s"], "filters[0]"),
        (&["timeout after=1s colour=red"], "filters[0]"),
    ] {
        let output = set(filters).await;
        assert_ne!(output.code, 0, "{filters:?}");
        assert!(output.stderr.contains(place), "{filters:?}: {}", output.stderr);
    }
    assert_eq!(cluster.onrush(0, &["route", "list", "-o", "json"]).await.json(), serde_json::json!([]));
}
