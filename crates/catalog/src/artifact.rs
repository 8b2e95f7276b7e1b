//! The seam to the store of artifacts: blobs named by their sha256.

use std::{io, path::PathBuf, pin::Pin, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use onrush_types::{ArtifactRef, Code, Digest, NodeId};

/// Bytes on their way.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Why an artifact could not be stored, copied or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// The sender's bytes are not what the sender said they are, or the stream broke off.
    #[error("{0}")]
    Rejected(String),
    /// Larger than this cluster takes.
    #[error("{0}")]
    TooLarge(String),
    /// No reachable node has it.
    #[error("no reachable node has artifact {0}")]
    Missing(Digest),
    /// Too few nodes hold it to call it safe.
    #[error("{0}")]
    Unavailable(String),
    /// The disk failed, or a stored blob is damaged.
    #[error("{0}")]
    Internal(String),
}

impl ArtifactError {
    /// In the words that clients see.
    pub const fn code(&self) -> Code {
        match self {
            Self::Rejected(_) => Code::BadRequest,
            Self::TooLarge(_) => Code::TooLarge,
            Self::Missing(_) | Self::Unavailable(_) => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }
}

/// Content-addressed blobs: taken in here, kept safe on a majority of the voters, pulled by whoever needs them.
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// Takes bytes in, hashes them on the way and keeps them on this node's disk, synced. `expected` is what the
    /// sender says: another digest or size is rejected and nothing is kept.
    ///
    /// # Errors
    /// [`ArtifactError::Rejected`], [`ArtifactError::TooLarge`] or a failing disk.
    async fn put(&self, bytes: ByteStream, expected: Option<ArtifactRef>) -> Result<ArtifactRef, ArtifactError>;

    /// Copies it until a majority of the voters hold it, synced. Returns who does.
    ///
    /// # Errors
    /// [`ArtifactError::Unavailable`] where that majority is not reached in time.
    async fn secure(&self, artifact: ArtifactRef, timeout: Duration) -> Result<Vec<NodeId>, ArtifactError>;

    /// The path of a verified local copy, pulled from a peer where there is none yet.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`] where nobody has it.
    async fn open(&self, artifact: ArtifactRef) -> Result<PathBuf, ArtifactError>;

    /// Reads a local copy, for peers; never pulls.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`] where this node has none.
    async fn read(&self, digest: Digest) -> Result<(ArtifactRef, ByteStream), ArtifactError>;

    /// The size of a local copy, if there is one.
    async fn size_here(&self, digest: Digest) -> Option<u64>;
}

/// How one node's store talks to another's.
#[async_trait]
pub trait ArtifactPeers: Send + Sync {
    /// The size of that node's copy, if it has one.
    ///
    /// # Errors
    /// [`ArtifactError::Unavailable`] where the node cannot be reached.
    async fn size_on(&self, node: NodeId, digest: Digest) -> Result<Option<u64>, ArtifactError>;

    /// Gives that node a copy. Returns when it is on its disk, synced.
    ///
    /// # Errors
    /// [`ArtifactError::Unavailable`] where the node cannot be reached, or its refusal.
    async fn push(&self, node: NodeId, artifact: ArtifactRef, bytes: ByteStream) -> Result<(), ArtifactError>;

    /// Reads that node's copy.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`] where it has none, [`ArtifactError::Unavailable`] where it cannot be reached.
    async fn pull(&self, node: NodeId, digest: Digest) -> Result<(ArtifactRef, ByteStream), ArtifactError>;
}
