//! Fakes of the seams that only the API uses, and an API put together from fakes.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use onrush_catalog::{
    ArtifactError, ArtifactStore, ByteStream, CatalogStore as _, ClusterStatus, ControlError, LogQuery, LogStreamOf,
    NodeControl, NodeStatus, fake::FakeStore,
};
use onrush_invoke::fake::FakeInvoke;
use onrush_runtime::fake::FakeRuntime;
use onrush_seams::WallClock;
use onrush_types::{ArtifactRef, Code, Digest, LogLine, LogStream, NodeId, Revision, Roles, VersionNumber};
use sha2::Digest as _;

use crate::{Api, Config, Parts};

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps artifacts in memory.
#[derive(Default)]
pub(crate) struct FakeArtifacts {
    blobs: Mutex<BTreeMap<Digest, Bytes>>,
    pub(crate) insecure: AtomicBool,
    pub(crate) secured: Mutex<Vec<Digest>>,
}

impl FakeArtifacts {
    pub(crate) fn add(&self, bytes: &'static [u8]) -> ArtifactRef {
        let digest = Digest(sha2::Sha256::digest(bytes).into());
        locked(&self.blobs).insert(digest, Bytes::from_static(bytes));
        ArtifactRef { digest, size: bytes.len() as u64 }
    }
}

#[async_trait]
impl ArtifactStore for FakeArtifacts {
    async fn put(&self, bytes: ByteStream, expected: Option<ArtifactRef>) -> Result<ArtifactRef, ArtifactError> {
        let chunks: Result<Vec<Bytes>, _> = bytes.try_collect().await;
        let bytes = chunks.map_err(|error| ArtifactError::Rejected(error.to_string()))?.concat();
        let digest = Digest(sha2::Sha256::digest(&bytes).into());
        let found = ArtifactRef { digest, size: bytes.len() as u64 };
        if expected.is_some_and(|expected| expected != found) {
            return Err(ArtifactError::Rejected("other bytes".to_owned()));
        }
        locked(&self.blobs).insert(digest, bytes.into());
        Ok(found)
    }

    async fn secure(&self, artifact: ArtifactRef, _timeout: Duration) -> Result<Vec<NodeId>, ArtifactError> {
        // A real copy takes time; a caller that is dropped meanwhile must not take the deploy with it.
        tokio::task::yield_now().await;
        if self.insecure.load(Ordering::SeqCst) {
            return Err(ArtifactError::Unavailable("one copy of the two that are needed".to_owned()));
        }
        locked(&self.secured).push(artifact.digest);
        Ok(vec![NodeId(1)])
    }

    async fn open(&self, artifact: ArtifactRef) -> Result<PathBuf, ArtifactError> {
        let here = locked(&self.blobs).contains_key(&artifact.digest);
        if here { Ok(PathBuf::from("/artifact")) } else { Err(ArtifactError::Missing(artifact.digest)) }
    }

    async fn read(&self, digest: Digest) -> Result<(ArtifactRef, ByteStream), ArtifactError> {
        let bytes = locked(&self.blobs).get(&digest).cloned().ok_or(ArtifactError::Missing(digest))?;
        let artifact = ArtifactRef { digest, size: bytes.len() as u64 };
        Ok((artifact, Box::pin(stream::iter([Ok(bytes)]))))
    }

    async fn size_here(&self, digest: Digest) -> Option<u64> {
        locked(&self.blobs).get(&digest).map(|bytes| bytes.len() as u64)
    }
}

/// A cluster of one node that does what it is told.
pub(crate) struct FakeControl {
    store: Arc<FakeStore>,
    pub(crate) draining: Mutex<Vec<(NodeId, bool)>>,
    pub(crate) behind: Mutex<Vec<NodeId>>,
}

#[async_trait]
impl NodeControl for FakeControl {
    fn status(&self) -> ClusterStatus {
        let catalog = self.store.watch().borrow().clone();
        let node = |record: &Arc<onrush_catalog::NodeRecord>| NodeStatus {
            id: record.id,
            name: record.name.clone(),
            gateway: Some(([127, 0, 0, 1], 8080).into()),
            api: None,
            peer: record.peer.clone(),
            alive: true,
            ready: true,
            voter: true,
            leader: true,
            draining: false,
            cordoned: record.cordoned,
            roles: Roles::default(),
            zone: None,
            version: "0.1.0".to_owned(),
        };
        ClusterStatus {
            cluster: catalog.cluster.as_ref().map(|cluster| cluster.id),
            leader: Some(NodeId(1)),
            revision: catalog.revision,
            quorum: true,
            voters: catalog.cluster.as_ref().map_or(0, |cluster| cluster.voters),
            answered_by: NodeId(1),
            nodes: catalog.nodes.values().map(node).collect(),
        }
    }

    async fn set_draining(&self, node: NodeId, draining: bool) -> Result<(), ControlError> {
        locked(&self.draining).push((node, draining));
        Ok(())
    }

    async fn laggards(&self, _revision: Revision, _timeout: Duration) -> Vec<NodeId> {
        locked(&self.behind).clone()
    }

    async fn logs(&self, query: LogQuery) -> Result<LogStreamOf, ControlError> {
        let line = LogLine {
            at_ms: 7,
            node: "node-1".to_owned(),
            function: query.function,
            version: VersionNumber(1),
            invocation: None,
            stream: LogStream::Stdout,
            text: format!("tail {}", query.tail),
        };
        let lost = ControlError { code: Code::Unavailable, why: "node-2 does not answer".to_owned() };
        Ok(stream::iter([Ok(line), Err(lost)]).boxed())
    }
}

struct FixedClock;

impl WallClock for FixedClock {
    fn now_ms(&self) -> u64 {
        1_000
    }
}

/// An API over fakes, with the fakes at hand.
pub(crate) struct Bench {
    pub(crate) api: Arc<Api>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) artifacts: Arc<FakeArtifacts>,
    pub(crate) control: Arc<FakeControl>,
    pub(crate) runtime: Arc<FakeRuntime>,
    pub(crate) invoke: Arc<FakeInvoke>,
    pub(crate) ready: Arc<AtomicBool>,
}

pub(crate) fn bench() -> Bench {
    bench_with(Config::default())
}

pub(crate) fn bench_with(config: Config) -> Bench {
    let store = FakeStore::new();
    let artifacts = Arc::new(FakeArtifacts::default());
    let control =
        Arc::new(FakeControl { store: Arc::clone(&store), draining: Mutex::default(), behind: Mutex::default() });
    let (runtime, invoke) = (FakeRuntime::new(), FakeInvoke::new());
    let ready = Arc::new(AtomicBool::new(true));
    let serving = Arc::clone(&ready);
    let parts =
        Parts {
            store: Arc::clone(&store) as _,
            artifacts: Arc::clone(&artifacts) as _,
            control: Arc::clone(&control) as _,
            runtimes: vec![Arc::clone(&runtime) as _],
            invoke: Arc::clone(&invoke) as _,
            metrics: Arc::new(|| "onrush_up 1\n".to_owned()),
            ready: Arc::new(move || {
                if serving.load(Ordering::SeqCst) { Ok(()) } else { Err("waiting for a leader".to_owned()) }
            }),
            clock: Arc::new(FixedClock),
            node: "node-1".parse().unwrap(),
        };
    Bench { api: Api::new(config, parts), store, artifacts, control, runtime, invoke, ready }
}
