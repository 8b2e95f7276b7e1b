//! Raft's calls to its peers, over gRPC.

use std::{future::Future, io, time::Duration};

use bytes::Bytes;
use onrush_proto::{
    internal::{self, SnapshotChunk, SnapshotHead, raft_client::RaftClient, snapshot_chunk::Part},
    peers::{PeerChannel, Peers},
};
use onrush_types::NodeId;
use openraft::{
    EmptyNode, RPCTypes,
    error::{Fatal, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory},
    raft::SnapshotResponse,
};
use prost::Message as _;
use tokio::time::timeout;
use tonic::Status;

use crate::{
    convert::{self, Wire},
    types::{AppendReply, AppendRequest, Snapshot, TypeConfig, Vote, VoteReply, VoteRequest},
    wire,
};

/// The pause after a peer was unreachable.
const BACK_OFF: Duration = Duration::from_millis(200);
/// Bytes of a snapshot per message.
const CHUNK: usize = 256 << 10;

type CallError = RPCError<u64, EmptyNode, RaftError<u64>>;

/// Makes clients for peers.
pub(crate) struct PeerNetwork {
    pub(crate) me: NodeId,
    pub(crate) peers: Peers,
    pub(crate) largest_message: usize,
}

impl RaftNetworkFactory<TypeConfig> for PeerNetwork {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> PeerClient {
        PeerClient { me: self.me.0, target, peers: self.peers.clone(), largest_message: self.largest_message }
    }
}

/// Raft's line to one peer.
pub(crate) struct PeerClient {
    me: u64,
    target: u64,
    peers: Peers,
    largest_message: usize,
}

impl PeerClient {
    /// Asked for anew with each call: the peer may have moved.
    fn client(&self) -> Result<RaftClient<PeerChannel>, Unreachable> {
        let channel = self.peers.channel(NodeId(self.target)).map_err(|status| unreachable(&status))?;
        Ok(RaftClient::new(channel).max_decoding_message_size(self.largest_message))
    }

    fn too_late(&self, action: RPCTypes, limit: Duration) -> Timeout<u64> {
        Timeout { action, id: self.me, target: self.target, timeout: limit }
    }
}

impl RaftNetwork<TypeConfig> for PeerClient {
    async fn append_entries(&mut self, rpc: AppendRequest, option: RPCOption) -> Result<AppendReply, CallError> {
        let message = rpc.to_wire();
        if message.encoded_len() > self.largest_message && rpc.entries.len() > 1 {
            return Err(PayloadTooLarge::new_entries_hint(convert::count(rpc.entries.len() / 2)).into());
        }
        let mut client = self.client()?;
        let limit = option.hard_ttl();
        match timeout(limit, client.append(message)).await {
            Ok(Ok(reply)) => AppendReply::from_wire(reply.into_inner()).map_err(|error| nonsense(&error).into()),
            Ok(Err(status)) => Err(unreachable(&status).into()),
            Err(_) => Err(self.too_late(RPCTypes::AppendEntries, limit).into()),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteReply, CallError> {
        let mut client = self.client()?;
        let limit = option.hard_ttl();
        match timeout(limit, client.vote(rpc.to_wire())).await {
            Ok(Ok(reply)) => VoteReply::from_wire(reply.into_inner()).map_err(|error| nonsense(&error).into()),
            Ok(Err(status)) => Err(unreachable(&status).into()),
            Err(_) => Err(self.too_late(RPCTypes::Vote, limit).into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let mut client = self.client()?;
        let limit = option.hard_ttl();
        let sent = timeout(limit, client.install_snapshot(tokio_stream::iter(chunks(vote, &snapshot))));
        let reply = tokio::select! {
            biased;
            closed = cancel => return Err(closed.into()),
            reply = sent => reply,
        };
        match reply {
            Ok(Ok(reply)) => {
                let vote = convert::required(reply.into_inner().vote, "SnapshotReply", "vote");
                Ok(SnapshotResponse::new(vote.map_err(|error| nonsense(&error))?))
            }
            Ok(Err(status)) => Err(unreachable(&status).into()),
            Err(_) => Err(self.too_late(RPCTypes::InstallSnapshot, limit).into()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACK_OFF))
    }
}

/// Head first, then the bytes; the slices share the snapshot's memory.
fn chunks(vote: Vote, snapshot: &Snapshot) -> impl Iterator<Item = SnapshotChunk> + Send + use<> {
    let meta: internal::SnapshotMeta = convert::snapshot_meta(&snapshot.meta, &snapshot.snapshot);
    let head = SnapshotChunk { part: Some(Part::Head(SnapshotHead { vote: Some(vote.to_wire()), meta: Some(meta) })) };
    let bytes: Bytes = snapshot.snapshot.bytes().clone();
    let data = (0..bytes.len()).step_by(CHUNK).map(move |start| {
        let end = bytes.len().min(start + CHUNK);
        SnapshotChunk { part: Some(Part::Data(bytes.slice(start..end))) }
    });
    std::iter::once(head).chain(data)
}

/// Every failure is worth a pause: the library repeats others at once, in a hot loop.
fn unreachable(status: &Status) -> Unreachable {
    Unreachable::new(&io::Error::other(wire::with_cause(status)))
}

fn nonsense(error: &onrush_proto::FormatError) -> Unreachable {
    Unreachable::new(error)
}
