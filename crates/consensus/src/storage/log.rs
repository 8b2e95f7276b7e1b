//! The log and the vote. One thread does all their writes, each of them one synced batch, so vote and entries reach the
//! disk in the order in which Raft wrote them.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
};

use onrush_proto::{
    catalog::{decode_stored, encode_stored},
    internal,
};
use openraft::{
    AnyError, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader,
    storage::{LogFlushed, RaftLogStorage},
};

use super::{
    chain::{self, Link},
    disk::{Change, Disk, Safety, Table},
    error::Fault,
    watermark::Watermark,
    work::Worker,
};
use crate::{
    convert::{Wire, count},
    types::{Entry, LogId, StorageError, StorageIOError, TypeConfig, Vote},
};

pub(crate) const VOTE: &[u8] = b"vote";
pub(crate) const COMMITTED: &[u8] = b"committed";
pub(crate) const PURGED: &[u8] = b"purged";

/// Reads the log. Several may read at once.
#[derive(Debug, Clone)]
pub struct LogReader {
    disk: Disk,
    worker: Worker,
    max_read: u64,
}

/// Writes the log and the vote.
#[derive(Debug)]
pub struct LogStore {
    disk: Disk,
    writer: Worker,
    reader: LogReader,
    known: Known,
}

/// What is on disk, so that nobody has to read it again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    /// The last entry, or the last purged one where there is none.
    pub(crate) last: Option<LogId>,
    pub(crate) link: Link,
    /// How many watermarks were written.
    pub(crate) marks: u64,
}

impl Known {
    /// The watermark that says what is known.
    pub(crate) fn next_mark(&mut self) -> Watermark {
        self.marks += 1;
        Watermark { count: self.marks, vote: self.vote, last: self.last }
    }
}

impl LogStore {
    pub(crate) fn new(disk: Disk, writer: Worker, readers: Worker, max_read: u64, known: Known) -> Self {
        let reader = LogReader { disk: disk.clone(), worker: readers, max_read };
        Self { disk, writer, reader, known }
    }

    /// Writes `changes`, synced, then the watermark of `next`; only then is `next` what is known.
    async fn write(&mut self, changes: Vec<Change>, mut next: Known) -> Result<(), Fault> {
        let mark = next.next_mark();
        let disk = self.disk.clone();
        let write = move || {
            disk.rows.write(changes, Safety::Synced)?;
            Ok(disk.files.write_watermark(&mark, Safety::Ordered)?)
        };
        self.writer.run(write).await?;
        self.known = next;
        Ok(())
    }

    async fn append_all(&mut self, entries: Vec<Entry>) -> Result<(), Fault> {
        let mut next = self.known.clone();
        let disk = self.disk.clone();
        let write = move || {
            let mut changes = Vec::with_capacity(entries.len());
            for entry in &entries {
                let (row, link) = chain::encode(entry, next.link);
                changes.push(Change::Put(Table::Log, chain::key(entry.log_id.index), row));
                (next.last, next.link) = (Some(entry.log_id), link);
            }
            let mark = next.next_mark();
            disk.rows.write(changes, Safety::Synced)?;
            disk.files.write_watermark(&mark, Safety::Ordered)?;
            Ok(next)
        };
        self.known = self.writer.run(write).await?;
        Ok(())
    }

    async fn truncate_from(&mut self, index: u64) -> Result<(), Fault> {
        let mut next = self.known.clone();
        let disk = self.disk.clone();
        let write = move || {
            let before = match index.checked_sub(1).map(chain::key) {
                Some(key) => disk.rows.get(Table::Log, &key)?.map(|row| chain::decode(&key, &row)).transpose()?,
                None => None,
            };
            let kept = before.map(|row| (Some(row.entry.log_id), row.link));
            (next.last, next.link) = kept.unwrap_or((next.purged, Link::default()));
            // First lower the mark: a crash in between must not look like a loss.
            disk.files.write_watermark(&next.next_mark(), Safety::Synced)?;
            let range = Change::DeleteRange(Table::Log, chain::key(index), chain::end());
            disk.rows.write(vec![range], Safety::Synced)?;
            Ok(next)
        };
        self.known = self.writer.run(write).await?;
        Ok(())
    }
}

impl LogReader {
    async fn read(&self, from: u64, to: u64, max_bytes: u64) -> Result<Vec<Entry>, StorageError> {
        let disk = self.disk.clone();
        let read = move || {
            let (mut entries, mut bytes) = (Vec::new(), 0_u64);
            disk.rows.scan(Table::Log, &chain::key(from), &mut |key, row| {
                if key >= chain::key(to).as_slice() || (bytes > 0 && bytes + count(row.len()) > max_bytes) {
                    return Ok(false);
                }
                bytes += count(row.len());
                entries.push(chain::decode(key, row)?.entry);
                Ok(true)
            })?;
            Ok(entries)
        };
        let read = self.worker.run(read).await;
        read.map_err(|fault| StorageIOError::read_log_at_index(from, any(fault)).into())
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let (from, to) = half_open(&range);
        self.read(from, to, u64::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let entries = self.read(start, end, self.max_read).await?;
        if entries.is_empty() && start < end {
            let why = AnyError::error(format!("log entries {start}..{end} are not here"));
            return Err(StorageIOError::read_log_at_index(start, why).into());
        }
        Ok(entries)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        self.reader.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.reader.limited_get_log_entries(start, end).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        Ok(LogState { last_purged_log_id: self.known.purged, last_log_id: self.known.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let next = Known { vote: Some(*vote), ..self.known.clone() };
        let row = Change::Put(Table::Meta, VOTE.to_vec(), encode_stored(&vote.to_wire()));
        self.write(vec![row], next).await.map_err(|fault| StorageIOError::write_vote(any(fault)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.known.vote)
    }

    /// Only a hint for the next start, so it waits for no disk. It cannot be on disk before the entries it speaks of.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let Some(id) = committed else { return Ok(()) };
        let row = Change::Put(Table::Meta, COMMITTED.to_vec(), encode_stored(&id.to_wire()));
        let disk = self.disk.clone();
        let write = self.writer.run(move || Ok(disk.rows.write(vec![row], Safety::Ordered)?)).await;
        write.map_err(|fault| StorageIOError::write(any(fault)))?;
        self.known.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.known.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        match self.append_all(entries.into_iter().collect()).await {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(fault) => {
                let error = fault.into_io();
                callback.log_io_completed(Err(io::Error::new(error.kind(), error.to_string())));
                Err(StorageIOError::write_logs(AnyError::new(&error)).into())
            }
        }
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let done = self.truncate_from(log_id.index).await;
        done.map_err(|fault| StorageError::from_io_error(ErrorSubject::Log(log_id), ErrorVerb::Delete, fault.into_io()))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let mut next = Known { purged: Some(log_id), ..self.known.clone() };
        if next.last.is_none_or(|last| last.index <= log_id.index) {
            (next.last, next.link) = (Some(log_id), Link::default());
        }
        let first = log_id.index.saturating_add(1);
        let changes = vec![
            Change::DeleteRange(Table::Log, chain::key(0), chain::key(first)),
            Change::Put(Table::Meta, PURGED.to_vec(), encode_stored(&log_id.to_wire())),
        ];
        let done = self.write(changes, next).await;
        done.map_err(|fault| StorageError::from_io_error(ErrorSubject::Log(log_id), ErrorVerb::Delete, fault.into_io()))
    }
}

/// Reads one of the ids in the meta table.
pub(crate) fn read_id(disk: &Disk, key: &[u8]) -> Result<Option<LogId>, Fault> {
    let row = disk.rows.get(Table::Meta, key)?;
    row.map(|row| Ok(LogId::from_wire(decode_stored("LogId", &row)?)?)).transpose()
}

/// Reads the vote.
pub(crate) fn read_vote(disk: &Disk) -> Result<Option<Vote>, Fault> {
    let row = disk.rows.get(Table::Meta, VOTE)?;
    row.map(|row| Ok(Vote::from_wire(decode_stored::<internal::Ballot>("Ballot", &row)?)?)).transpose()
}

pub(crate) fn any(fault: Fault) -> AnyError {
    AnyError::new(&fault.into_io())
}

fn half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}
