//! The state machine: the catalog, and what entries do to it.
//!
//! Applying is total: every entry was decoded when it was read from the log, `Catalog::apply` answers a broken rule with
//! an outcome, and nothing here indexes, unwraps or depends on a clock. The only thing that can fail is the disk, and
//! then the state in memory stays what it was and the node stops.
//!
//! The effects of a batch, the last applied id and the membership are one write. It is ordered, not synced: the entries
//! themselves are synced in the log, so a power cut that takes the effects takes the applied id with them, and the same
//! entries are applied again. A purge is a later synced write, so no entry goes before its effects are on disk.

use std::sync::{Arc, Mutex, PoisonError};

use onrush_catalog::Catalog;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, storage::RaftStateMachine};
use tokio::sync::watch;
use tracing::error;

use super::{
    disk::{Change, Disk, Safety},
    error::Fault,
    log::any,
    rows::State,
    snapshot,
    work::Worker,
};
use crate::types::{
    BatchReply, Entry, LogId, Snapshot, SnapshotFile, SnapshotMeta, StorageError, StorageIOError, StoredMembership,
    TypeConfig,
};

/// Applies entries to the catalog and publishes it.
#[derive(Debug)]
pub struct StateMachine {
    disk: Disk,
    writer: Worker,
    builder: Worker,
    slot: Arc<Slot>,
    state: State,
    max_snapshot: u64,
    catalog: watch::Sender<Arc<Catalog>>,
    applied: watch::Sender<u64>,
}

/// Builds a snapshot of one state while others are applied.
#[derive(Debug)]
pub struct SnapshotBuilder {
    disk: Disk,
    worker: Worker,
    slot: Arc<Slot>,
    state: State,
}

/// The one snapshot that is kept: up to where it reaches.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<Option<LogId>>);

impl Slot {
    pub(crate) fn holding(last: Option<LogId>) -> Self {
        Self(Mutex::new(last))
    }

    /// Keeps a snapshot, unless a newer one is there already. Blocks on the disk.
    pub(crate) fn keep(&self, disk: &Disk, last: Option<LogId>, file: &SnapshotFile) -> Result<(), Fault> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last >= *held {
            disk.files.replace_snapshot(file.bytes())?;
            *held = last;
        }
        Ok(())
    }
}

impl StateMachine {
    pub(crate) fn new(
        disk: Disk,
        (writer, builder): (Worker, Worker),
        state: State,
        snapshot: Option<LogId>,
        max_snapshot: u64,
    ) -> Self {
        let catalog = watch::Sender::new(Arc::clone(&state.catalog));
        let applied = watch::Sender::new(state.applied.map_or(0, |id| id.index));
        let slot = Arc::new(Slot::holding(snapshot));
        Self { disk, writer, builder, slot, state, max_snapshot, catalog, applied }
    }

    pub(crate) fn watch_catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    pub(crate) fn watch_applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Makes a state the one that everybody sees: first the catalog, then how far it is.
    fn show(&mut self, state: State) {
        if !Arc::ptr_eq(&self.state.catalog, &state.catalog) {
            self.catalog.send_replace(Arc::clone(&state.catalog));
        }
        self.applied.send_replace(state.applied.map_or(0, |id| id.index));
        self.state = state;
    }

    fn snapshot_builder(&self) -> SnapshotBuilder {
        let (disk, worker) = (self.disk.clone(), self.builder.clone());
        SnapshotBuilder { disk, worker, slot: Arc::clone(&self.slot), state: self.state.clone() }
    }
}

/// What entries make of a state, the answers to them and the rows that change.
pub(crate) fn step(state: &State, entries: &[Entry]) -> (State, Vec<BatchReply>, Vec<Change>) {
    let mut next = state.clone();
    let mut replies = Vec::with_capacity(entries.len());
    for entry in entries {
        let reply = match &entry.payload {
            EntryPayload::Blank => BatchReply::default(),
            EntryPayload::Membership(membership) => {
                next.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                BatchReply::default()
            }
            EntryPayload::Normal(batch) => {
                let catalog = Arc::make_mut(&mut next.catalog);
                let mut answers = Vec::with_capacity(batch.0.len());
                for proposal in &batch.0 {
                    let before = catalog.request_order.len();
                    let known = catalog.requests.contains_key(&proposal.request);
                    answers.push(catalog.apply(proposal));
                    let remembered = u64::from(!known);
                    let forgotten = (before + usize::from(!known)).saturating_sub(catalog.request_order.len());
                    next.requests.end += remembered;
                    next.requests.start += u64::try_from(forgotten).unwrap_or(u64::MAX);
                }
                BatchReply(answers)
            }
        };
        next.applied = Some(entry.log_id);
        replies.push(reply);
    }
    let changes = next.changes_since(state);
    (next, replies, changes)
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.state.applied, self.state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<BatchReply>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let (state, disk) = (self.state.clone(), self.disk.clone());
        let apply = move || {
            let (next, replies, changes) = step(&state, &entries);
            disk.rows.write(changes, Safety::Ordered)?;
            Ok((next, replies))
        };
        let applied = self.writer.run(apply).await;
        let (next, replies) = applied.map_err(|fault| StorageIOError::write_state_machine(any(fault)))?;
        self.show(next);
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.snapshot_builder()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError> {
        Ok(Box::default())
    }

    /// The file first, then all rows in one batch. A crash in between is finished at the next start, because the file
    /// is then ahead of the rows.
    async fn install_snapshot(&mut self, meta: &SnapshotMeta, file: Box<SnapshotFile>) -> Result<(), StorageError> {
        let (disk, slot, expected) = (self.disk.clone(), Arc::clone(&self.slot), meta.clone());
        let max_snapshot = self.max_snapshot;
        let install = move || {
            if file.size() > max_snapshot {
                return Err(Fault::damaged(format!("the snapshot has more than {max_snapshot} bytes (max-snapshot)")));
            }
            let (own, catalog) = snapshot::decode(&file)?;
            if own.last_log_id != expected.last_log_id || own.last_membership != expected.last_membership {
                return Err(Fault::damaged("the snapshot is another one than its sender says"));
            }
            slot.keep(&disk, own.last_log_id, &file)?;
            let state = State::restored(catalog, own.last_log_id, own.last_membership);
            disk.rows.write(state.replace_all(), Safety::Synced)?;
            Ok(state)
        };
        let installed = self.writer.run(install).await;
        let signature = Some(meta.signature());
        self.show(installed.map_err(|fault| StorageIOError::write_snapshot(signature, any(fault)))?);
        tracing::info!(upto = ?meta.last_log_id, "installed a snapshot from the leader: the log there begins later");
        Ok(())
    }

    /// A damaged file is no reason to stop: the same state is in the rows, so another one is built.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let disk = self.disk.clone();
        let read = move || {
            let Some(bytes) = disk.files.read_snapshot()? else { return Ok(None) };
            let file = SnapshotFile::new(bytes);
            Ok(Some((snapshot::describe(&file), file)))
        };
        let found = self.builder.run(read).await;
        match found.map_err(|fault| StorageIOError::read_snapshot(None, any(fault)))? {
            None => Ok(None),
            Some((Ok(meta), file)) => Ok(Some(Snapshot { meta, snapshot: Box::new(file) })),
            Some((Err(damage), _)) => {
                error!(%damage, "the stored snapshot is damaged; building another one. Check this node's disk");
                self.snapshot_builder().build_snapshot().await.map(Some)
            }
        }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let (disk, slot, state) = (self.disk.clone(), Arc::clone(&self.slot), self.state.clone());
        let build = move || {
            let (meta, file) = snapshot::encode(&state.catalog, state.applied, &state.membership);
            slot.keep(&disk, state.applied, &file)?;
            Ok((meta, file))
        };
        let built = self.worker.run(build).await;
        let (meta, file) =
            built.map_err(|fault| StorageIOError::write_snapshot(None, AnyError::new(&fault.into_io())))?;
        Ok(Snapshot { meta, snapshot: Box::new(file) })
    }
}
