//! A steady load beside a fault: every call is counted by how it ended.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The status, or none where the connection failed.
    pub status: Option<u16>,
    /// The node that ran it.
    pub node: String,
    /// The body of a reply that was no success.
    pub body: String,
    /// When it was sent and when it ended, since the load began.
    pub sent: Duration,
    /// See `sent`.
    pub ended: Duration,
}

/// A running load.
pub struct Load {
    calls: Arc<Mutex<Vec<Call>>>,
    stop: CancellationToken,
    clients: JoinSet<()>,
    began: Instant,
}

impl Load {
    /// `clients` callers, each with one call at a time, spread over `urls`.
    pub fn start(http: &reqwest::Client, urls: &[String], clients: usize) -> Self {
        let (calls, stop, began) = (Arc::<Mutex<Vec<Call>>>::default(), CancellationToken::new(), Instant::now());
        let mut set = JoinSet::new();
        for url in urls.iter().cycle().take(clients) {
            let (http, url, calls, stop) = (http.clone(), url.clone(), Arc::clone(&calls), stop.clone());
            set.spawn(async move {
                while !stop.is_cancelled() {
                    let call = one(&http, &url, began).await;
                    calls.lock().expect("no panic under the lock").push(call);
                }
            });
        }
        Self { calls, stop, clients: set, began }
    }

    /// How long it runs.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// How many calls have ended so far.
    ///
    /// # Panics
    /// Never.
    pub fn ended(&self) -> usize {
        self.calls.lock().expect("no panic under the lock").len()
    }

    /// How many of them one node ran.
    ///
    /// # Panics
    /// Never.
    pub fn ran_on(&self, node: &str) -> usize {
        self.calls.lock().expect("no panic under the lock").iter().filter(|call| call.node == node).count()
    }

    /// Stops it and returns every call.
    ///
    /// # Panics
    /// Where a client panicked.
    pub async fn finish(mut self) -> Vec<Call> {
        self.stop.cancel();
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client does not panic");
        }
        std::mem::take(&mut *self.calls.lock().expect("no panic under the lock"))
    }
}

async fn one(http: &reqwest::Client, url: &str, began: Instant) -> Call {
    let sent = began.elapsed();
    let (status, node, body) = match answer(http, url).await {
        Ok((status, node, _)) if (200..300).contains(&status) => (Some(status), node, String::new()),
        Ok((status, node, body)) => (Some(status), node, body),
        Err(error) => (None, String::new(), format!("{error:?}")),
    };
    Call { status, node, body, sent, ended: began.elapsed() }
}

async fn answer(http: &reqwest::Client, url: &str) -> Result<(u16, String, String), reqwest::Error> {
    let reply = http.get(url).send().await?;
    let node = reply.headers().get("x-onrush-node").and_then(|name| name.to_str().ok()).unwrap_or_default().to_owned();
    Ok((reply.status().as_u16(), node, reply.text().await?))
}

/// How many calls ended in which way.
pub fn summary(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        let how = call.status.map_or_else(|| "no reply".to_owned(), |status| status.to_string());
        *counts.entry(how).or_default() += 1;
    }
    counts
}
