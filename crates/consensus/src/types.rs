//! openraft with our types filled in, so that nobody else writes its generics.

use std::fmt;

use bytes::Bytes;
use onrush_catalog::{Committed, Proposal};

use crate::convert;

openraft::declare_raft_types!(
    /// What openraft agrees on here, and in which types.
    pub TypeConfig:
        D = Batch,
        R = BatchReply,
        NodeId = u64,
        Node = openraft::EmptyNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = SnapshotFile,
        AsyncRuntime = openraft::TokioRuntime,
);

/// Proposals that share one entry of the log, and so one fsync.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch(pub Vec<Proposal>);

/// What an entry did: one answer per proposal, in their order. Empty for entries that carry none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchReply(pub Vec<Committed>);

/// A snapshot's bytes as they lie on disk and travel: self-contained, with its own checksum inside.
///
/// In memory, because the catalog is in memory as well; whoever receives one from the network must bound it by
/// [`storage::Config::max_snapshot`](crate::storage::Config::max_snapshot).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SnapshotFile(Bytes);

impl SnapshotFile {
    /// Bytes that came from a peer. They are verified when they are installed.
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// All of it; slices share the memory.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        convert::count(self.0.len())
    }

    /// The checksum of all of it, to detect a damaged transfer.
    pub fn crc32c(&self) -> u32 {
        crc32c::crc32c(&self.0)
    }
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotFile({} bytes)", self.0.len())
    }
}

/// The Raft node.
pub(crate) type Raft = openraft::Raft<TypeConfig>;
/// A position in the log and who put an entry there.
pub(crate) type LogId = openraft::LogId<u64>;
/// Who put an entry there.
pub(crate) type LeaderId = openraft::CommittedLeaderId<u64>;
/// A vote.
pub(crate) type Vote = openraft::Vote<u64>;
/// An entry of the log.
pub(crate) type Entry = openraft::Entry<TypeConfig>;
/// What an entry carries.
pub(crate) type EntryPayload = openraft::EntryPayload<TypeConfig>;
/// Voters and learners.
pub(crate) type Membership = openraft::Membership<u64, openraft::EmptyNode>;
/// A membership and the entry that made it.
pub(crate) type StoredMembership = openraft::StoredMembership<u64, openraft::EmptyNode>;
/// What a snapshot says of itself.
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, openraft::EmptyNode>;
/// A snapshot.
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
/// A failing store.
pub(crate) type StorageError = openraft::StorageError<u64>;
/// A failing store, in detail.
pub(crate) type StorageIOError = openraft::StorageIOError<u64>;
/// What Raft says of itself.
pub(crate) type Metrics = openraft::RaftMetrics<u64, openraft::EmptyNode>;
/// A request to append entries.
pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
/// Its answer.
pub(crate) type AppendReply = openraft::raft::AppendEntriesResponse<u64>;
/// A request for a vote.
pub(crate) type VoteRequest = openraft::raft::VoteRequest<u64>;
/// Its answer.
pub(crate) type VoteReply = openraft::raft::VoteResponse<u64>;
