//! How the store behaves.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// How the store behaves. The defaults suit a control plane: little data, synced writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What one write buffer of the database may hold before it is flushed, in bytes.
    pub write_buffer: ByteSize,
    /// What all write buffers together may hold, in bytes.
    pub write_buffers_total: ByteSize,
    /// The cache of blocks read from disk, in bytes.
    pub block_cache: ByteSize,
    /// What the write-ahead log may hold before old parts are flushed away, in bytes.
    pub wal_total: ByteSize,
    /// Table files kept open at once.
    pub open_files: u32,
    /// The largest snapshot taken from a peer, in bytes. A larger catalog cannot bring a new node up to date.
    pub max_snapshot: ByteSize,
    /// What one read of the log returns at most, in bytes; the first entry is returned whatever its size.
    pub max_read: ByteSize,
    /// How long to wait for another process to let go of the data directory.
    #[serde(with = "humantime_serde")]
    pub lock_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            write_buffer: ByteSize::mib(16),
            write_buffers_total: ByteSize::mib(32),
            block_cache: ByteSize::mib(16),
            wal_total: ByteSize::mib(64),
            open_files: 256,
            max_snapshot: ByteSize::gib(1),
            max_read: ByteSize::mib(2),
            lock_wait: Duration::from_secs(2),
        }
    }
}
