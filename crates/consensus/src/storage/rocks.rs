//! The disk on RocksDB, with two plain files beside it.
//!
//! A directory holds `FORMAT` (who wrote this), `db/`, `snapshot` and `watermark`, and nothing of anybody else.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Direction, ErrorKind,
    IteratorMode, LogLevel, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::{
    Config, OpenError, Storage,
    disk::{Change, Disk, Rows, Safety, Table, Visit},
    error::Fault,
    files::{Folder, write_atomically},
    load::{Workers, load},
    work::Worker,
};

/// The layout of the directory; what is inside rows has versions of its own.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "FORMAT";
const TITLE: &str = "onrush catalog, format ";
const TABLES: [Table; 3] = [Table::Log, Table::Meta, Table::Catalog];
/// How often a directory that is in use is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Opens the stores in a directory of their own, which is made where there is none. Blocks on the disk, and up to
/// [`Config::lock_wait`] on another process that has it open.
///
/// # Errors
/// The directory is in use, is not ours, cannot be read, comes from a newer program, or is damaged; each says what to do.
pub fn open(dir: &Path, config: &Config) -> Result<Storage, OpenError> {
    let at = |fault: Fault| fault.at(dir.to_owned());
    claim(dir)?;
    let rows = open_rows(dir, config)?;
    let folder = Folder::open(dir).map_err(|error| at(error.into()))?;
    let disk = Disk { rows: Arc::new(rows), files: Arc::new(folder) };
    let workers = Workers::threads().map_err(|error| at(error.into()))?;
    load(disk, workers, config).map_err(at)
}

impl Workers {
    fn threads() -> io::Result<Self> {
        Ok(Self {
            log: Worker::thread("raft-log")?,
            catalog: Worker::thread("raft-catalog")?,
            snapshot: Worker::thread("raft-snapshot")?,
            reads: Worker::Pool,
        })
    }
}

/// Makes sure that the directory is ours, or makes it so where it is empty.
fn claim(dir: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { dir: dir.to_owned(), source };
    let not_ours = |why: String| OpenError::NotOurs { dir: dir.to_owned(), why };
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => return Err(not_ours("it is no directory".to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(dir).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    }
    match fs::read_to_string(dir.join(FORMAT_FILE)) {
        Ok(text) => {
            let found = text.trim().strip_prefix(TITLE).and_then(|number| number.parse::<u32>().ok());
            match found {
                Some(FORMAT) => Ok(()),
                Some(found) if found > FORMAT => Err(OpenError::Newer { dir: dir.to_owned(), found, known: FORMAT }),
                Some(_) | None => Err(not_ours(format!("its file {FORMAT_FILE} is another program's"))),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A crash may leave the half-written file of the first start.
            let ours = |name: &OsStr| name.to_str().is_some_and(|name| name == format!("{FORMAT_FILE}.new"));
            for entry in fs::read_dir(dir).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                if !ours(&name) {
                    return Err(not_ours(format!("it has no file {FORMAT_FILE}, but {name:?}")));
                }
            }
            write_atomically(dir, FORMAT_FILE, format!("{TITLE}{FORMAT}\n").as_bytes()).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(not_ours(format!("its file {FORMAT_FILE} is another program's")))
        }
        Err(error) => Err(failed(error)),
    }
}

struct Rocks {
    db: DB,
}

impl Table {
    const fn family(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Meta => "meta",
            Self::Catalog => "catalog",
        }
    }
}

fn open_rows(dir: &Path, config: &Config) -> Result<Rocks, OpenError> {
    let path = dir.join("db");
    let mut waited = Duration::ZERO;
    loop {
        let error = match try_open(&path, config) {
            Ok(db) => return Ok(Rocks { db }),
            Err(error) => error,
        };
        if !is_locked(&error) {
            return Err(classify(&error, dir));
        }
        if waited >= config.lock_wait {
            return Err(OpenError::InUse { dir: dir.to_owned() });
        }
        thread::sleep(LOCK_RETRY);
        waited += LOCK_RETRY;
    }
}

fn try_open(path: &Path, config: &Config) -> Result<DB, rocksdb::Error> {
    let cache = Cache::new_lru_cache(size(config.block_cache.as_u64()));
    let families = TABLES.map(|table| {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&cache);
        blocks.set_cache_index_and_filter_blocks(true);
        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        options.set_write_buffer_size(size(config.write_buffer.as_u64()));
        options.set_max_write_buffer_number(2);
        options.set_compression_type(DBCompressionType::Lz4);
        ColumnFamilyDescriptor::new(table.family(), options)
    });
    DB::open_cf_descriptors(&database_options(config), path, families)
}

fn database_options(config: &Config) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    // A torn end is what a power cut leaves; anything else that does not read back is refused.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_db_write_buffer_size(size(config.write_buffers_total.as_u64()));
    options.set_max_total_wal_size(config.wal_total.as_u64());
    options.set_max_open_files(i32::try_from(config.open_files).unwrap_or(i32::MAX));
    options.set_max_background_jobs(2);
    options.set_max_manifest_file_size(4 << 20);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// RocksDB says it only in words. Both a lock of another process and one of this process name the file `LOCK`.
fn is_locked(error: &rocksdb::Error) -> bool {
    let text = error.as_ref();
    // It cleans its old text logs up before it takes the lock; one that whoever has the lock deletes first is no damage.
    let log_is_gone = text.contains("No such file") && text.contains("/LOG.old.");
    error.kind() == ErrorKind::IOError
        && (text.contains("lock hold by current process") || text.contains("While lock file") || log_is_gone)
}

fn classify(error: &rocksdb::Error, dir: &Path) -> OpenError {
    let dir: PathBuf = dir.to_owned();
    match error.kind() {
        ErrorKind::Corruption => OpenError::Damaged { dir, why: error.to_string() },
        ErrorKind::InvalidArgument if error.as_ref().contains("olumn families not opened") => {
            OpenError::Newer { dir, found: FORMAT + 1, known: FORMAT }
        }
        _ => OpenError::Io { dir, source: other(error.clone()) },
    }
}

fn other(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl Rocks {
    fn family(&self, table: Table) -> io::Result<&rocksdb::ColumnFamily> {
        let family = self.db.cf_handle(table.family());
        family.ok_or_else(|| io::Error::other(format!("the database has no column family {}", table.family())))
    }
}

impl Rows for Rocks {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.db.get_cf(self.family(table)?, key).map_err(other)
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        let rows = self.db.iterator_cf_opt(self.family(table)?, options, IteratorMode::From(from, Direction::Forward));
        for row in rows {
            let (key, value) = row.map_err(other)?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, changes: Vec<Change>, safety: Safety) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        for change in changes {
            match change {
                Change::Put(table, key, row) => batch.put_cf(self.family(table)?, key, row),
                Change::Delete(table, key) => batch.delete_cf(self.family(table)?, key),
                Change::DeleteRange(table, from, to) => batch.delete_range_cf(self.family(table)?, from, to),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(safety == Safety::Synced);
        self.db.write_opt(batch, &options).map_err(other)
    }
}
