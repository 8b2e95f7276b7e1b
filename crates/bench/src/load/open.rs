//! An open loop: requests are sent when they are due, over as many connections as that takes, up to a bound. Times count
//! from when a request was due, so a server that stands still is charged for everybody who had to wait.

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Uri};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    task::LocalSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    connection::{self, Connection},
    percentile::Times,
};

/// Requests of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    /// Taken in turns.
    pub(crate) urls: Vec<Uri>,
    /// Requests per second; the gaps between them are exponential.
    pub(crate) rate: f64,
    /// When it begins and ends, from the start of the run.
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    /// Connections at once. A request that is due when all are taken fails, as with a client whose patience is bounded.
    pub(crate) connections: usize,
}

/// How one request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// When it was due, from the start of the run.
    pub(crate) due: Duration,
    /// From then to the last byte of the answer.
    pub(crate) took: Duration,
    /// How late it was sent.
    pub(crate) late: Duration,
    /// 0 where there was no answer.
    pub(crate) status: u16,
    /// The node that ran it, as a number of two bytes of its name (`n2` is 2); 0 where nobody said.
    pub(crate) node: u8,
}

impl Sample {
    /// Whether it was answered with a success.
    pub(crate) const fn good(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// When the answer was there, from the start of the run.
    pub(crate) fn ended(&self) -> Duration {
        self.due + self.took
    }
}

/// A request without an answer fails after this long.
const PATIENCE: Duration = Duration::from_secs(35);

/// Sends the streams at once; the samples of each, by when they were due. Each has a thread of its own, on the caller's
/// core: what one stream has to do must not delay that another looks at its answers.
pub(crate) async fn run(streams: Vec<Stream>) -> anyhow::Result<Vec<Vec<Sample>>> {
    let start = Instant::now();
    let mut running = Vec::new();
    for (index, stream) in streams.into_iter().enumerate() {
        let (done, result) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("open-loop-{index}"));
        let send = move || drop(done.send(blocking(stream, start, index as u64)));
        thread.spawn(send).context("a thread for the load")?;
        running.push(result);
    }
    let mut all = Vec::new();
    for result in running {
        all.push(result.await.context("the generator of load ended early")??);
    }
    Ok(all)
}

fn blocking(stream: Stream, start: Instant, seed: u64) -> anyhow::Result<Vec<Sample>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(13).build()?;
    Ok(LocalSet::new().block_on(&runtime, send_all(stream, start, seed)))
}

/// The connections of a stream and what came over them.
#[derive(Default)]
struct Shared {
    idle: Vec<(usize, Connection)>,
    in_flight: usize,
    samples: Vec<Sample>,
}

async fn send_all(stream: Stream, start: Instant, seed: u64) -> Vec<Sample> {
    let shared = Rc::new(RefCell::new(Shared::default()));
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut due = stream.from;
    for turn in 0_usize.. {
        let gap: f64 = -(1.0 - rng.random::<f64>()).ln() / stream.rate;
        due += Duration::from_secs_f64(gap);
        if due >= stream.to {
            break;
        }
        wait_until(start + due).await;
        let target = turn % stream.urls.len();
        let uri = stream.urls[target].clone();
        if shared.borrow().in_flight >= stream.connections {
            let late = start.elapsed().saturating_sub(due);
            shared.borrow_mut().samples.push(Sample { due, took: late, late, status: 0, node: 0 });
            continue;
        }
        shared.borrow_mut().in_flight += 1;
        let own = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            let late = start.elapsed().saturating_sub(due);
            let answer = timeout(PATIENCE, one(&own, target, &uri)).await;
            let (status, node) = answer.ok().and_then(Result::ok).unwrap_or((0, 0));
            let took = start.elapsed().saturating_sub(due);
            let mut own = own.borrow_mut();
            own.in_flight -= 1;
            own.samples.push(Sample { due, took, late, status, node });
        });
    }
    while shared.borrow().in_flight > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut samples = std::mem::take(&mut shared.borrow_mut().samples);
    samples.sort_by_key(|sample| sample.due);
    samples
}

/// tokio's timer counts milliseconds, and requests are due between them: the last stretch is spent looking at the clock.
async fn wait_until(due: Instant) {
    const STRETCH: Duration = Duration::from_millis(2);
    loop {
        let now = Instant::now();
        if now >= due {
            return;
        }
        if due - now > STRETCH {
            sleep_until(due - STRETCH).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

async fn one(shared: &RefCell<Shared>, target: usize, uri: &Uri) -> anyhow::Result<(u16, u8)> {
    let idle = {
        let mut shared = shared.borrow_mut();
        let found = shared.idle.iter().rposition(|(to, connection)| *to == target && connection.is_open());
        found.map(|index| shared.idle.swap_remove(index).1)
    };
    let mut connection = match idle {
        Some(connection) => connection,
        None => Connection::to(uri).await?,
    };
    let answer = connection.send(connection::request(Method::GET, uri, Bytes::new())?).await?;
    let node = answer.header("x-onrush-node").and_then(|name| name.trim_start_matches('n').parse().ok()).unwrap_or(0);
    shared.borrow_mut().idle.push((target, connection));
    Ok((answer.status.as_u16(), node))
}

/// Times of successful answers.
pub(crate) fn times<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Times {
    Times::of(samples.into_iter().filter(|sample| sample.good()).map(|sample| sample.took))
}

/// How late requests were sent: what the generator itself adds to every time.
pub(crate) fn lateness(samples: &[Sample]) -> Times {
    Times::of(samples.iter().map(|sample| sample.late))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_sent_when_they_are_due_whatever_the_server_does() {
        // A server that takes connections and never answers.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let stream = Stream {
            urls: vec![uri],
            rate: 2_000.0,
            from: Duration::ZERO,
            to: Duration::from_millis(200),
            connections: 0,
        };
        let samples = run(vec![stream]).await.unwrap().remove(0);
        assert!((250..=550).contains(&samples.len()), "{} were sent", samples.len());
        assert!(samples.iter().all(|sample| sample.status == 0 && !sample.good()));
    }

    #[tokio::test]
    async fn a_time_counts_from_when_the_request_was_due() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { timeout(Duration::from_secs(3), crate::origin::serve(addr, 8)).await })
        });
        let uri: Uri = format!("http://{addr}/").parse().unwrap();
        // It is up when it answers.
        let up = async {
            while Connection::to(&uri).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), up).await.unwrap();
        let stream = Stream {
            urls: vec![uri],
            rate: 500.0,
            from: Duration::ZERO,
            to: Duration::from_millis(300),
            connections: 64,
        };
        let samples = run(vec![stream]).await.unwrap().remove(0);
        assert!(samples.iter().all(Sample::good), "all are answered");
        assert!(samples.iter().all(|sample| sample.took >= sample.late), "lateness is part of the time");
        assert!(times(&samples).ms(50.0) < 100.0);
        drop(server);
    }
}
