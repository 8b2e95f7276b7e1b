//! The seam to the disk: rows, one snapshot, one watermark. RocksDB and plain files stand behind it, or memory.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;

use super::{error::Fault, watermark::Watermark};

/// Where a row belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// Entries by index.
    Log,
    /// The vote, the last committed and the last purged id.
    Meta,
    /// The catalog with what was applied to it.
    Catalog,
}

/// One change of one row, or of a range of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Table, Vec<u8>, Vec<u8>),
    Delete(Table, Vec<u8>),
    /// From the first key to the last one, without the last one.
    DeleteRange(Table, Vec<u8>, Vec<u8>),
}

/// Whether a write must be on disk when it returns, or only in the order of writes. What is ordered is on disk at the
/// latest when the next synced write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Safety {
    Synced,
    Ordered,
}

/// Sees rows one by one; `false` ends the scan.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, Fault>;

/// Rows in tables, ordered by key.
pub(crate) trait Rows: Send + Sync {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// From `from` on, upwards.
    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<(), Fault>;
    /// All changes or none of them, after all writes before it.
    fn write(&self, changes: Vec<Change>, safety: Safety) -> io::Result<()>;
}

/// What is kept beside the rows.
pub(crate) trait Files: Send + Sync {
    fn read_snapshot(&self) -> io::Result<Option<Bytes>>;
    /// Puts another snapshot into the place of the one that is there; a crash leaves either of them whole.
    fn replace_snapshot(&self, snapshot: &Bytes) -> io::Result<()>;
    /// Puts a damaged snapshot away, for whoever wants to look at it.
    fn set_snapshot_aside(&self) -> io::Result<()>;
    fn read_watermark(&self) -> io::Result<Option<Watermark>>;
    fn write_watermark(&self, mark: &Watermark, safety: Safety) -> io::Result<()>;
}

/// A disk.
#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) rows: Arc<dyn Rows>,
    pub(crate) files: Arc<dyn Files>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}
