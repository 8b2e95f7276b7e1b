//! Where the log, the vote, the catalog and its snapshot are kept.
//!
//! Knows: what must be on disk before what, and how to find out that a disk lies.
//! Does not know: who leads, how peers are reached.
//!
//! [`open`] keeps it all in RocksDB; `memory::open` (feature `test-util`) models the same disk in memory.
mod chain; // log rows: checksums, and the check of the whole chain
mod config;
mod disk; // the seam: rows, one blob, one watermark
mod error;
#[cfg(feature = "rocksdb")]
mod files; // the snapshot and the watermark as files
mod load; // what is found at start: checked, refused or rolled forward
mod log; // openraft's log over the seam
mod machine; // openraft's state machine over the seam
#[cfg(any(test, feature = "test-util"))]
pub mod memory;
#[cfg(feature = "rocksdb")]
mod rocks; // the seam on RocksDB and files
mod rows; // the catalog as rows, and what changed between two catalogs
mod snapshot; // the snapshot's format
mod watermark; // how far the log must reach
mod work; // the threads that may block

use std::sync::Arc;

use onrush_catalog::Catalog;
use tokio::sync::watch;

#[cfg(feature = "rocksdb")]
pub use self::rocks::open;
pub use self::{
    config::Config,
    error::OpenError,
    log::{LogReader, LogStore},
    machine::{SnapshotBuilder, StateMachine},
};

/// Everything that a node keeps of the agreement. The directory is free again when all parts are dropped.
#[derive(Debug)]
pub struct Storage {
    /// The log and the vote.
    pub log: LogStore,
    /// The catalog.
    pub machine: StateMachine,
    /// The newest catalog that was applied; wakes on every change.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// The index of the last entry that was applied; 0 before the first. Wakes after `catalog` shows its effects.
    pub applied: watch::Receiver<u64>,
}

#[cfg(test)]
mod tests;
