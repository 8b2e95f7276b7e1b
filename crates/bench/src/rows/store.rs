//! A small durable write, to a cluster of Onrush and to one of etcd, over HTTP and JSON on both sides.

use std::{cell::RefCell, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::Full;
use tokio::{
    task::LocalSet,
    time::{Instant, timeout},
};

use crate::load::connection::{self, Connection};

/// Whose words a write is said in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// A route is changed.
    OnrushRoute,
    /// A function gets a new version: checked, inspected, copied, agreed, and seen by all nodes.
    OnrushDeploy,
    /// A key is put.
    Etcd,
}

/// One write that ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    /// From the start of the run.
    pub(crate) ended: Duration,
    pub(crate) took: Duration,
    pub(crate) good: bool,
}

/// What the writers say.
#[derive(Debug, Clone)]
pub(crate) struct Writers {
    pub(crate) dialect: Dialect,
    /// `http://IP:PORT` of each member that is asked; writers take turns.
    pub(crate) targets: Vec<String>,
    pub(crate) count: usize,
    /// For deploys: the artifact that is there.
    pub(crate) digest: String,
    /// Keeps keys of different runs apart.
    pub(crate) run: usize,
}

impl Writers {
    fn request(&self, writer: usize, turn: usize) -> anyhow::Result<Request<Full<Bytes>>> {
        let base = &self.targets[writer % self.targets.len()];
        let (run, digest) = (self.run, &self.digest);
        let (method, path, body) = match self.dialect {
            Dialect::OnrushRoute => (
                Method::PUT,
                format!("/v1/namespaces/default/routes/w{writer}"),
                format!("{{\"path\":\"/w/{writer}/{run}/{turn}\",\"function\":\"hello\"}}"),
            ),
            Dialect::OnrushDeploy => (
                Method::PUT,
                format!("/v1/namespaces/default/functions/w{writer}"),
                format!("{{\"digest\":\"{digest}\",\"environment\":{{\"TURN\":\"{run}-{turn}\"}}}}"),
            ),
            Dialect::Etcd => {
                // Digits are base64 already. The value is about as long as a route.
                let key = format!("{:08}", writer);
                let value = format!("{:0>96}", format!("{:08}{turn:08}", run));
                (Method::POST, "/v3/kv/put".to_owned(), format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}"))
            }
        };
        let uri: Uri = format!("{base}{path}").parse()?;
        let mut request = connection::request(method, &uri, Bytes::from(body))?;
        let json = http::HeaderValue::from_static("application/json");
        request.headers_mut().insert(http::header::CONTENT_TYPE, json);
        Ok(request)
    }

    /// Why a single write fails, if it does.
    pub(crate) async fn try_one(&self) -> anyhow::Result<()> {
        let mut connection = Connection::to(&self.targets[0].parse()?).await?;
        let answer = connection.send(self.request(0, 0)?).await?;
        anyhow::ensure!(answer.status.is_success(), "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(())
    }

    /// The same writers with deploys, where the program under measurement has no routes.
    pub(crate) async fn with_what_there_is(mut self) -> anyhow::Result<Self> {
        if self.dialect == Dialect::OnrushRoute && self.try_one().await.is_err() {
            self.dialect = Dialect::OnrushDeploy;
        }
        self.try_one().await?;
        Ok(self)
    }

    /// Everybody writes, one write after the other, for a while.
    pub(crate) async fn write(&self, time: Duration) -> anyhow::Result<Vec<Write>> {
        let (start, done) = (Instant::now(), Rc::new(RefCell::new(Vec::new())));
        let local = LocalSet::new();
        let mut writing = Vec::new();
        for writer in 0..self.count {
            let (own, done) = (self.clone(), Rc::clone(&done));
            writing.push(local.spawn_local(async move { own.one(writer, (start, time), &done).await }));
        }
        local
            .run_until(async {
                for writer in writing {
                    writer.await??;
                }
                anyhow::Ok(())
            })
            .await?;
        let mut writes = std::mem::take(&mut *done.borrow_mut());
        writes.sort_by_key(|write: &Write| write.ended);
        Ok(writes)
    }

    async fn one(
        &self,
        writer: usize,
        (start, time): (Instant, Duration),
        done: &RefCell<Vec<Write>>,
    ) -> anyhow::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(3);
        let uri: Uri = self.targets[writer % self.targets.len()].parse()?;
        let mut connection = None;
        for turn in 1.. {
            if start.elapsed() >= time {
                break;
            }
            let (began, request) = (Instant::now(), self.request(writer, turn)?);
            let sent = async {
                if connection.as_ref().is_none_or(|known: &Connection| !known.is_open()) {
                    connection = Some(Connection::to(&uri).await?);
                }
                let Some(open) = &mut connection else { anyhow::bail!("just connected") };
                open.send(request).await
            };
            let good =
                timeout(PATIENCE, sent).await.is_ok_and(|sent| sent.is_ok_and(|answer| answer.status.is_success()));
            done.borrow_mut().push(Write { ended: start.elapsed(), took: began.elapsed(), good });
            if !good {
                // What waits for a lost answer is not asked again.
                connection = None;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }
}

/// The longest time without a successful write.
pub(crate) fn longest_gap(writes: &[Write]) -> Duration {
    let good: Vec<_> = writes.iter().filter(|write| write.good).map(|write| write.ended).collect();
    good.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_counts_successes_only() {
        let write = |ended: u64, good| Write { ended: Duration::from_millis(ended), took: Duration::ZERO, good };
        let writes = [write(10, true), write(20, true), write(500, false), write(900, true), write(910, true)];
        assert_eq!(longest_gap(&writes), Duration::from_millis(880));
        assert_eq!(longest_gap(&writes[..1]), Duration::MAX, "one write shows no outage's end");
    }
}
