//! Many requests at the same moment: connections first, then all requests together.

use std::time::Duration;

use anyhow::Context as _;
use http::Uri;
use tokio::{task::JoinSet, time::Instant};

use super::connection::{Answer, Connection};

/// One answer, or why there is none, and how long it took.
pub(crate) struct Got {
    pub(crate) answer: anyhow::Result<Answer>,
    pub(crate) took: Duration,
}

/// Connects once for each URL, a few at a time, then sends all requests.
pub(crate) async fn get_all(urls: &[Uri]) -> anyhow::Result<Vec<Got>> {
    let mut connections = Vec::with_capacity(urls.len());
    for urls in urls.chunks(256) {
        let mut opening = JoinSet::new();
        for uri in urls.iter().cloned() {
            opening.spawn(async move { Connection::to(&uri).await.map(|connection| (connection, uri)) });
        }
        while let Some(opened) = opening.join_next().await {
            connections.push(opened?.context("a connection")?);
        }
    }
    let start = Instant::now();
    let mut sending = JoinSet::new();
    for (mut connection, uri) in connections {
        sending.spawn(async move {
            let answer = tokio::time::timeout(Duration::from_secs(60), connection.get(&uri)).await;
            let answer = answer.map_err(anyhow::Error::from).and_then(|answer| answer);
            Got { answer, took: start.elapsed() }
        });
    }
    let mut all = Vec::with_capacity(urls.len());
    while let Some(got) = sending.join_next().await {
        all.push(got?);
    }
    Ok(all)
}
