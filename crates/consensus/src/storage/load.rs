//! What is found at start: checked, rolled forward where a crash interrupted an install, or refused.

use tracing::{error, info, warn};

use super::{
    Config, Storage, chain,
    disk::{Change, Disk, Safety, Table},
    error::Fault,
    log::{COMMITTED, Known, LogStore, PURGED, read_id, read_vote},
    machine::StateMachine,
    rows::State,
    snapshot,
    work::Worker,
};
use crate::types::{LogId, SnapshotFile};

const OPENED: &[u8] = b"opened";

/// Who does the work of a store.
pub(crate) struct Workers {
    pub(crate) log: Worker,
    pub(crate) catalog: Worker,
    pub(crate) snapshot: Worker,
    pub(crate) reads: Worker,
}

/// Reads and checks everything, and makes the stores. Blocks on the disk.
pub(crate) fn load(disk: Disk, workers: Workers, config: &Config) -> Result<Storage, Fault> {
    let mut known = read_log(&disk)?;
    let (state, snapshot) = read_state(&disk, &known)?;
    check_reach(&known, state.applied, snapshot)?;
    settle(&disk, &mut known)?;
    info!(
        last = known.last.map(|id| id.index),
        applied = state.applied.map(|id| id.index),
        revision = state.catalog.revision.0,
        "opened the catalog"
    );
    let log = LogStore::new(disk.clone(), workers.log, workers.reads, config.max_read.as_u64(), known);
    let max_snapshot = config.max_snapshot.as_u64();
    let machine = StateMachine::new(disk, (workers.catalog, workers.snapshot), state, snapshot, max_snapshot);
    let (catalog, applied) = (machine.watch_catalog(), machine.watch_applied());
    Ok(Storage { log, machine, catalog, applied })
}

fn read_log(disk: &Disk) -> Result<Known, Fault> {
    let purged = read_id(disk, PURGED)?;
    let (last, link) = chain::check(disk, purged)?;
    let mut known =
        Known { vote: read_vote(disk)?, committed: read_id(disk, COMMITTED)?, purged, last, link, marks: 0 };
    match disk.files.read_watermark()? {
        Some(mark) => {
            if known.last.map(|id| id.index) < mark.last.map(|id| id.index) {
                return Err(Fault::damaged(format!(
                    "its log ends with {}, but it had reached {}",
                    name(known.last),
                    name(mark.last)
                )));
            }
            // Votes of one node are ordered; it never goes back to an older one.
            if known.vote < mark.vote {
                return Err(Fault::damaged("its vote is older than one that it had given"));
            }
            known.marks = mark.count;
        }
        None if known.vote.is_some() => warn!("no watermark; a loss at the end of the log would not be noticed now"),
        None => {}
    }
    Ok(known)
}

/// The catalog as the rows have it, or as a snapshot has it whose install was interrupted.
fn read_state(disk: &Disk, known: &Known) -> Result<(State, Option<LogId>), Fault> {
    let state = State::load(disk)?;
    let Some(bytes) = disk.files.read_snapshot()? else { return Ok((state, None)) };
    let file = SnapshotFile::new(bytes);
    match snapshot::decode(&file) {
        Ok((meta, catalog)) if meta.last_log_id > state.applied => {
            info!(upto = %name(meta.last_log_id), "finishing the install of a snapshot");
            let state = State::restored(catalog, meta.last_log_id, meta.last_membership);
            disk.rows.write(state.replace_all(), Safety::Synced)?;
            Ok((state, meta.last_log_id))
        }
        // The log begins behind it, so it can bring nobody up to date any more. openraft builds another one.
        Ok((meta, _)) if meta.last_log_id < known.purged => {
            warn!(upto = %name(meta.last_log_id), "the stored snapshot is older than the log's beginning; set aside");
            disk.files.set_snapshot_aside()?;
            Ok((state, None))
        }
        Ok((meta, _)) => Ok((state, meta.last_log_id)),
        Err(damage) => {
            error!(%damage, "the stored snapshot is damaged and set aside; the rows hold its state. Check the disk");
            disk.files.set_snapshot_aside()?;
            Ok((state, None))
        }
    }
}

/// What was applied must be explained by the log or by a snapshot, and must reach what was purged.
fn check_reach(known: &Known, applied: Option<LogId>, snapshot: Option<LogId>) -> Result<(), Fault> {
    if applied < known.purged {
        let why = format!("its catalog ends with {}, its log begins behind {}", name(applied), name(known.purged));
        return Err(Fault::damaged(why));
    }
    if applied > known.last.max(snapshot) {
        let why = format!("its catalog has {} applied, but its log ends with {}", name(applied), name(known.last));
        return Err(Fault::damaged(why));
    }
    Ok(())
}

/// One synced write: all that was recovered is on disk from here on, before anybody hears of it.
fn settle(disk: &Disk, known: &mut Known) -> Result<(), Fault> {
    let row = Change::Put(Table::Meta, OPENED.to_vec(), known.marks.to_be_bytes().to_vec());
    disk.rows.write(vec![row], Safety::Synced)?;
    Ok(disk.files.write_watermark(&known.next_mark(), Safety::Synced)?)
}

fn name(id: Option<LogId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| format!("entry {} of term {}", id.index, id.leader_id.term))
}
