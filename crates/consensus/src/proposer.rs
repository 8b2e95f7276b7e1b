//! Collects proposals into entries, and sees each entry through elections until its callers have an answer.

use std::{sync::Arc, time::Duration};

use onrush_catalog::{CommitError, Proposal};
use onrush_types::{Code, NodeId};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    Consensus,
    commit::{Route, unknown},
    types::Batch,
    waiting::{Decided, Undecided, Waiting},
    wire::Proof,
};

/// Growing pauses between attempts, up to eight times the first one.
pub(crate) struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    pub(crate) fn new(first: Duration) -> Self {
        Self { next: first, longest: first * 8 }
    }

    /// Waits; false where the deadline came first.
    pub(crate) async fn wait(&mut self, deadline: Instant) -> bool {
        let until = Instant::now() + self.next;
        self.next = (self.next * 2).min(self.longest);
        sleep_until(until.min(deadline)).await;
        until < deadline
    }
}

/// What one attempt led to.
enum Attempt {
    Decided(Decided),
    /// It is proved that it reached no log.
    Nothing {
        error: CommitError,
        leader: Option<NodeId>,
    },
    /// It may be in a log.
    Unknown(String),
    /// Raft has stopped here: there will be no other attempt.
    Stopped(CommitError),
}

/// The one task that forms entries. While an entry is under way, the proposals for the next one gather.
pub(crate) async fn run(consensus: Arc<Consensus>, mut queue: mpsc::Receiver<Waiting>, stop: CancellationToken) {
    let in_flight = Arc::new(Semaphore::new(consensus.config.batches_in_flight));
    let mut held = None;
    loop {
        let next = async {
            let permit = Arc::clone(&in_flight).acquire_owned().await.ok()?;
            let first = match held.take() {
                Some(first) => first,
                None => queue.recv().await?,
            };
            Some((permit, first))
        };
        let (permit, first) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next => match next {
                Some(next) => next,
                None => break,
            },
        };
        let batch = collect(first, &mut queue, &mut held, (consensus.config.batch, consensus.config.batch_bytes.0));
        let consensus = Arc::clone(&consensus);
        let tracker = consensus.tracker.clone();
        tracker.spawn(async move {
            consensus.see_through(batch).await;
            drop(permit);
        });
    }
    // Whoever still waits is told at once: its answer channel closes, and nothing of it was sent.
}

/// As many as share one entry; one that does not fit any more is `held` for the next.
fn collect(
    first: Waiting,
    queue: &mut mpsc::Receiver<Waiting>,
    held: &mut Option<Waiting>,
    (most, most_bytes): (usize, u64),
) -> Vec<Waiting> {
    let (mut count, mut bytes) = (first.proposals.len(), first.bytes as u64);
    let mut batch = vec![first];
    while count < most && bytes < most_bytes {
        let Ok(next) = queue.try_recv() else { break };
        if count + next.proposals.len() > most || bytes + next.bytes as u64 > most_bytes {
            *held = Some(next);
            break;
        }
        count += next.proposals.len();
        bytes += next.bytes as u64;
        batch.push(next);
    }
    batch
}

impl Consensus {
    /// Tries until there is an outcome or everyone has given up. Repeating is safe: the catalog answers a request that it
    /// has seen with its first outcome.
    async fn see_through(&self, mut batch: Vec<Waiting>) {
        let mut pause = Pause::new(self.config.retry_pause);
        let mut hint = None;
        let mut uncertain = false;
        loop {
            let route = self.route(&mut hint);
            if route != Route::Here {
                refuse_relayed(&mut batch, self.leader(), uncertain);
            }
            let now = Instant::now();
            batch.retain(|waiting| waiting.deadline > now && waiting.fate.claim());
            let Some(until) = batch.iter().map(|waiting| waiting.deadline).max() else { return };
            match self.attempt(route, &batch, until).await {
                Attempt::Decided(decided) => return answer(batch, decided),
                Attempt::Stopped(error) => return fail(batch, &error, None),
                Attempt::Unknown(why) => {
                    debug!(why, "the fate of a write is not known yet; it is sent again under the same id");
                    uncertain = true;
                }
                Attempt::Nothing { error, leader } => {
                    hint = leader;
                    if !uncertain {
                        batch.iter().for_each(|waiting| waiting.fate.release());
                        if !matches!(error, CommitError::Unavailable(_)) {
                            return fail(batch, &error, leader);
                        }
                    }
                }
            }
            pause.wait(until).await;
        }
    }

    async fn attempt(&self, route: Route, batch: &[Waiting], until: Instant) -> Attempt {
        let proposals: Vec<Proposal> = batch.iter().flat_map(|waiting| waiting.proposals.iter().cloned()).collect();
        match route {
            Route::Here => self.propose(proposals, until).await,
            Route::To(leader) => match self.forward(leader, &proposals, until).await {
                Ok(decided) => Attempt::Decided(decided),
                Err(Proof::Unknown { why }) => Attempt::Unknown(why),
                Err(Proof::NothingHappened { why, code, leader }) => {
                    let error = match code {
                        Code::Overloaded => CommitError::Overloaded(why),
                        Code::BadRequest => CommitError::Internal(why),
                        _ => CommitError::Unavailable(why),
                    };
                    Attempt::Nothing { error, leader }
                }
            },
            Route::Nowhere => Attempt::Nothing { error: CommitError::Unavailable(self.no_quorum()), leader: None },
            Route::Stopped(why) => Attempt::Stopped(CommitError::Unavailable(why)),
        }
    }

    /// Appends to this node's own log, as its leader.
    async fn propose(&self, proposals: Vec<Proposal>, until: Instant) -> Attempt {
        let sent = match self.raft.client_write_ff(Batch(proposals)).await {
            Ok(sent) => sent,
            Err(fatal) => return Attempt::Stopped(unknown(&format!("the catalog has stopped on this node: {fatal}"))),
        };
        match timeout_at(until, sent).await {
            Ok(Ok(Ok(written))) => Attempt::Decided(Decided { committed: written.data.0, index: written.log_id.index }),
            // The same answer stands for "was never appended" and for "was cut from this log", and what was cut here may
            // still be committed elsewhere.
            Ok(Ok(Err(error))) => Attempt::Unknown(error.to_string()),
            Ok(Err(_)) => Attempt::Stopped(unknown("the catalog has stopped on this node")),
            Err(_) => Attempt::Unknown("not confirmed in time".to_owned()),
        }
    }
}

/// What another node sent here must be decided here; it is sent back where this node does not lead.
fn refuse_relayed(batch: &mut Vec<Waiting>, leader: Option<NodeId>, uncertain: bool) {
    let relayed = batch.extract_if(.., |waiting| waiting.relayed).collect();
    let error = match uncertain {
        true => unknown("this node lost its leadership while the write was on its way"),
        false => CommitError::Unavailable("this node does not lead".to_owned()),
    };
    fail(relayed, &error, leader);
}

fn answer(batch: Vec<Waiting>, decided: Decided) {
    let index = decided.index;
    let mut outcomes = decided.committed.into_iter();
    for waiting in batch {
        let committed = outcomes.by_ref().take(waiting.proposals.len()).collect();
        // Nobody listens where the caller has gone; the change stands all the same.
        let _heard = waiting.answer.send(Ok(Decided { committed, index })).is_ok();
    }
}

fn fail(batch: Vec<Waiting>, error: &CommitError, leader: Option<NodeId>) {
    for waiting in batch {
        let _heard = waiting.answer.send(Err(Undecided { error: error.clone(), leader })).is_ok();
    }
}
