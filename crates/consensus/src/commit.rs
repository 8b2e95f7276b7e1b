//! `CatalogStore`: the way of a write, and of a fresh read.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use onrush_catalog::{Catalog, CatalogStore, CommitError, Committed, Outcome, Proposal, Refusal};
use onrush_proto::internal;
use onrush_types::{Code, NodeId};
use prost::Message as _;
use tokio::{
    sync::{mpsc::error::TrySendError, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Consensus,
    proposer::Pause,
    standing::Standing,
    waiting::{Decided, Fate, Undecided, Waiting},
    wire::Proof,
};

#[async_trait]
impl CatalogStore for Consensus {
    async fn commit(&self, proposal: Proposal, timeout: Duration) -> Result<Committed, CommitError> {
        let deadline = Instant::now() + timeout.min(self.config.longest_wait);
        if let Some(committed) = self.known_already(&proposal) {
            return Ok(committed);
        }
        let decided = self.submit(vec![proposal], deadline, false).await.map_err(|undecided| undecided.error)?;
        let [committed] = <[Committed; 1]>::try_from(decided.committed)
            .map_err(|_| CommitError::Internal("an entry was answered with another number of outcomes".to_owned()))?;
        if self.await_applied(decided.index, deadline).await {
            return Ok(committed);
        }
        Err(CommitError::OutcomeUnknown(format!(
            "the cluster has taken the change (entry {}), but this node has not applied it in time; look before you repeat",
            decided.index
        )))
    }

    async fn fresh(&self, timeout: Duration) -> Result<Arc<Catalog>, CommitError> {
        let deadline = Instant::now() + timeout.min(self.config.longest_wait);
        let busy = || CommitError::Overloaded("too many fresh reads wait already; try again".to_owned());
        let _turn = self.reads.try_acquire().map_err(|_| busy())?;
        let late = || CommitError::Unavailable("no quorum confirmed a fresh read in time".to_owned());
        let index = self.fresh.join(deadline, late).await?;
        if self.await_applied(index, deadline).await {
            return Ok(self.catalog.borrow().clone());
        }
        Err(CommitError::Unavailable(format!("this node has not caught up with the cluster (entry {index}) in time")))
    }

    fn watch(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.clone()
    }
}

impl Consensus {
    /// What needs no agreement: a request that was answered already, one that is too large, and one that breaks a rule
    /// whatever the catalog holds. (Other refusals depend on a catalog that may be newer elsewhere.)
    fn known_already(&self, proposal: &Proposal) -> Option<Committed> {
        let catalog = self.catalog.borrow().clone();
        if let Some(first) = catalog.requests.get(&proposal.request) {
            return Some(first.clone());
        }
        let (size, largest) = (encoded_len(proposal), self.config.largest_proposal);
        let refusal = if size as u64 > largest.0 {
            let why = format!("this change has {size} bytes; the catalog takes at most {largest}");
            Some(Refusal { code: Code::TooLarge, why })
        } else {
            match catalog.preview(proposal).outcome {
                Outcome::Refused(refusal) if refusal.code == Code::BadRequest => Some(refusal),
                Outcome::Done
                | Outcome::NodeAllocated(_)
                | Outcome::FunctionPut { .. }
                | Outcome::RoutePut { .. }
                | Outcome::Refused(_) => None,
            }
        };
        refusal.map(|refusal| Committed { revision: catalog.revision, outcome: Outcome::Refused(refusal) })
    }

    /// Hands proposals to the proposer and waits for what becomes of them. Dropping the future cancels nothing.
    pub(crate) async fn submit(
        &self,
        proposals: Vec<Proposal>,
        deadline: Instant,
        relayed: bool,
    ) -> Result<Decided, Undecided> {
        let full = || CommitError::Overloaded("too many writes wait already; try again".to_owned());
        let bytes: usize = proposals.iter().map(encoded_len).sum();
        let permits = u32::try_from(bytes.max(1)).map_err(|_| full())?;
        let share = Arc::clone(&self.queue_bytes).try_acquire_many_owned(permits).map_err(|_| full())?;
        let fate = Arc::new(Fate::default());
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { proposals, bytes, deadline, relayed, fate: Arc::clone(&fate), answer, _share: share };
        self.queue.try_send(waiting).map_err(|refused| match refused {
            TrySendError::Full(_) => full(),
            TrySendError::Closed(_) => CommitError::Unavailable("this node is shutting down".to_owned()),
        })?;
        match timeout_at(deadline, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) if fate.abandon() => Err(CommitError::Unavailable(self.no_quorum()).into()),
            Ok(Err(_)) => Err(unknown("this node stopped while the write was on its way").into()),
            Err(_) => Err(unknown("the cluster did not confirm the write in time").into()),
        }
    }

    /// The index up to which every acknowledged write lies, confirmed by a quorum.
    pub(crate) async fn read_index(&self, deadline: Instant) -> Result<u64, CommitError> {
        let mut pause = Pause::new(self.config.retry_pause);
        let mut hint = None;
        let mut last = None;
        loop {
            let failed = match self.route(&mut hint) {
                Route::Here => match self.confirmed.join(deadline, no_majority).await {
                    Ok(index) => return Ok(index),
                    Err(why) => why,
                },
                Route::To(leader) => match self.ask_read_index(leader, deadline).await {
                    Ok(index) => return Ok(index),
                    Err(Proof::NothingHappened { why, leader, .. }) => {
                        hint = leader;
                        why
                    }
                    Err(Proof::Unknown { why }) => why,
                },
                Route::Nowhere => self.no_quorum(),
                Route::Stopped(why) => return Err(CommitError::Unavailable(why)),
            };
            let why = last.insert(failed);
            if !pause.wait(deadline).await {
                return Err(CommitError::Unavailable(format!("no quorum confirmed a fresh read in time: {why}")));
            }
        }
    }

    /// Asks a majority, as the leader. One round; [`Consensus::confirmed`] is for everybody who waits for one.
    pub(crate) async fn local_read_index(&self, deadline: Instant) -> Result<u64, String> {
        // A round that hangs in a dead peer must not use up the whole time.
        let until = deadline.min(Instant::now() + self.config.forward_timeout);
        match timeout_at(until, self.raft.get_read_log_id()).await {
            Ok(Ok((read, _applied))) => Ok(read.map_or(0, |id| id.index)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(no_majority()),
        }
    }

    /// Waits until this node has applied the entry; false where the time is over first.
    pub(crate) async fn await_applied(&self, index: u64, deadline: Instant) -> bool {
        let mut applied = self.applied.clone();
        matches!(timeout_at(deadline, applied.wait_for(|applied| *applied >= index)).await, Ok(Ok(_)))
    }

    /// Waits until this node's catalog has this revision; returns the one that it has then.
    pub async fn await_revision(&self, revision: onrush_types::Revision, limit: Duration) -> onrush_types::Revision {
        let mut catalog = self.catalog.clone();
        // A time that is over is no failure here: the caller reads the revision.
        let _reached = timeout(limit, catalog.wait_for(|catalog| catalog.revision >= revision)).await.is_ok();
        self.catalog.borrow().revision
    }

    /// Where a write or a fresh read goes now. `hint` is what another node said of the leader; it is used once.
    pub(crate) fn route(&self, hint: &mut Option<NodeId>) -> Route {
        match self.standing() {
            Standing::Leading => Route::Here,
            Standing::Stopped(why) => Route::Stopped(format!("the catalog has stopped on this node: {why}")),
            standing @ (Standing::Following(_) | Standing::CutOff | Standing::Leaderless) => {
                let hinted = hint.take().filter(|node| *node != self.identity.node);
                let known = match standing {
                    Standing::Following(leader) => Some(leader),
                    _ => None,
                };
                hinted.or(known).or_else(|| self.somebody_else()).map_or(Route::Nowhere, Route::To)
            }
        }
    }

    /// A member to ask where no leader is known: each in turn. It answers itself or names the leader.
    fn somebody_else(&self) -> Option<NodeId> {
        let voters = self.voters.borrow().clone();
        let others: Vec<_> = voters.iter().filter(|node| **node != self.identity.node).collect();
        let turn = self.turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        others.get(turn.checked_rem(others.len())?).map(|node| **node)
    }
}

/// Where to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Here,
    To(NodeId),
    Nowhere,
    Stopped(String),
}

pub(crate) fn unknown(why: &str) -> CommitError {
    CommitError::OutcomeUnknown(format!("{why}; it may have taken effect, look before you repeat it"))
}

/// No majority has confirmed that this node leads.
pub(crate) fn no_majority() -> String {
    "a majority of the voters did not answer in time".to_owned()
}

fn encoded_len(proposal: &Proposal) -> usize {
    internal::Proposal::from(proposal).encoded_len()
}
