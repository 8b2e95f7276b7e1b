use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use futures::TryStreamExt as _;
use onrush_seams::{Network, TokioNetwork};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A store in memory. It checks lengths only: digests are the real store's affair.
#[derive(Default)]
struct Memory {
    held: Mutex<BTreeMap<Digest, Bytes>>,
    refuse: Mutex<Option<ArtifactError>>,
    pieces: Mutex<Vec<usize>>,
}

impl Memory {
    fn refused(&self) -> Result<(), ArtifactError> {
        self.refuse.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl ArtifactStore for Memory {
    async fn put(&self, mut bytes: ByteStream, expected: Option<ArtifactRef>) -> Result<ArtifactRef, ArtifactError> {
        self.refused()?;
        let (mut all, expected) = (Vec::new(), expected.unwrap());
        while let Some(piece) = bytes.try_next().await.map_err(|error| ArtifactError::Rejected(error.to_string()))? {
            self.pieces.lock().unwrap().push(piece.len());
            all.extend(piece);
        }
        if all.len() as u64 != expected.size {
            return Err(ArtifactError::Rejected(format!("{} of {} bytes came", all.len(), expected.size)));
        }
        self.held.lock().unwrap().insert(expected.digest, all.into());
        Ok(expected)
    }

    async fn secure(&self, _: ArtifactRef, _: Duration) -> Result<Vec<NodeId>, ArtifactError> {
        Ok(vec![])
    }

    async fn open(&self, artifact: ArtifactRef) -> Result<PathBuf, ArtifactError> {
        Err(ArtifactError::Missing(artifact.digest))
    }

    async fn read(&self, digest: Digest) -> Result<(ArtifactRef, ByteStream), ArtifactError> {
        self.refused()?;
        let bytes = self.held.lock().unwrap().get(&digest).cloned().ok_or(ArtifactError::Missing(digest))?;
        Ok((ArtifactRef { digest, size: bytes.len() as u64 }, stream::iter([Ok(bytes)]).boxed()))
    }

    async fn size_here(&self, digest: Digest) -> Option<u64> {
        self.held.lock().unwrap().get(&digest).map(|bytes| bytes.len() as u64)
    }
}

/// Node 2 serves; the returned client belongs to node 1.
async fn serve() -> (Arc<Memory>, ArtifactClient, SocketAddr, ClusterId) {
    let (store, cluster) = (Arc::new(Memory::default()), ClusterId::new());
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = ArtifactsService::new(Arc::clone(&store) as Arc<dyn ArtifactStore>, cluster, NodeId(2));
    let router = tonic::transport::Server::builder().add_service(service.into_server());
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    (store, client(cluster, address), address, cluster)
}

/// Whoever is asked for is said to listen at this address; node 9 is unknown.
fn client(cluster: ClusterId, address: SocketAddr) -> ArtifactClient {
    let network: Arc<dyn Network> = Arc::new(TokioNetwork);
    let find = move |node| (node != NodeId(9)).then(|| address.to_string());
    ArtifactClient::new(Peers::new(cluster, network, Arc::new(find)))
}

const DIGEST: Digest = Digest([7; 32]);

fn big() -> Bytes {
    (0..1_000_003_u32).map(|n| (n % 251) as u8).collect()
}

fn whole(bytes: Bytes) -> ByteStream {
    stream::iter([Ok(bytes)]).boxed()
}

fn artifact() -> ArtifactRef {
    ArtifactRef { digest: DIGEST, size: 1_000_003 }
}

#[tokio::test]
async fn a_blob_goes_there_and_back_in_bounded_pieces() {
    let (store, client, ..) = serve().await;
    assert_eq!(client.size_on(NodeId(2), DIGEST).await, Ok(None));
    client.push(NodeId(2), artifact(), whole(big())).await.unwrap();
    assert!(store.pieces.lock().unwrap().iter().all(|piece| *piece <= CHUNK_LIMIT));
    assert_eq!(client.size_on(NodeId(2), DIGEST).await, Ok(Some(1_000_003)));
    let (said, mut bytes) = client.pull(NodeId(2), DIGEST).await.unwrap();
    assert_eq!(said, artifact());
    let mut all = Vec::new();
    while let Some(piece) = bytes.try_next().await.unwrap() {
        assert!(piece.len() <= CHUNK_LIMIT);
        all.extend(piece);
    }
    assert_eq!(all, big());
}

#[tokio::test]
async fn every_error_arrives_as_what_it_was() {
    let (store, client, ..) = serve().await;
    let word = || "because".to_owned();
    for error in [
        ArtifactError::Rejected(word()),
        ArtifactError::TooLarge(word()),
        ArtifactError::Missing(DIGEST),
        ArtifactError::Unavailable(word()),
        ArtifactError::Internal(word()),
    ] {
        *store.refuse.lock().unwrap() = Some(error.clone());
        let pushed = client.push(NodeId(2), artifact(), whole(big())).await.unwrap_err();
        let pulled = client.pull(NodeId(2), DIGEST).await.err().unwrap();
        for arrived in [pushed, pulled] {
            assert_eq!(std::mem::discriminant(&arrived), std::mem::discriminant(&error), "{arrived}");
            assert!(arrived.to_string().contains("because") || arrived == ArtifactError::Missing(DIGEST), "{arrived}");
        }
    }
}

#[tokio::test]
async fn a_push_whose_source_breaks_stores_nothing_and_blames_this_node() {
    let (store, client, ..) = serve().await;
    let broken = stream::iter([Ok(big()), Err(io::Error::other("bad sector"))]).boxed();
    let longer = ArtifactRef { size: 2_000_000, ..artifact() };
    let error = client.push(NodeId(2), longer, broken).await.unwrap_err();
    assert!(matches!(&error, ArtifactError::Internal(why) if why.contains("bad sector")), "{error}");
    assert!(store.held.lock().unwrap().is_empty());
}

#[tokio::test]
async fn whoever_is_not_meant_is_refused() {
    let (_, right, address, _) = serve().await;
    let stranger = client(ClusterId::new(), address);
    for (client, node, word) in [(&stranger, 2, "cluster"), (&right, 3, "is for node 3"), (&right, 9, "address")] {
        let node = NodeId(node);
        for error in [
            client.size_on(node, DIGEST).await.err(),
            client.push(node, artifact(), whole(big())).await.err(),
            client.pull(node, DIGEST).await.err(),
        ] {
            let error = error.unwrap();
            assert!(matches!(&error, ArtifactError::Unavailable(why) if why.contains(word)), "{error}");
        }
    }
}

#[tokio::test]
async fn a_node_that_is_gone_or_silent_is_unavailable_in_time() {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let short = Duration::from_millis(50);
    let times = Times { answer: short, idle: short, push: short };
    let silent = client(ClusterId::new(), address).with_times(times);
    let mut listener = Some(listener);
    for gone in [false, true] {
        if gone {
            listener.take();
        }
        for error in [
            tokio::time::timeout(PATIENCE, silent.size_on(NodeId(2), DIGEST)).await.unwrap().err(),
            tokio::time::timeout(PATIENCE, silent.push(NodeId(2), artifact(), whole(big()))).await.unwrap().err(),
            tokio::time::timeout(PATIENCE, silent.pull(NodeId(2), DIGEST)).await.unwrap().err(),
        ] {
            assert!(matches!(error, Some(ArtifactError::Unavailable(_))), "gone: {gone}, {error:?}");
        }
    }
}

#[tokio::test]
async fn a_push_without_a_head_is_refused() {
    let (_, client, ..) = serve().await;
    let headless = stream::iter(cut(Bytes::from_static(b"hello")));
    let status = client.wire(NodeId(2)).unwrap().push(headless).await.unwrap_err();
    assert_eq!(status_code(&status), Code::BadRequest);
    let status = client.wire(NodeId(2)).unwrap().size(ArtifactDigest { digest: Bytes::from_static(b"short") }).await;
    assert_eq!(status_code(&status.unwrap_err()), Code::BadRequest);
}
