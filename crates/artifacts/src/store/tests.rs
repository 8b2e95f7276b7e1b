use std::{fs, io, path::Path};

use bytes::Bytes;
use bytesize::ByteSize;
use futures::stream;
use onrush_catalog::{ClusterIdentity, Function, FunctionVersion};
use onrush_types::{ClusterId, FunctionName, FunctionSpec, Revision, RuntimeKind, VersionNumber};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    fake::{FakeArtifacts, FakePeers, artifact_of, stream_of},
    repair::Checked,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Node 1 of three voters that are all alive.
struct Fixture {
    dir: tempfile::TempDir,
    store: Arc<Store>,
    peers: Arc<FakePeers>,
    view: watch::Sender<Arc<ClusterView>>,
    voters: watch::Sender<Arc<BTreeSet<NodeId>>>,
    catalog: watch::Sender<Arc<Catalog>>,
}

impl Fixture {
    async fn new(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let peers = FakePeers::new();
        let view = watch::Sender::new(Arc::new(ClusterView::empty(NodeId(1))));
        let voters = watch::Sender::new(Arc::new([1, 2, 3].map(NodeId).into()));
        let catalog = watch::Sender::new(Arc::new(Catalog::default()));
        let links = Links {
            me: NodeId(1),
            view: view.subscribe(),
            voters: voters.subscribe(),
            catalog: catalog.subscribe(),
            peers: Arc::clone(&peers) as Arc<dyn ArtifactPeers>,
        };
        let store = Store::open(config, dir.path().join("blobs"), links).await.unwrap();
        let fixture = Self { dir, store, peers, view, voters, catalog };
        fixture.alive(&[1, 2, 3]);
        fixture
    }

    /// As after a restart of the process.
    async fn reopen(&mut self) {
        let (config, links) = (self.store.inner.config.clone(), self.store.inner.links.clone());
        self.store = Store::open(config, self.root(), links).await.unwrap();
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("blobs")
    }

    fn alive(&self, ids: &[u64]) {
        let nodes = ids.iter().map(|id| (NodeId(*id), Arc::new(node(*id)))).collect();
        self.view.send_replace(Arc::new(ClusterView { me: NodeId(1), nodes }));
    }

    /// A node whose store is in memory.
    fn peer(&self, id: u64) -> Arc<FakeArtifacts> {
        let store = FakeArtifacts::new(self.dir.path());
        self.peers.add(id, Arc::clone(&store) as Arc<dyn ArtifactStore>);
        store
    }

    fn deploy(&self, artifacts: &[ArtifactRef]) {
        let cluster = Some(ClusterIdentity { id: ClusterId::new(), voters: 3 });
        let mut catalog = Catalog { cluster, ..Catalog::default() };
        for (number, artifact) in artifacts.iter().enumerate() {
            let function = function(&format!("f{number}"), *artifact);
            catalog.functions.insert(function.name.clone(), Arc::new(function));
        }
        self.catalog.send_replace(Arc::new(catalog));
    }

    fn temporary(&self) -> usize {
        fs::read_dir(self.root().join("tmp")).unwrap().count()
    }

    async fn put(&self, bytes: &[u8]) -> Result<ArtifactRef, ArtifactError> {
        self.store.put(stream_of(bytes), None).await
    }

    async fn read(&self, digest: Digest) -> Result<Vec<u8>, ArtifactError> {
        let (_, mut bytes) = self.store.read(digest).await?;
        let mut all = Vec::new();
        while let Some(piece) = bytes.next().await {
            all.extend(piece.unwrap());
        }
        Ok(all)
    }
}

fn node(id: u64) -> onrush_types::NodeInfo {
    let address = ([127, 0, 0, 1], 1).into();
    onrush_types::NodeInfo {
        id: NodeId(id),
        name: format!("node-{id}").parse().unwrap(),
        addresses: onrush_types::NodeAddresses { gateway: address, api: address, peer: address },
        roles: Default::default(),
        slots: 1,
        speed: 100,
        zone: None,
        generation: 1,
        draining: false,
        ready: true,
        alive: true,
        version: "0.1.0".into(),
    }
}

fn function(name: &str, artifact: ArtifactRef) -> Function {
    let name = FunctionName { namespace: "default".parse().unwrap(), name: name.parse().unwrap() };
    let latest = Arc::new(FunctionVersion {
        function: name.clone(),
        number: VersionNumber(1),
        revision: Revision(1),
        created_ms: 0,
        spec: FunctionSpec::new(RuntimeKind::Wasm, artifact),
    });
    let mut function = Function { name, changed: Revision(1), versions: Default::default(), latest };
    function.versions.insert(VersionNumber(1), Arc::clone(&function.latest));
    function
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, met).await.is_ok(), "never: {what}");
}

/// A megabyte that does not repeat.
fn big() -> Vec<u8> {
    (0..1 << 20_u32).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn flip_last_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn what_is_put_reads_back_in_bounded_pieces_and_survives_a_restart() {
    let mut fixture = Fixture::new(Config::default()).await;
    let artifact = fixture.put(&big()).await.unwrap();
    assert_eq!(artifact, artifact_of(&big()));
    let (said, mut bytes) = fixture.store.read(artifact.digest).await.unwrap();
    assert_eq!(said, artifact);
    while let Some(piece) = bytes.next().await {
        assert!(piece.unwrap().len() <= 256 << 10);
    }
    fixture.reopen().await;
    assert_eq!(fixture.read(artifact.digest).await.unwrap(), big());
    let path = fixture.store.open(artifact).await.unwrap();
    assert_eq!(fs::read(path).unwrap(), big());
    assert_eq!(fixture.store.size_here(artifact.digest).await, Some(1 << 20));
}

#[tokio::test]
async fn nothing_is_kept_of_an_upload_that_breaks_off_or_lies() {
    let fixture = Fixture::new(Config::default()).await;
    let artifact = artifact_of(b"hello");
    let broken = stream::iter([Ok(Bytes::from_static(b"hel")), Err(io::Error::other("gone"))]).boxed();
    let short = ArtifactRef { size: 6, ..artifact };
    let long = ArtifactRef { size: 4, ..artifact };
    for (bytes, expected, word) in [
        (broken, None, "gone"),
        (stream_of(b"hellO"), Some(artifact), "sha256"),
        (stream_of(b"hello"), Some(short), "announced"),
        (stream_of(b"hello"), Some(long), "more than"),
    ] {
        let error = fixture.store.put(bytes, expected).await.unwrap_err();
        assert!(matches!(&error, ArtifactError::Rejected(why) if why.contains(word)), "{error}");
        assert_eq!((fixture.temporary(), fixture.store.inner.blobs.all().len()), (0, 0));
    }
}

#[tokio::test]
async fn nothing_is_kept_of_an_upload_whose_caller_goes_away() {
    let config = Config { max_uploads: 1, ..Config::default() };
    let fixture = Fixture::new(config).await;
    let endless = stream::iter([Ok(Bytes::from_static(b"hel"))]).chain(stream::pending()).boxed();
    let store = Arc::clone(&fixture.store);
    let upload = tokio::spawn(async move { store.put(endless, None).await });
    until("the upload has begun", || fixture.temporary() == 1).await;
    let refused = fixture.put(b"second").await.unwrap_err();
    assert!(matches!(refused, ArtifactError::Unavailable(why) if why.contains("uploads")));
    upload.abort();
    until("its file is gone", || fixture.temporary() == 0).await;
    fixture.put(b"second").await.unwrap();
}

// In real time: paused time stands still while the writer waits on its thread.
#[tokio::test]
async fn a_silent_sender_is_given_up() {
    let fixture = Fixture::new(Config { idle: Duration::from_millis(20), ..Config::default() }).await;
    let silent = stream::iter([Ok(Bytes::from_static(b"hel"))]).chain(stream::pending()).boxed();
    let error = fixture.store.put(silent, None).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Rejected(why) if why.contains("silent")));
}

#[tokio::test]
async fn too_much_is_refused_as_soon_as_it_is_known() {
    let config = Config { max_artifact: ByteSize(10), max_total: ByteSize(15), ..Config::default() };
    let fixture = Fixture::new(config).await;
    let announced = ArtifactRef { size: 11, ..artifact_of(b"") };
    let never: ByteStream = stream::pending().boxed();
    let error = fixture.store.put(never, Some(announced)).await.unwrap_err();
    assert!(matches!(error, ArtifactError::TooLarge(_)));
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(b"four"))).boxed();
    let error = fixture.store.put(endless, None).await.unwrap_err();
    assert!(matches!(error, ArtifactError::TooLarge(_)));
    fixture.put(&[1; 10]).await.unwrap();
    let error = fixture.put(&[2; 6]).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Unavailable(why) if why.contains("full")));
    // What was refused takes no room.
    fixture.put(&[3; 5]).await.unwrap();
}

#[tokio::test]
async fn the_same_bytes_may_be_put_many_times_at_once() {
    let fixture = Fixture::new(Config::default()).await;
    let puts = (0..8).map(|_| fixture.store.put(stream_of(b"hello"), Some(artifact_of(b"hello"))));
    for put in futures::future::join_all(puts).await {
        assert_eq!(put.unwrap(), artifact_of(b"hello"));
    }
    assert_eq!(fixture.read(artifact_of(b"hello").digest).await.unwrap(), b"hello");
    assert_eq!((fixture.temporary(), fixture.store.inner.blobs.all().len()), (0, 1));
}

#[tokio::test]
async fn half_written_files_are_gone_after_a_restart() {
    let mut fixture = Fixture::new(Config::default()).await;
    let artifact = fixture.put(b"hello").await.unwrap();
    fs::write(fixture.root().join("tmp/7"), b"half").unwrap();
    fs::write(fixture.root().join(&artifact.digest.to_string()[..2]).join("note.txt"), b"not ours").unwrap();
    fixture.reopen().await;
    assert_eq!((fixture.temporary(), fixture.store.inner.blobs.all().len()), (0, 1));
}

#[tokio::test]
async fn a_majority_of_the_voters_is_enough() {
    let fixture = Fixture::new(Config::default()).await;
    let two = fixture.peer(2);
    fixture.peers.set_down(3, true);
    let artifact = fixture.put(&big()).await.unwrap();
    let holders = fixture.store.secure(artifact, PATIENCE).await.unwrap();
    assert_eq!(holders, [NodeId(1), NodeId(2)]);
    assert_eq!(two.size_here(artifact.digest).await, Some(1 << 20));
    // Who has it already is not sent it again.
    fixture.store.secure(artifact, PATIENCE).await.unwrap();
    assert_eq!(fixture.peers.pushes(), [NodeId(2)]);
}

#[tokio::test(start_paused = true)]
async fn without_a_majority_the_missing_voters_are_named() {
    let fixture = Fixture::new(Config::default()).await;
    let artifact = fixture.put(b"hello").await.unwrap();
    let error = fixture.store.secure(artifact, Duration::from_secs(3)).await.unwrap_err().to_string();
    assert!(error.contains("1 of 3") && error.contains("node 2 (node 2 is down)"), "{error}");
    // The copy of a node that does not vote counts for nothing.
    fixture.voters.send_replace(Arc::new([2, 3, 4].map(NodeId).into()));
    fixture.peer(2);
    let error = fixture.store.secure(artifact, Duration::from_secs(3)).await.unwrap_err().to_string();
    assert!(error.contains("1 of 3") && error.contains("node 3") && !error.contains("node 2 "), "{error}");
    fixture.voters.send_replace(Arc::default());
    assert!(matches!(fixture.store.secure(artifact, PATIENCE).await, Err(ArtifactError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_comes_back_in_time_completes_the_majority() {
    let fixture = Fixture::new(Config::default()).await;
    fixture.peer(2);
    fixture.peers.set_down(2, true);
    let artifact = fixture.put(b"hello").await.unwrap();
    let secured = fixture.store.secure(artifact, Duration::from_secs(30));
    let back = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        fixture.peers.set_down(2, false);
    };
    let (holders, ()) = tokio::join!(secured, back);
    assert_eq!(holders.unwrap(), [NodeId(1), NodeId(2)]);
}

#[tokio::test]
async fn many_who_open_pull_once() {
    let fixture = Fixture::new(Config::default()).await;
    let artifact = fixture.peer(2).add(&big());
    fixture.peer(3).add(&big());
    let opened = futures::future::join_all((0..10).map(|_| fixture.store.open(artifact))).await;
    for path in opened {
        assert_eq!(fs::read(path.unwrap()).unwrap(), big());
    }
    assert_eq!(fixture.peers.pulls().len(), 1);
}

#[tokio::test]
async fn a_peer_that_is_down_or_has_nothing_is_followed_by_the_next() {
    let fixture = Fixture::new(Config::default()).await;
    fixture.peers.set_down(2, true);
    let artifact = artifact_of(b"hello");
    fixture.peer(3);
    assert_eq!(fixture.store.open(artifact).await, Err(ArtifactError::Missing(artifact.digest)));
    fixture.alive(&[1, 2, 3, 4]);
    fixture.peer(4).add(b"hello");
    fixture.store.open(artifact).await.unwrap();
    assert_eq!(fixture.read(artifact.digest).await.unwrap(), b"hello");
}

/// Says that it has everything and sends something else.
struct Liar(ArtifactRef);

#[async_trait]
impl ArtifactStore for Liar {
    async fn put(&self, _: ByteStream, _: Option<ArtifactRef>) -> Result<ArtifactRef, ArtifactError> {
        Ok(self.0)
    }

    async fn secure(&self, _: ArtifactRef, _: Duration) -> Result<Vec<NodeId>, ArtifactError> {
        Ok(vec![])
    }

    async fn open(&self, _: ArtifactRef) -> Result<PathBuf, ArtifactError> {
        Ok(PathBuf::new())
    }

    async fn read(&self, _: Digest) -> Result<(ArtifactRef, ByteStream), ArtifactError> {
        Ok((self.0, stream_of(&vec![0; usize::try_from(self.0.size).unwrap()])))
    }

    async fn size_here(&self, _: Digest) -> Option<u64> {
        Some(self.0.size)
    }
}

#[tokio::test]
async fn bytes_that_are_not_what_was_asked_for_are_never_kept() {
    let fixture = Fixture::new(Config::default()).await;
    let artifact = artifact_of(b"hello");
    fixture.peers.add(2, Arc::new(Liar(artifact)));
    fixture.peers.add(3, Arc::new(Liar(artifact)));
    assert_eq!(fixture.store.open(artifact).await, Err(ArtifactError::Missing(artifact.digest)));
    assert_eq!(fixture.peers.pulls().len(), 2);
    assert_eq!(fixture.store.size_here(artifact.digest).await, None);
}

#[tokio::test]
async fn a_damaged_blob_is_put_aside_and_pulled_again() {
    let mut fixture = Fixture::new(Config::default()).await;
    let artifact = fixture.put(&big()).await.unwrap();
    let path = fixture.store.open(artifact).await.unwrap();
    flip_last_bit(&path);
    fixture.reopen().await;
    assert_eq!(fixture.store.open(artifact).await, Err(ArtifactError::Missing(artifact.digest)));
    assert_eq!(fs::read_dir(fixture.root().join("quarantine")).unwrap().count(), 1);
    fixture.peer(2).add(&big());
    assert_eq!(fs::read(fixture.store.open(artifact).await.unwrap()).unwrap(), big());
    flip_last_bit(&path);
    fixture.reopen().await;
    // Nor is it offered to others.
    assert_eq!(fixture.store.size_here(artifact.digest).await, None);
}

#[tokio::test]
async fn a_damaged_blob_does_not_stand_in_the_way_of_a_new_upload() {
    let mut fixture = Fixture::new(Config::default()).await;
    let artifact = fixture.put(b"hello").await.unwrap();
    flip_last_bit(&fixture.store.open(artifact).await.unwrap());
    fixture.reopen().await;
    assert_eq!(fixture.store.put(stream_of(b"hello"), Some(artifact)).await, Ok(artifact));
    assert_eq!(fixture.read(artifact.digest).await.unwrap(), b"hello");
}

#[tokio::test]
async fn repair_brings_what_this_node_should_hold() {
    let fixture = Fixture::new(Config::default()).await;
    let artifact = fixture.peer(2).add(b"hello");
    fixture.deploy(&[artifact, artifact_of(b"nowhere")]);
    assert_eq!(fixture.store.check().await, Checked { pulled: 1, failed: 1, removed: 0 });
    assert_eq!(fixture.store.size_here(artifact.digest).await, Some(5));
    assert_eq!(fixture.store.check().await, Checked { pulled: 0, failed: 1, removed: 0 });
}

#[tokio::test]
async fn a_new_version_is_pulled_without_waiting_for_the_interval() {
    let config =
        Config { repair_interval: Duration::from_secs(3_600), repair_pause: Duration::ZERO, ..Config::default() };
    let fixture = Fixture::new(config).await;
    let artifact = fixture.peer(2).add(b"hello");
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&fixture.store).run(stop.clone()));
    fixture.deploy(&[artifact]);
    until("it is pulled", || fixture.store.inner.blobs.all().len() == 1).await;
    stop.cancel();
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_what_nobody_refers_to_and_nobody_used_is_collected() {
    let fixture = Fixture::new(Config::default()).await;
    let kept = fixture.put(b"kept").await.unwrap();
    let old = fixture.put(b"old").await.unwrap();
    let asked = fixture.put(b"asked for").await.unwrap();
    fixture.deploy(&[kept]);
    assert_eq!(fixture.store.check().await.removed, 0);
    tokio::time::advance(Duration::from_secs(3_500)).await;
    assert!(fixture.store.size_here(asked.digest).await.is_some());
    tokio::time::advance(Duration::from_secs(101)).await;
    // Without a majority of the voters in sight the catalog may be an old one.
    fixture.alive(&[1]);
    assert_eq!(fixture.store.check().await.removed, 0);
    fixture.alive(&[1, 3]);
    assert_eq!(fixture.store.check().await.removed, 1);
    let here: BTreeSet<_> = fixture.store.inner.blobs.all().into_iter().map(|(digest, _)| digest).collect();
    assert_eq!(here, BTreeSet::from([kept.digest, asked.digest]));
    assert!(!fixture.store.inner.blobs.path(old.digest).try_exists().unwrap());
    assert!(fixture.read(kept.digest).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_a_version_refers_to_stays_although_it_is_other_nodes_share() {
    let fixture = Fixture::new(Config { copies: 1, ..Config::default() }).await;
    let view = Arc::clone(&fixture.view.borrow());
    let mut foreign = None;
    for number in 0..64_u8 {
        let artifact = artifact_of(&[number]);
        fixture.deploy(&[artifact]);
        let catalog = Arc::clone(&fixture.catalog.borrow());
        if crate::plan::plan(&catalog, &view, 1, false).mine.is_empty() {
            foreign = Some((number, artifact));
            break;
        }
    }
    let (number, artifact) = foreign.unwrap();
    fixture.put(&[number]).await.unwrap();
    tokio::time::advance(Duration::from_secs(36_000)).await;
    assert_eq!(fixture.store.check().await, Checked::default());
    assert_eq!(fixture.store.size_here(artifact.digest).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_no_catalog_yet_collects_nothing() {
    let fixture = Fixture::new(Config::default()).await;
    fixture.put(b"hello").await.unwrap();
    tokio::time::advance(Duration::from_secs(36_000)).await;
    assert_eq!(fixture.store.check().await, Checked::default());
    assert_eq!(fixture.store.inner.blobs.all().len(), 1);
}

#[tokio::test]
async fn a_reader_too_many_is_refused_and_a_gone_reader_makes_room() {
    let fixture = Fixture::new(Config { max_reads: 1, ..Config::default() }).await;
    let artifact = fixture.put(b"hello").await.unwrap();
    let first = fixture.store.read(artifact.digest).await.unwrap();
    assert!(matches!(fixture.store.read(artifact.digest).await.err(), Some(ArtifactError::Unavailable(_))));
    drop(first);
    assert!(fixture.store.read(artifact.digest).await.is_ok());
}
