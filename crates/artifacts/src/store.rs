//! The store itself: what others call.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt as _;
use onrush_catalog::{ArtifactError, ArtifactPeers, ArtifactStore, ByteStream, Catalog};
use onrush_types::{ArtifactRef, ClusterView, Digest, NodeId};
use tokio::{
    io::AsyncReadExt as _,
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch},
};
use tokio_util::io::ReaderStream;

use crate::{
    Config, Error,
    blobs::{Blob, Blobs},
    fetch::{self, Flights},
    intake::{self, Bounds},
    secure,
};

/// The rest of the node, as the store sees it.
#[derive(Clone)]
pub struct Links {
    /// This node.
    pub me: NodeId,
    /// Who is alive.
    pub view: watch::Receiver<Arc<ClusterView>>,
    /// Who votes now.
    pub voters: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    /// What is referred to.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// The other nodes' stores.
    pub peers: Arc<dyn ArtifactPeers>,
}

/// The store of artifacts on this node.
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) links: Links,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) pulls: Semaphore,
    uploads: Semaphore,
    pushes: Semaphore,
    reads: Arc<Semaphore>,
    flights: Mutex<Flights>,
}

impl Inner {
    pub(crate) fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { max: self.config.max_artifact.0, idle: self.config.idle }
    }

    /// A blob of this node whose bytes were checked since the process started.
    async fn verified(&self, digest: Digest) -> Result<Option<Blob>, ArtifactError> {
        match self.blobs.touch(digest) {
            Some(blob) if !blob.verified => {
                let blobs = Arc::clone(&self.blobs);
                let checked = tokio::task::spawn_blocking(move || blobs.verify(digest)).await;
                let checked = checked.map_err(|error| ArtifactError::Internal(format!("the check died: {error}")))?;
                checked.map_err(|error| intake::disk(&error))
            }
            known => Ok(known),
        }
    }

    async fn path_here(&self, artifact: ArtifactRef) -> Result<Option<PathBuf>, ArtifactError> {
        let Some(blob) = self.verified(artifact.digest).await? else { return Ok(None) };
        if blob.size != artifact.size {
            let short = artifact.digest.short();
            let why = format!("artifact {short} has {} bytes, not {}", blob.size, artifact.size);
            return Err(ArtifactError::Rejected(why));
        }
        Ok(Some(self.blobs.path(artifact.digest)))
    }
}

impl Store {
    /// Opens the store in `dir`, which it has for itself. What was half written before is thrown away.
    ///
    /// # Errors
    /// [`Error::Config`], or a directory that cannot be used.
    pub async fn open(config: Config, dir: PathBuf, links: Links) -> Result<Arc<Self>, Error> {
        if let Some(problem) = config.problem() {
            return Err(Error::Config(problem));
        }
        let (root, max_total, quarantine) = (dir.clone(), config.max_total.0, config.quarantine);
        let opened = tokio::task::spawn_blocking(move || Blobs::open(root, max_total, quarantine)).await;
        let opened = opened.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let blobs = Arc::new(opened.map_err(|source| Error::Directory { dir, source })?);
        let inner = Inner {
            links,
            blobs,
            pulls: Semaphore::new(config.max_pulls),
            uploads: Semaphore::new(config.max_uploads),
            pushes: Semaphore::new(config.max_pushes),
            reads: Arc::new(Semaphore::new(config.max_reads)),
            flights: Mutex::default(),
            config,
        };
        Ok(Arc::new(Self { inner: Arc::new(inner) }))
    }

    pub(crate) fn me(&self) -> NodeId {
        self.inner.links.me
    }

    pub(crate) fn voters(&self) -> Arc<BTreeSet<NodeId>> {
        Arc::clone(&self.inner.links.voters.borrow())
    }

    pub(crate) fn peers(&self) -> &Arc<dyn ArtifactPeers> {
        &self.inner.links.peers
    }

    pub(crate) async fn push_permit(&self) -> Result<SemaphorePermit<'_>, ArtifactError> {
        let permit = self.inner.pushes.acquire().await;
        permit.map_err(|_| ArtifactError::Internal("the store is closed".to_owned()))
    }

    fn read_permit(&self) -> Result<OwnedSemaphorePermit, ArtifactError> {
        Arc::clone(&self.inner.reads).try_acquire_owned().map_err(|_| {
            let limit = self.inner.config.max_reads;
            ArtifactError::Unavailable(format!("node {} sends {limit} artifacts already; try again", self.me()))
        })
    }
}

#[async_trait]
impl ArtifactStore for Store {
    async fn put(&self, bytes: ByteStream, expected: Option<ArtifactRef>) -> Result<ArtifactRef, ArtifactError> {
        let inner = &self.inner;
        if let Some(wanted) = expected
            && inner.verified(wanted.digest).await?.is_some_and(|blob| blob.size == wanted.size)
        {
            return Ok(wanted);
        }
        let _permit = inner.uploads.try_acquire().map_err(|_| {
            let limit = inner.config.max_uploads;
            ArtifactError::Unavailable(format!("node {} takes {limit} uploads already; try again", self.me()))
        })?;
        intake::take(&inner.blobs, bytes, expected, inner.bounds()).await
    }

    async fn secure(&self, artifact: ArtifactRef, timeout: Duration) -> Result<Vec<NodeId>, ArtifactError> {
        secure::secure(self, artifact, timeout).await
    }

    async fn open(&self, artifact: ArtifactRef) -> Result<PathBuf, ArtifactError> {
        if let Some(path) = self.inner.path_here(artifact).await? {
            return Ok(path);
        }
        fetch::pull(&self.inner, artifact).await?;
        self.inner.path_here(artifact).await?.ok_or(ArtifactError::Missing(artifact.digest))
    }

    async fn read(&self, digest: Digest) -> Result<(ArtifactRef, ByteStream), ArtifactError> {
        let permit = self.read_permit()?;
        let blob = self.inner.verified(digest).await?.ok_or(ArtifactError::Missing(digest))?;
        let file = tokio::fs::File::open(self.inner.blobs.path(digest)).await.map_err(|error| intake::disk(&error))?;
        let chunk = usize::try_from(self.inner.config.chunk.0).unwrap_or(256 << 10);
        let bytes = ReaderStream::with_capacity(file.take(blob.size), chunk).map(move |piece| {
            // Held until the stream is dropped.
            let _permit = &permit;
            piece
        });
        Ok((ArtifactRef { digest, size: blob.size }, bytes.boxed()))
    }

    async fn size_here(&self, digest: Digest) -> Option<u64> {
        match self.inner.verified(digest).await {
            Ok(blob) => blob.map(|blob| blob.size),
            Err(error) => {
                tracing::warn!(%digest, %error, "a stored artifact cannot be checked");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
