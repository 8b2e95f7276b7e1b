//! A disk in memory: the same stores over the same rows, without threads and without RocksDB. For tests and simulation.
//!
//! It keeps what was synced and what was only ordered apart, so that a power cut can be played.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    Config, OpenError, Storage,
    disk::{Change, Disk, Files, Rows, Safety, Table, Visit},
    error::Fault,
    load::{Workers, load},
    watermark::Watermark,
    work::Worker,
};

type Tables = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// A disk that outlives the stores on it. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    now: Kept,
    /// What is left after a power cut.
    synced: Kept,
    /// How many writes still succeed; none means all of them.
    writes_left: Option<u64>,
}

impl Content {
    fn take_write(&mut self) -> io::Result<()> {
        match &mut self.writes_left {
            Some(0) => return Err(io::Error::other("this disk was told to fail")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Default)]
struct Kept {
    tables: Tables,
    snapshot: Option<Bytes>,
    mark: Option<Watermark>,
}

impl MemoryDisk {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was not synced. Stores that are open on it must be dropped.
    pub fn cut_power(&self) {
        let mut content = self.lock();
        content.now = content.synced.clone();
    }

    /// Lets so many writes succeed and every later one fail; `None` lets all succeed again.
    pub fn fail_after(&self, writes: Option<u64>) {
        self.lock().writes_left = writes;
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Kept), safety: Safety) -> io::Result<()> {
        let mut content = self.lock();
        content.take_write()?;
        change(&mut content.now);
        if safety == Safety::Synced {
            content.synced = content.now.clone();
        }
        Ok(())
    }
}

/// Opens the stores on a disk in memory.
///
/// # Errors
/// As for a real disk; the directory is then called `memory`.
pub fn open(disk: &MemoryDisk, config: &Config) -> Result<Storage, OpenError> {
    let disk = Disk { rows: Arc::new(disk.clone()), files: Arc::new(disk.clone()) };
    let workers =
        Workers { log: Worker::Caller, catalog: Worker::Caller, snapshot: Worker::Caller, reads: Worker::Caller };
    load(disk, workers, config).map_err(|fault| fault.at("memory".into()))
}

impl Rows for MemoryDisk {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().now.tables.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        let content = self.lock();
        for ((_, key), row) in content.now.tables.range((table, from.to_vec())..).take_while(|((t, _), _)| *t == table)
        {
            if !visit(key, row)? {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, changes: Vec<Change>, safety: Safety) -> io::Result<()> {
        let apply = |kept: &mut Kept| {
            for change in changes {
                match change {
                    Change::Put(table, key, row) => drop(kept.tables.insert((table, key), row)),
                    Change::Delete(table, key) => drop(kept.tables.remove(&(table, key))),
                    Change::DeleteRange(table, from, to) => {
                        let (from, to) = ((table, from), (table, to));
                        kept.tables.retain(|key, _| *key < from || *key >= to);
                    }
                }
            }
        };
        self.change(apply, safety)
    }
}

impl Files for MemoryDisk {
    fn read_snapshot(&self) -> io::Result<Option<Bytes>> {
        Ok(self.lock().now.snapshot.clone())
    }

    fn replace_snapshot(&self, snapshot: &Bytes) -> io::Result<()> {
        // A file of its own: it is synced alone, whatever the rows' state is.
        let mut content = self.lock();
        content.take_write()?;
        content.now.snapshot = Some(snapshot.clone());
        content.synced.snapshot = Some(snapshot.clone());
        Ok(())
    }

    fn set_snapshot_aside(&self) -> io::Result<()> {
        let mut content = self.lock();
        content.now.snapshot = None;
        content.synced.snapshot = None;
        Ok(())
    }

    fn read_watermark(&self) -> io::Result<Option<Watermark>> {
        Ok(self.lock().now.mark.clone())
    }

    fn write_watermark(&self, mark: &Watermark, safety: Safety) -> io::Result<()> {
        let mut content = self.lock();
        content.take_write()?;
        content.now.mark = Some(mark.clone());
        if safety == Safety::Synced {
            content.synced.mark = Some(mark.clone());
        }
        Ok(())
    }
}
