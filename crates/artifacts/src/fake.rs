//! A store in memory and peers in one process, for unit tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use onrush_catalog::{ArtifactError, ArtifactPeers, ArtifactStore, ByteStream};
use onrush_types::{ArtifactRef, Digest, NodeId};
use sha2::{Digest as _, Sha256};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of these bytes.
pub fn artifact_of(bytes: &[u8]) -> ArtifactRef {
    ArtifactRef { digest: Digest(Sha256::digest(bytes).into()), size: bytes.len() as u64 }
}

/// These bytes as a stream of pieces.
pub fn stream_of(bytes: &[u8]) -> ByteStream {
    let pieces: Vec<_> = bytes.chunks(64 << 10).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces).boxed()
}

/// A store in memory. Files for [`ArtifactStore::open`] are written to a directory of the test's.
pub struct FakeArtifacts {
    dir: PathBuf,
    max: u64,
    held: Mutex<BTreeMap<Digest, Bytes>>,
    secured: Mutex<Vec<ArtifactRef>>,
    refuse: Mutex<Option<ArtifactError>>,
}

impl FakeArtifacts {
    /// An empty one that takes up to 64 MiB.
    pub fn new(dir: impl Into<PathBuf>) -> Arc<Self> {
        Self::with_max(dir, 64 << 20)
    }

    /// An empty one that takes artifacts of up to so many bytes.
    pub fn with_max(dir: impl Into<PathBuf>, max: u64) -> Arc<Self> {
        let (held, secured, refuse) = Default::default();
        Arc::new(Self { dir: dir.into(), max, held, secured, refuse })
    }

    /// From now on [`ArtifactStore::secure`] fails like this, or succeeds again.
    pub fn refuse_to_secure(&self, error: Option<ArtifactError>) {
        *lock(&self.refuse) = error;
    }

    /// What was secured, in order.
    pub fn secured(&self) -> Vec<ArtifactRef> {
        lock(&self.secured).clone()
    }

    /// Adds a blob.
    pub fn add(&self, bytes: &[u8]) -> ArtifactRef {
        let artifact = artifact_of(bytes);
        lock(&self.held).insert(artifact.digest, Bytes::copy_from_slice(bytes));
        artifact
    }

    fn get(&self, digest: Digest) -> Result<Bytes, ArtifactError> {
        lock(&self.held).get(&digest).cloned().ok_or(ArtifactError::Missing(digest))
    }
}

#[async_trait]
impl ArtifactStore for FakeArtifacts {
    async fn put(&self, mut bytes: ByteStream, expected: Option<ArtifactRef>) -> Result<ArtifactRef, ArtifactError> {
        let mut all = Vec::new();
        while let Some(piece) = bytes.try_next().await.map_err(|error| ArtifactError::Rejected(error.to_string()))? {
            all.extend(piece);
            if all.len() as u64 > self.max {
                return Err(ArtifactError::TooLarge(format!("at most {} bytes", self.max)));
            }
        }
        let artifact = artifact_of(&all);
        if expected.is_some_and(|expected| expected != artifact) {
            return Err(ArtifactError::Rejected(format!("{artifact:?} came, {expected:?} was announced")));
        }
        Ok(self.add(&all))
    }

    async fn secure(&self, artifact: ArtifactRef, _timeout: Duration) -> Result<Vec<NodeId>, ArtifactError> {
        self.get(artifact.digest)?;
        if let Some(error) = lock(&self.refuse).clone() {
            return Err(error);
        }
        lock(&self.secured).push(artifact);
        Ok(vec![NodeId(1)])
    }

    async fn open(&self, artifact: ArtifactRef) -> Result<PathBuf, ArtifactError> {
        let path = self.dir.join(artifact.digest.to_string());
        let written = tokio::fs::write(&path, self.get(artifact.digest)?).await;
        written.map_err(|error| ArtifactError::Internal(error.to_string()))?;
        Ok(path)
    }

    async fn read(&self, digest: Digest) -> Result<(ArtifactRef, ByteStream), ArtifactError> {
        let bytes = self.get(digest)?;
        Ok((ArtifactRef { digest, size: bytes.len() as u64 }, stream_of(&bytes)))
    }

    async fn size_here(&self, digest: Digest) -> Option<u64> {
        lock(&self.held).get(&digest).map(|bytes| bytes.len() as u64)
    }
}

/// Other nodes' stores, reached without a network.
#[derive(Default)]
pub struct FakePeers {
    stores: Mutex<BTreeMap<NodeId, Arc<dyn ArtifactStore>>>,
    down: Mutex<BTreeSet<NodeId>>,
    pulls: Mutex<Vec<NodeId>>,
    pushes: Mutex<Vec<NodeId>>,
}

impl FakePeers {
    /// Nobody.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds or replaces a node's store.
    pub fn add(&self, node: u64, store: Arc<dyn ArtifactStore>) {
        lock(&self.stores).insert(NodeId(node), store);
    }

    /// A node that is down cannot be reached.
    pub fn set_down(&self, node: u64, down: bool) {
        let mut nodes = lock(&self.down);
        if down {
            nodes.insert(NodeId(node))
        } else {
            nodes.remove(&NodeId(node))
        };
    }

    /// Who was asked for a copy, in order.
    pub fn pulls(&self) -> Vec<NodeId> {
        lock(&self.pulls).clone()
    }

    /// Who was given a copy, in order.
    pub fn pushes(&self) -> Vec<NodeId> {
        lock(&self.pushes).clone()
    }

    fn reach(&self, node: NodeId) -> Result<Arc<dyn ArtifactStore>, ArtifactError> {
        let store = lock(&self.stores).get(&node).cloned();
        let up = !lock(&self.down).contains(&node);
        store.filter(|_| up).ok_or_else(|| ArtifactError::Unavailable(format!("node {node} is down")))
    }
}

#[async_trait]
impl ArtifactPeers for FakePeers {
    async fn size_on(&self, node: NodeId, digest: Digest) -> Result<Option<u64>, ArtifactError> {
        Ok(self.reach(node)?.size_here(digest).await)
    }

    async fn push(&self, node: NodeId, artifact: ArtifactRef, bytes: ByteStream) -> Result<(), ArtifactError> {
        let store = self.reach(node)?;
        lock(&self.pushes).push(node);
        store.put(bytes, Some(artifact)).await.map(drop)
    }

    async fn pull(&self, node: NodeId, digest: Digest) -> Result<(ArtifactRef, ByteStream), ArtifactError> {
        let store = self.reach(node)?;
        lock(&self.pulls).push(node);
        store.read(digest).await
    }
}
