//! The other ends of `network` and `forward`: what this node answers its peers.

use std::sync::Arc;

use bytes::BytesMut;
use onrush_catalog::Proposal;
use onrush_proto::{
    FormatError, code_status,
    internal::{
        self, CommitReply, CommitRequest, ReadIndexReply, ReadIndexRequest, SnapshotChunk, SnapshotReply,
        catalog_server::{Catalog, CatalogServer},
        raft_server::{Raft, RaftServer},
        snapshot_chunk::Part,
    },
    peers::check_identity,
};
use onrush_types::{Code, NodeId};
use openraft::{error::Fatal, raft::AppendEntriesResponse};
use tokio::time::{Duration, Instant};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    Consensus,
    commit::no_majority,
    convert::{self, Wire},
    standing::Standing,
    types::{AppendRequest, Snapshot, SnapshotFile, Vote, VoteRequest},
    wire,
};

impl Consensus {
    /// What this node answers its peers; to be served where [`join_service`](crate::join_service) is.
    pub fn services(self: &Arc<Self>) -> (RaftServer<Peer>, CatalogServer<Peer>) {
        let largest = self.largest_message();
        let peer = || Peer { consensus: Arc::clone(self) };
        let raft = RaftServer::new(peer()).max_decoding_message_size(largest).max_encoding_message_size(largest);
        let catalog = CatalogServer::new(peer()).max_decoding_message_size(largest).max_encoding_message_size(largest);
        (raft, catalog)
    }

    /// Whether a node was a member and is none any more.
    pub(crate) fn is_removed(&self, node: NodeId) -> bool {
        let catalog = self.catalog.borrow();
        catalog.cluster.is_some() && node <= catalog.last_node && !catalog.nodes.contains_key(&node)
    }
}

/// Answers peers for one node.
pub struct Peer {
    consensus: Arc<Consensus>,
}

impl Peer {
    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        check_identity(request, self.consensus.identity.cluster, self.consensus.identity.node)
    }
}

#[tonic::async_trait]
impl Raft for Peer {
    async fn append(
        &self,
        request: Request<internal::AppendRequest>,
    ) -> Result<Response<internal::AppendReply>, Status> {
        self.check(&request)?;
        let request = AppendRequest::from_wire(request.into_inner())?;
        // Raft's inbox has no bound. A leader that stops waiting sends again, while what it sent stays in the inbox of a
        // follower whose disk hangs: so the permit goes with the message and not with the caller.
        let permit = Arc::clone(&self.consensus.appends).try_acquire_owned();
        let permit = permit.map_err(|_| code_status(Code::Unavailable, "this node's disk is behind"))?;
        let raft = self.consensus.raft.clone();
        let appended = self.consensus.tracker.spawn(async move {
            let reply = raft.append_entries(request).await;
            drop(permit);
            reply
        });
        let reply = appended.await.map_err(|error| Status::internal(error.to_string()))?;
        let reply = reply.map_err(|error| stopped(&error))?;
        if !matches!(reply, AppendEntriesResponse::HigherVote(_)) {
            self.consensus.heard();
        }
        Ok(Response::new(reply.to_wire()))
    }

    async fn vote(&self, request: Request<internal::VoteRequest>) -> Result<Response<internal::VoteReply>, Status> {
        self.check(&request)?;
        let request = VoteRequest::from_wire(request.into_inner())?;
        let candidate = NodeId(request.vote.leader_id.node_id);
        // A removed node that does not know it would force one election after another.
        if self.consensus.is_removed(candidate) {
            return Err(Status::failed_precondition(format!("node {candidate} was removed from the cluster")));
        }
        let reply = self.consensus.raft.vote(request).await.map_err(|error| stopped(&error))?;
        Ok(Response::new(reply.to_wire()))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<SnapshotReply>, Status> {
        self.check(&request)?;
        let (vote, snapshot) = receive(request.into_inner(), self.consensus.config.storage.max_snapshot.0).await?;
        let installed = self.consensus.raft.install_full_snapshot(vote, snapshot).await;
        let reply = installed.map_err(|fatal: Fatal<u64>| stopped(&fatal))?;
        if reply.vote == vote {
            self.consensus.heard();
        }
        Ok(Response::new(SnapshotReply { vote: Some(reply.vote.to_wire()) }))
    }
}

/// Takes a snapshot in; refused before the first byte beyond its own or our limit.
async fn receive(mut stream: Streaming<SnapshotChunk>, largest: u64) -> Result<(Vote, Snapshot), Status> {
    let field = |field| Status::from(FormatError::Field { what: "SnapshotChunk", field });
    let Some(SnapshotChunk { part: Some(Part::Head(head)) }) = stream.message().await? else {
        return Err(field("head"));
    };
    let meta = head.meta.ok_or_else(|| field("meta"))?;
    let (size, crc32c) = (meta.size, meta.crc32c);
    if size > largest {
        let why = format!("a snapshot of {size} bytes; this node takes at most {largest} (storage.max-snapshot)");
        return Err(code_status(Code::TooLarge, why));
    }
    let vote = convert::required(head.vote, "SnapshotHead", "vote")?;
    let meta = convert::read_snapshot_meta(meta)?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.message().await? {
        let Some(Part::Data(data)) = chunk.part else { return Err(field("data")) };
        if (bytes.len() + data.len()) as u64 > size {
            return Err(field("size"));
        }
        bytes.extend_from_slice(&data);
    }
    let file = SnapshotFile::new(bytes.freeze());
    if file.size() != size || file.crc32c() != crc32c {
        return Err(field("crc32c"));
    }
    Ok((vote, Snapshot { meta, snapshot: Box::new(file) }))
}

#[tonic::async_trait]
impl Catalog for Peer {
    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<CommitReply>, Status> {
        self.check(&request)?;
        let request = request.into_inner();
        let proposals: Result<Vec<Proposal>, FormatError> =
            request.proposals.into_iter().map(TryInto::try_into).collect();
        let proposals = proposals?;
        if proposals.is_empty() {
            return Err(FormatError::Field { what: "CommitRequest", field: "proposals" }.into());
        }
        let limit = Duration::from_millis(request.timeout_ms).min(self.consensus.config.longest_wait);
        let decided = self.consensus.submit(proposals, Instant::now() + limit, true).await;
        let decided = decided.map_err(|undecided| {
            wire::refuse(undecided.error.code(), &undecided.error.to_string(), undecided.leader)
        })?;
        let committed = decided.committed.iter().map(Into::into).collect();
        Ok(Response::new(CommitReply { committed, index: decided.index }))
    }

    async fn read_index(&self, request: Request<ReadIndexRequest>) -> Result<Response<ReadIndexReply>, Status> {
        self.check(&request)?;
        let busy = || code_status(Code::Overloaded, "too many fresh reads wait already");
        let _turn = self.consensus.reads.try_acquire().map_err(|_| busy())?;
        if self.consensus.standing() != Standing::Leading {
            return Err(wire::refuse(Code::Unavailable, "this node does not lead", self.consensus.leader()));
        }
        let deadline = Instant::now() + self.consensus.config.forward_timeout;
        match self.consensus.confirmed.join(deadline, no_majority).await {
            Ok(index) => Ok(Response::new(ReadIndexReply { index })),
            Err(why) => Err(wire::refuse(Code::Unavailable, &why, None)),
        }
    }
}

fn stopped(error: &impl std::fmt::Display) -> Status {
    Status::unavailable(format!("Raft has stopped on this node: {error}"))
}
