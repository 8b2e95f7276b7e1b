//! Raft's records to and from our own messages, so that openraft's types are neither on the wire nor on disk.
//!
//! Every conversion is total: what a peer or a disk sends becomes a value or a [`FormatError`], never a panic.
use std::collections::BTreeSet;

use onrush_proto::{
    FormatError,
    internal::{self, append_reply, entry},
};

use crate::types::{
    AppendReply, AppendRequest, Batch, Entry, EntryPayload, LeaderId, LogId, Membership, SnapshotFile, SnapshotMeta,
    StoredMembership, Vote, VoteReply, VoteRequest,
};

/// A record that has a message.
pub(crate) trait Wire: Sized {
    /// The message.
    type Message;

    /// As a message.
    fn to_wire(&self) -> Self::Message;

    /// From a message.
    ///
    /// # Errors
    /// A field that is missing or that no writer writes.
    fn from_wire(message: Self::Message) -> Result<Self, FormatError>;
}

impl Wire for LogId {
    type Message = internal::LogId;

    fn to_wire(&self) -> internal::LogId {
        internal::LogId { term: self.leader_id.term, node: self.leader_id.node_id, index: self.index }
    }

    fn from_wire(message: internal::LogId) -> Result<Self, FormatError> {
        Ok(Self::new(LeaderId::new(message.term, message.node), message.index))
    }
}

impl Wire for Vote {
    type Message = internal::Ballot;

    fn to_wire(&self) -> internal::Ballot {
        internal::Ballot { term: self.leader_id.term, node: self.leader_id.node_id, committed: self.committed }
    }

    fn from_wire(message: internal::Ballot) -> Result<Self, FormatError> {
        Ok(match message.committed {
            true => Self::new_committed(message.term, message.node),
            false => Self::new(message.term, message.node),
        })
    }
}

impl Wire for Membership {
    type Message = internal::Membership;

    fn to_wire(&self) -> internal::Membership {
        let set = |voters: &BTreeSet<u64>| internal::VoterSet { voters: voters.iter().copied().collect() };
        internal::Membership {
            configs: self.get_joint_config().iter().map(set).collect(),
            nodes: self.nodes().map(|(node, _)| *node).collect(),
        }
    }

    fn from_wire(message: internal::Membership) -> Result<Self, FormatError> {
        // openraft never writes an empty set, and no quorum of one could ever be reached.
        if message.configs.iter().any(|set| set.voters.is_empty()) {
            return Err(wrong("Membership", "configs"));
        }
        let configs = message.configs.into_iter().map(|set| set.voters.into_iter().collect()).collect();
        Ok(Self::new(configs, message.nodes.into_iter().collect::<BTreeSet<_>>()))
    }
}

impl Wire for StoredMembership {
    type Message = internal::StoredMembership;

    fn to_wire(&self) -> internal::StoredMembership {
        let log_id = self.log_id().as_ref().map(Wire::to_wire);
        internal::StoredMembership { log_id, membership: Some(self.membership().to_wire()) }
    }

    fn from_wire(message: internal::StoredMembership) -> Result<Self, FormatError> {
        let membership = required(message.membership, "StoredMembership", "membership")?;
        Ok(Self::new(optional(message.log_id)?, membership))
    }
}

impl Wire for Batch {
    type Message = internal::Batch;

    fn to_wire(&self) -> internal::Batch {
        internal::Batch { proposals: self.0.iter().map(Into::into).collect() }
    }

    fn from_wire(message: internal::Batch) -> Result<Self, FormatError> {
        message.proposals.into_iter().map(TryInto::try_into).collect::<Result<_, _>>().map(Self)
    }
}

impl Wire for Entry {
    type Message = internal::Entry;

    fn to_wire(&self) -> internal::Entry {
        let payload = match &self.payload {
            EntryPayload::Blank => entry::Payload::Blank(internal::Nothing {}),
            EntryPayload::Normal(batch) => entry::Payload::Batch(batch.to_wire()),
            EntryPayload::Membership(membership) => entry::Payload::Membership(membership.to_wire()),
        };
        internal::Entry { log_id: Some(self.log_id.to_wire()), payload: Some(payload) }
    }

    fn from_wire(message: internal::Entry) -> Result<Self, FormatError> {
        let payload = match message.payload.ok_or_else(|| wrong("Entry", "payload"))? {
            entry::Payload::Blank(internal::Nothing {}) => EntryPayload::Blank,
            entry::Payload::Batch(batch) => EntryPayload::Normal(Batch::from_wire(batch)?),
            entry::Payload::Membership(membership) => EntryPayload::Membership(Membership::from_wire(membership)?),
        };
        Ok(Self { log_id: required(message.log_id, "Entry", "log_id")?, payload })
    }
}

impl Wire for AppendRequest {
    type Message = internal::AppendRequest;

    fn to_wire(&self) -> internal::AppendRequest {
        internal::AppendRequest {
            vote: Some(self.vote.to_wire()),
            prev: self.prev_log_id.as_ref().map(Wire::to_wire),
            entries: self.entries.iter().map(Wire::to_wire).collect(),
            leader_commit: self.leader_commit.as_ref().map(Wire::to_wire),
        }
    }

    fn from_wire(message: internal::AppendRequest) -> Result<Self, FormatError> {
        let entries: Vec<Entry> = message.entries.into_iter().map(Wire::from_wire).collect::<Result<_, _>>()?;
        let prev_log_id: Option<LogId> = optional(message.prev)?;
        // A gap would leave a hole in the log, which Raft itself does not look for.
        let mut next = prev_log_id.map_or(Some(0), |prev| prev.index.checked_add(1));
        for entry in &entries {
            if next != Some(entry.log_id.index) {
                return Err(wrong("AppendRequest", "entries"));
            }
            next = entry.log_id.index.checked_add(1);
        }
        let vote = required(message.vote, "AppendRequest", "vote")?;
        Ok(Self { vote, prev_log_id, entries, leader_commit: optional(message.leader_commit)? })
    }
}

impl Wire for AppendReply {
    type Message = internal::AppendReply;

    fn to_wire(&self) -> internal::AppendReply {
        let result = match self {
            Self::Success => append_reply::Result::Success(internal::Nothing {}),
            Self::PartialSuccess(upto) => {
                append_reply::Result::Partial(upto.as_ref().map(Wire::to_wire).unwrap_or_default())
            }
            Self::Conflict => append_reply::Result::Conflict(internal::Nothing {}),
            Self::HigherVote(vote) => append_reply::Result::HigherVote(vote.to_wire()),
        };
        internal::AppendReply { result: Some(result) }
    }

    fn from_wire(message: internal::AppendReply) -> Result<Self, FormatError> {
        Ok(match message.result.ok_or_else(|| wrong("AppendReply", "result"))? {
            append_reply::Result::Success(internal::Nothing {}) => Self::Success,
            // The empty id is also that of a cluster's very first entry. To say less than was stored is safe.
            append_reply::Result::Partial(upto) if upto == internal::LogId::default() => Self::PartialSuccess(None),
            append_reply::Result::Partial(upto) => Self::PartialSuccess(Some(LogId::from_wire(upto)?)),
            append_reply::Result::Conflict(internal::Nothing {}) => Self::Conflict,
            append_reply::Result::HigherVote(vote) => Self::HigherVote(Vote::from_wire(vote)?),
        })
    }
}

impl Wire for VoteRequest {
    type Message = internal::VoteRequest;

    fn to_wire(&self) -> internal::VoteRequest {
        let last_log = self.last_log_id.as_ref().map(Wire::to_wire);
        internal::VoteRequest { vote: Some(self.vote.to_wire()), last_log }
    }

    fn from_wire(message: internal::VoteRequest) -> Result<Self, FormatError> {
        Ok(Self::new(required(message.vote, "VoteRequest", "vote")?, optional(message.last_log)?))
    }
}

impl Wire for VoteReply {
    type Message = internal::VoteReply;

    fn to_wire(&self) -> internal::VoteReply {
        let last_log = self.last_log_id.as_ref().map(Wire::to_wire);
        internal::VoteReply { vote: Some(self.vote.to_wire()), granted: self.vote_granted, last_log }
    }

    fn from_wire(message: internal::VoteReply) -> Result<Self, FormatError> {
        let vote: Vote = required(message.vote, "VoteReply", "vote")?;
        Ok(Self::new(vote, optional(message.last_log)?, message.granted))
    }
}

/// A snapshot's description, with the size and checksum of the file that it describes.
pub(crate) fn snapshot_meta(meta: &SnapshotMeta, file: &SnapshotFile) -> internal::SnapshotMeta {
    internal::SnapshotMeta { size: file.size(), crc32c: file.crc32c(), ..bare_snapshot_meta(meta) }
}

/// Without size and checksum: as it is written inside the file itself.
pub(crate) fn bare_snapshot_meta(meta: &SnapshotMeta) -> internal::SnapshotMeta {
    internal::SnapshotMeta {
        last_log: meta.last_log_id.as_ref().map(Wire::to_wire),
        membership: Some(meta.last_membership.to_wire()),
        id: meta.snapshot_id.clone(),
        size: 0,
        crc32c: 0,
    }
}

/// Reads a snapshot's description; size and checksum stay in the message.
///
/// # Errors
/// A field that is missing or wrong.
pub(crate) fn read_snapshot_meta(message: internal::SnapshotMeta) -> Result<SnapshotMeta, FormatError> {
    Ok(SnapshotMeta {
        last_log_id: optional(message.last_log)?,
        last_membership: required(message.membership, "SnapshotMeta", "membership")?,
        snapshot_id: message.id,
    })
}

/// A length as a number that fits everywhere.
pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Reads a message that may be absent.
///
/// # Errors
/// What the message's own conversion refuses.
pub(crate) fn optional<T: Wire>(message: Option<T::Message>) -> Result<Option<T>, FormatError> {
    message.map(T::from_wire).transpose()
}

/// Reads a message that must be there.
///
/// # Errors
/// [`FormatError::Field`] where it is not, and what the message's own conversion refuses.
pub(crate) fn required<T: Wire>(
    message: Option<T::Message>,
    what: &'static str,
    field: &'static str,
) -> Result<T, FormatError> {
    T::from_wire(message.ok_or_else(|| wrong(what, field))?)
}

const fn wrong(what: &'static str, field: &'static str) -> FormatError {
    FormatError::Field { what, field }
}

#[cfg(test)]
mod tests;
