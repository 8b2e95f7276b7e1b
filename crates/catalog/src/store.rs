//! The seam between those who change or read the catalog and those who keep it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use onrush_types::Code;
use tokio::sync::watch;

use crate::{Catalog, Committed, Proposal};

/// Why a write has no outcome, or a read is not fresh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Not accepted, and not in the log: no quorum, no leader, shutting down.
    #[error("{0}")]
    Unavailable(String),
    /// Too many writes wait already; this one is not in the log.
    #[error("{0}")]
    Overloaded(String),
    /// It was sent to the log, and whether it took effect is not known. The same request id may be sent again: it
    /// takes effect at most once.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// A defect, or the disk failed.
    #[error("{0}")]
    Internal(String),
}

impl CommitError {
    /// In the words that clients see.
    pub const fn code(&self) -> Code {
        match self {
            Self::Unavailable(_) => Code::Unavailable,
            Self::Overloaded(_) => Code::Overloaded,
            Self::OutcomeUnknown(_) => Code::OutcomeUnknown,
            Self::Internal(_) => Code::Internal,
        }
    }
}

/// The agreed catalog: change it through `commit`, follow it through `watch`.
#[async_trait]
pub trait CatalogStore: Send + Sync {
    /// Returns when the cluster has agreed and this node has applied it, so that its own reads show it.
    ///
    /// # Errors
    /// [`CommitError`] says whether the write can have taken effect. A broken rule is no error but
    /// [`Outcome::Refused`](crate::Outcome::Refused).
    async fn commit(&self, proposal: Proposal, timeout: Duration) -> Result<Committed, CommitError>;

    /// Waits until this node's catalog is at least as new as every write that was acknowledged before the call.
    ///
    /// # Errors
    /// [`CommitError::Unavailable`] where no quorum confirms it in time.
    async fn fresh(&self, timeout: Duration) -> Result<Arc<Catalog>, CommitError>;

    /// The newest catalog that was applied here; wakes on every change.
    fn watch(&self) -> watch::Receiver<Arc<Catalog>>;
}
