//! Writes and fresh reads through the leader, where that is another node.

use onrush_catalog::Proposal;
use onrush_proto::internal::{CommitRequest, ReadIndexRequest, catalog_client::CatalogClient};
use onrush_types::{Code, NodeId};
use tokio::time::{Instant, timeout_at};
use tonic::Request;

use crate::{
    Consensus,
    config::millis,
    waiting::Decided,
    wire::{Proof, proof},
};

impl Consensus {
    /// One hop: the other node decides or refuses.
    pub(crate) async fn forward(
        &self,
        leader: NodeId,
        proposals: &[Proposal],
        until: Instant,
    ) -> Result<Decided, Proof> {
        let channel = self.peers.channel(leader).map_err(|status| nothing(status.message()))?;
        let mut client = CatalogClient::new(channel).max_decoding_message_size(self.largest_message());
        let until = until.min(Instant::now() + self.config.forward_timeout);
        let request = CommitRequest {
            proposals: proposals.iter().map(Into::into).collect(),
            timeout_ms: millis(until.saturating_duration_since(Instant::now())),
        };
        let reply = match timeout_at(until, client.commit(Request::new(request))).await {
            Ok(reply) => reply.map_err(|status| proof(&status))?.into_inner(),
            Err(_) => return Err(Proof::Unknown { why: format!("node {leader}, the leader, did not answer in time") }),
        };
        let committed: Result<Vec<_>, _> = reply.committed.into_iter().map(TryInto::try_into).collect();
        match committed {
            Ok(committed) if committed.len() == proposals.len() => Ok(Decided { committed, index: reply.index }),
            Ok(_) => Err(Proof::Unknown { why: format!("node {leader} answered for another number of proposals") }),
            Err(error) => Err(Proof::Unknown { why: format!("node {leader} answered nonsense: {error}") }),
        }
    }

    /// The index that a fresh read must have applied, by word of the leader.
    pub(crate) async fn ask_read_index(&self, leader: NodeId, until: Instant) -> Result<u64, Proof> {
        let channel = self.peers.channel(leader).map_err(|status| nothing(status.message()))?;
        let until = until.min(Instant::now() + self.config.forward_timeout);
        match timeout_at(until, CatalogClient::new(channel).read_index(ReadIndexRequest {})).await {
            Ok(Ok(reply)) => Ok(reply.into_inner().index),
            Ok(Err(status)) => Err(proof(&status)),
            Err(_) => Err(nothing(&format!("node {leader}, the leader, did not answer in time"))),
        }
    }

    pub(crate) fn largest_message(&self) -> usize {
        usize::try_from(self.config.largest_message.0).unwrap_or(usize::MAX)
    }
}

fn nothing(why: &str) -> Proof {
    Proof::NothingHappened { why: why.to_owned(), code: Code::Unavailable, leader: None }
}
