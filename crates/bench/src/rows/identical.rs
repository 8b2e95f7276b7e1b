//! Ten thousand identical requests at the same moment: how often the function runs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use http::Uri;

use crate::{
    bench::{Bench, say},
    load::{
        at_once::{self, Got},
        percentile::Times,
    },
    onrush::{Cluster, Plan},
    record::{Finding, Table},
    rows::cached,
    verdict::Claim,
};

/// Through one gateway, through three, and through three with a scope of the whole cluster. The function waits for two
/// seconds, so that the last request arrives before the first is answered, and says a random number, so that
/// executions can be counted.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let requests = bench.pick(3_000, 10_000);
    // All requests come from one address, which may have three quarters of the connections unless it is said otherwise.
    let tune = "[tune.gateway.server]\nmax-connections-per-ip = 16000\n".to_owned();
    let cluster = Cluster::start(bench, &Plan { tune, ..Plan::of(bench, 3) }).await?;
    // The gateways have ports of their own, and a host is part of the question unless it is said not to be.
    let filters = ["{ use = \"coalesce\", host = false }", "{ use = \"coalesce\", host = false, scope = \"cluster\" }"];
    cached::share(bench, &cluster, &filters).await?;
    let mut table =
        Table::new(&["requests", "executions", "answered", "p50 ms", "last ms", "`cache-status`, by number"]);
    let mut claims = Vec::new();
    let mut notes =
        vec!["The connections are open before the first request is sent. The function waits for 2 s.".to_owned()];
    let gateways: Vec<_> = cluster.nodes.iter().map(crate::onrush::Node::gateway).collect();
    let cases = [
        ("one gateway", "/shared", 1, 1.0),
        ("three gateways", "/shared", 3, 3.0),
        ("three, scope = \"cluster\"", "/shared-1", 3, 1.0),
    ];
    for (turn, (label, path, through, allowed)) in cases.into_iter().enumerate() {
        let uris = gateways.iter().take(through).map(|gateway| format!("{gateway}{path}?id&sleep=2000&turn={turn}"));
        let uris = uris.map(|uri| uri.parse::<Uri>()).collect::<Result<Vec<_>, _>>()?;
        let urls: Vec<_> = (0..requests).map(|index| uris[index % through].clone()).collect();
        let got = at_once::get_all(&urls).await?;
        let seen = Seen::of(&got);
        say(format!("{label}: {} executions, {} of {requests} answered", seen.executions, seen.answered));
        if seen.answered < requests {
            notes.push(format!("{label}: one of those without a success: {}", seen.first_failure));
        }
        ensure!(seen.answered > 0, "{label}: nobody was answered: {}", seen.first_failure);
        let status: Vec<_> = seen.statuses.iter().map(|(status, count)| format!("{count} x {status}")).collect();
        let label_requests = format!("{requests} through {label}");
        let times = [seen.times.ms(50.0), seen.times.ms(100.0)].map(crate::report::number);
        let cells = [seen.executions.to_string(), format!("{} of {requests}", seen.answered)];
        table.line(&[&label_requests, &cells[0], &cells[1], &times[0], &times[1], &status.join(", ")]);
        let executions = seen.executions as f64;
        claims.push(Claim::at_most(&format!("executions, {label}"), "", (allowed, allowed), executions));
        let answered = seen.answered as f64 / requests as f64 * 100.0;
        claims.push(Claim::at_least(&format!("answered, {label}"), "%", (100.0, 100.0), answered));
    }
    cluster.stop().await;
    Ok(Finding { claims, table, notes })
}

struct Seen {
    executions: usize,
    answered: usize,
    /// `Cache-Status` with its node's name and numbers left out.
    statuses: BTreeMap<String, usize>,
    times: Times,
    first_failure: String,
}

impl Seen {
    fn of(all: &[Got]) -> Self {
        let (mut bodies, mut statuses) = (BTreeSet::new(), BTreeMap::new());
        let (mut answered, mut first_failure) = (0, String::new());
        for got in all {
            match &got.answer {
                Ok(answer) if answer.status.is_success() => {
                    answered += 1;
                    bodies.insert(answer.body.get(..16).unwrap_or_default().to_vec());
                    *statuses.entry(shape(answer.header("cache-status").unwrap_or("none"))).or_default() += 1;
                }
                Ok(answer) => first_failure = format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)),
                Err(error) => first_failure = error.to_string(),
            }
        }
        let times = Times::of(all.iter().map(|got| got.took));
        Self { executions: bodies.len(), answered, statuses, times, first_failure }
    }
}

/// `n1; fwd=miss; collapsed; ttl=5` becomes `fwd=miss; collapsed`.
fn shape(status: &str) -> String {
    let parts = status.split(';').map(str::trim).skip(1);
    let parts: Vec<_> = parts.filter(|part| !part.starts_with("ttl") && !part.starts_with("key")).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_status_is_counted_by_its_shape() {
        assert_eq!(shape("n1; fwd=miss; collapsed; ttl=5"), "fwd=miss; collapsed");
        assert_eq!(shape("none"), "none");
    }
}
