//! A proposal on its way, and whether it can be in the log.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use onrush_catalog::{CommitError, Committed, Proposal};
use onrush_types::NodeId;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

/// Proposals of one caller. They go into one entry, in their order.
pub(crate) struct Waiting {
    pub(crate) proposals: Vec<Proposal>,
    pub(crate) bytes: usize,
    pub(crate) deadline: Instant,
    /// It came from another node: it is decided here or refused, never sent on.
    pub(crate) relayed: bool,
    pub(crate) fate: Arc<Fate>,
    pub(crate) answer: oneshot::Sender<Result<Decided, Undecided>>,
    /// Its share of the bytes that may wait.
    pub(crate) _share: OwnedSemaphorePermit,
}

/// What became of proposals.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    /// One per proposal.
    pub(crate) committed: Vec<Committed>,
    /// The entry that carried them.
    pub(crate) index: u64,
}

/// Why proposals have no outcome, and who may know better.
#[derive(Debug, Clone)]
pub(crate) struct Undecided {
    pub(crate) error: CommitError,
    pub(crate) leader: Option<NodeId>,
}

impl From<CommitError> for Undecided {
    fn from(error: CommitError) -> Self {
        Self { error, leader: None }
    }
}

/// Whether proposals can be in the log. The caller who gives up and the task that sends them agree on it through one
/// atomic, so that "not in the log" is never said of something that is sent a moment later.
#[derive(Debug, Default)]
pub(crate) struct Fate(AtomicU8);

const NOT_SENT: u8 = 0;
const MAYBE_SENT: u8 = 1;
const ABANDONED: u8 = 2;

impl Fate {
    /// To be called before they are sent; false where the caller has given up.
    pub(crate) fn claim(&self) -> bool {
        let claimed = self.0.compare_exchange(NOT_SENT, MAYBE_SENT, Ordering::SeqCst, Ordering::SeqCst);
        claimed.is_ok() || claimed == Err(MAYBE_SENT)
    }

    /// It is proved that no attempt so far reached a log.
    pub(crate) fn release(&self) {
        // Fails only where it was not claimed; then there is nothing to release.
        let _released = self.0.compare_exchange(MAYBE_SENT, NOT_SENT, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The caller gives up. True where the proposals are in no log and never will be.
    pub(crate) fn abandon(&self) -> bool {
        let abandoned = self.0.compare_exchange(NOT_SENT, ABANDONED, Ordering::SeqCst, Ordering::SeqCst);
        abandoned.is_ok() || abandoned == Err(ABANDONED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_abandoned_is_never_sent() {
        let fate = Fate::default();
        assert!(fate.abandon());
        assert!(!fate.claim());
    }

    #[test]
    fn what_may_be_sent_is_not_called_unsent() {
        let fate = Fate::default();
        assert!(fate.claim() && fate.claim());
        assert!(!fate.abandon());
        fate.release();
        assert!(fate.abandon(), "the attempt was proved to have reached no log");
    }
}
