//! Blobs between nodes: a gRPC server over any [`ArtifactStore`], and a client that asks other nodes' stores.
//!
//! Knows: how a blob is cut into messages, and which of its errors is which on the wire.
//! Does not know: who should hold what, how blobs are kept; digests are checked by the store that takes a blob in.
#[cfg(test)]
mod tests;

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, future::ready, stream, stream::BoxStream};
use onrush_catalog::{ArtifactError, ArtifactPeers, ArtifactStore, ByteStream};
use onrush_types::{ArtifactRef, ClusterId, Code, Digest, NodeId};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    FormatError, code_status,
    error::CODE_KEY,
    internal::{
        ArtifactChunk, ArtifactDigest, ArtifactSize, Nothing, artifact_chunk::Part,
        artifacts_client::ArtifactsClient as Wire, artifacts_server,
    },
    peers::{PeerChannel, Peers, check_identity},
    status_code,
};

/// Blobs are cut into messages of at most this size, so that calls on the same connection are not held up.
const CHUNK_LIMIT: usize = 256 << 10;
/// No message is larger: a chunk and its frame.
const MESSAGE_LIMIT: usize = CHUNK_LIMIT + 1024;

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Until a small question is answered, or a stream begins.
    pub answer: Duration,
    /// Between two pieces of a stream.
    pub idle: Duration,
    /// A whole push, the other side's disk included.
    pub push: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { answer: Duration::from_secs(3), idle: Duration::from_secs(15), push: Duration::from_secs(60) }
    }
}

/// Serves this node's blobs to its peers.
pub struct ArtifactsService {
    store: Arc<dyn ArtifactStore>,
    cluster: ClusterId,
    me: NodeId,
    times: Times,
}

impl ArtifactsService {
    /// Serves `store` to members of `cluster` that mean this node.
    pub fn new(store: Arc<dyn ArtifactStore>, cluster: ClusterId, me: NodeId) -> Self {
        Self { store, cluster, me, times: Times::default() }
    }

    /// As a service for a tonic router.
    pub fn into_server(self) -> artifacts_server::ArtifactsServer<Self> {
        artifacts_server::ArtifactsServer::new(self)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }
}

#[async_trait]
impl artifacts_server::Artifacts for ArtifactsService {
    type PullStream = BoxStream<'static, Result<ArtifactChunk, Status>>;

    async fn size(&self, request: Request<ArtifactDigest>) -> Result<Response<ArtifactSize>, Status> {
        check_identity(&request, self.cluster, self.me)?;
        let size = self.store.size_here(digest(&request.get_ref().digest)?).await;
        Ok(Response::new(ArtifactSize { size }))
    }

    async fn push(&self, request: Request<Streaming<ArtifactChunk>>) -> Result<Response<Nothing>, Status> {
        check_identity(&request, self.cluster, self.me)?;
        let mut parts = request.into_inner();
        let first = timeout(self.times.idle, parts.message()).await;
        let first = first.map_err(|_| code_status(Code::BadRequest, "the head of the artifact did not come"))??;
        let artifact = head(first)?;
        let stored = self.store.put(bytes_of(parts, self.times.idle), Some(artifact)).await;
        stored.map_err(|error| refusal(&error))?;
        Ok(Response::new(Nothing {}))
    }

    async fn pull(&self, request: Request<ArtifactDigest>) -> Result<Response<Self::PullStream>, Status> {
        check_identity(&request, self.cluster, self.me)?;
        let opened = self.store.read(digest(&request.get_ref().digest)?).await;
        let (artifact, bytes) = opened.map_err(|error| refusal(&error))?;
        let head = ArtifactChunk { part: Some(Part::Head(artifact.into())) };
        let data = bytes.flat_map(|piece| match piece {
            Ok(piece) => stream::iter(cut(piece).into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(code_status(Code::Internal, format!("reading failed: {error}")))]),
        });
        Ok(Response::new(stream::iter([Ok(head)]).chain(data).boxed()))
    }
}

/// Other nodes' stores over gRPC. Cheap to clone.
#[derive(Clone)]
pub struct ArtifactClient {
    peers: Peers,
    times: Times,
}

impl ArtifactClient {
    /// Reaches peers through these channels; give it a set of its own, so that bulk data holds nobody up.
    pub fn new(peers: Peers) -> Self {
        Self { peers, times: Times::default() }
    }

    /// With other bounds on time.
    #[must_use]
    pub fn with_times(self, times: Times) -> Self {
        Self { times, ..self }
    }

    fn wire(&self, node: NodeId) -> Result<Wire<PeerChannel>, ArtifactError> {
        let channel = self.peers.channel(node);
        let channel = channel.map_err(|status| ArtifactError::Unavailable(status.message().to_owned()))?;
        Ok(Wire::new(channel).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT))
    }

    fn failed(&self, node: NodeId, digest: Digest, status: &Status) -> ArtifactError {
        let why = format!("node {node}: {}", status.message());
        if status.code() == tonic::Code::FailedPrecondition {
            // Somebody else listens there now; the next attempt looks the address up again.
            self.peers.forget(node);
        }
        // Without our mark it is the connection that speaks, not the other store.
        if status.metadata().get(CODE_KEY).is_none() {
            return ArtifactError::Unavailable(why);
        }
        match status_code(status) {
            Code::NotFound => ArtifactError::Missing(digest),
            Code::TooLarge => ArtifactError::TooLarge(why),
            Code::BadRequest => ArtifactError::Rejected(why),
            Code::Internal => ArtifactError::Internal(why),
            Code::Unauthenticated
            | Code::Forbidden
            | Code::Conflict
            | Code::RateLimited
            | Code::Overloaded
            | Code::DeadlineExceeded
            | Code::Unavailable
            | Code::OutcomeUnknown
            | Code::Behind
            | Code::FunctionFailed => ArtifactError::Unavailable(why),
        }
    }
}

fn late(node: NodeId, time: Duration) -> ArtifactError {
    ArtifactError::Unavailable(format!("node {node} did not answer within {time:?}"))
}

#[async_trait]
impl ArtifactPeers for ArtifactClient {
    async fn size_on(&self, node: NodeId, digest: Digest) -> Result<Option<u64>, ArtifactError> {
        let mut wire = self.wire(node)?;
        let mut request = Request::new(wire_digest(digest));
        request.set_timeout(self.times.answer);
        let answer = timeout(self.times.answer, wire.size(request)).await.map_err(|_| late(node, self.times.answer))?;
        Ok(answer.map_err(|status| self.failed(node, digest, &status))?.into_inner().size)
    }

    async fn push(&self, node: NodeId, artifact: ArtifactRef, bytes: ByteStream) -> Result<(), ArtifactError> {
        let mut wire = self.wire(node)?;
        let broken = Arc::new(Mutex::new(None));
        let head = ArtifactChunk { part: Some(Part::Head(artifact.into())) };
        let data = chunks_of(bytes, Arc::clone(&broken));
        let mut request = Request::new(Chunks(stream::iter([head]).chain(data).boxed()));
        request.set_timeout(self.times.push);
        let answer = timeout(self.times.push, wire.push(request)).await;
        let unread = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(why) = unread {
            return Err(ArtifactError::Internal(format!("this node's copy cannot be read: {why}")));
        }
        let answer = answer.map_err(|_| late(node, self.times.push))?;
        answer.map(drop).map_err(|status| self.failed(node, artifact.digest, &status))
    }

    async fn pull(&self, node: NodeId, digest: Digest) -> Result<(ArtifactRef, ByteStream), ArtifactError> {
        let mut wire = self.wire(node)?;
        let begin = async {
            let mut parts = wire.pull(wire_digest(digest)).await?.into_inner();
            let artifact = head(parts.message().await?)?;
            Ok((artifact, parts))
        };
        let begun = timeout(self.times.answer, begin).await.map_err(|_| late(node, self.times.answer))?;
        let (artifact, parts) = begun.map_err(|status: Status| self.failed(node, digest, &status))?;
        Ok((artifact, bytes_of(parts, self.times.idle)))
    }
}

/// The data of a stream whose head has been read. Its reader bounds the bytes; a second head is an error.
fn bytes_of(parts: Streaming<ArtifactChunk>, idle: Duration) -> ByteStream {
    stream::try_unfold(parts, move |mut parts| async move {
        let part = timeout(idle, parts.message()).await;
        let part = part.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the sender is silent"))?;
        match part.map_err(|status| io::Error::other(status.message().to_owned()))? {
            None => Ok(None),
            Some(ArtifactChunk { part: Some(Part::Data(bytes)) }) => Ok(Some((bytes, parts))),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a message without data in it")),
        }
    })
    .boxed()
}

/// A request stream cannot fail. It ends too early instead, the other side refuses what is too short, and the reason is
/// left in `broken`.
fn chunks_of(bytes: ByteStream, broken: Arc<Mutex<Option<String>>>) -> BoxStream<'static, ArtifactChunk> {
    let pieces = bytes.map(move |piece| match piece {
        Ok(piece) => Some(cut(piece)),
        Err(error) => {
            *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            None
        }
    });
    pieces.take_while(|piece| ready(piece.is_some())).flat_map(|piece| stream::iter(piece.unwrap_or_default())).boxed()
}

/// A named type without a lifetime, because rustc cannot prove that a boxed stream inside an async block is `'static`
/// (rust-lang/rust#102211).
struct Chunks(BoxStream<'static, ArtifactChunk>);

impl Stream for Chunks {
    type Item = ArtifactChunk;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ArtifactChunk>> {
        self.0.poll_next_unpin(context)
    }
}

fn cut(mut piece: Bytes) -> Vec<ArtifactChunk> {
    let mut chunks = Vec::with_capacity(piece.len().div_ceil(CHUNK_LIMIT));
    while !piece.is_empty() {
        let data = piece.split_to(piece.len().min(CHUNK_LIMIT));
        chunks.push(ArtifactChunk { part: Some(Part::Data(data)) });
    }
    chunks
}

fn head(first: Option<ArtifactChunk>) -> Result<ArtifactRef, Status> {
    match first.and_then(|chunk| chunk.part) {
        Some(Part::Head(artifact)) => Ok(artifact.try_into()?),
        Some(Part::Data(_)) | None => Err(FormatError::Field { what: "ArtifactChunk", field: "head" }.into()),
    }
}

fn wire_digest(digest: Digest) -> ArtifactDigest {
    ArtifactDigest { digest: Bytes::copy_from_slice(&digest.0) }
}

fn digest(bytes: &[u8]) -> Result<Digest, Status> {
    let bytes = bytes.try_into().map_err(|_| FormatError::Field { what: "ArtifactDigest", field: "digest" })?;
    Ok(Digest(bytes))
}

fn refusal(error: &ArtifactError) -> Status {
    let code = match error {
        // Clients of the cluster are told that it is unavailable; a peer asks the next one.
        ArtifactError::Missing(_) => Code::NotFound,
        ArtifactError::Rejected(_)
        | ArtifactError::TooLarge(_)
        | ArtifactError::Unavailable(_)
        | ArtifactError::Internal(_) => error.code(),
    };
    code_status(code, error.to_string())
}
