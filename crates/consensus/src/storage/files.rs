//! The files beside the database: the snapshot and the watermark.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    disk::{Files, Safety},
    watermark::{SLOT, Watermark},
};

const SNAPSHOT: &str = "snapshot";
const ASIDE: &str = "snapshot.damaged";
const WATERMARK: &str = "watermark";

/// A directory with both.
pub(crate) struct Folder {
    dir: PathBuf,
    watermark: File,
}

impl Folder {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(WATERMARK);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let watermark = options.open(path)?;
        sync_dir(dir)?;
        Ok(Self { dir: dir.to_owned(), watermark })
    }
}

impl Files for Folder {
    fn read_snapshot(&self) -> io::Result<Option<Bytes>> {
        match fs::read(self.dir.join(SNAPSHOT)) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn replace_snapshot(&self, snapshot: &Bytes) -> io::Result<()> {
        write_atomically(&self.dir, SNAPSHOT, snapshot)
    }

    fn set_snapshot_aside(&self) -> io::Result<()> {
        fs::rename(self.dir.join(SNAPSHOT), self.dir.join(ASIDE))?;
        sync_dir(&self.dir)
    }

    fn read_watermark(&self) -> io::Result<Option<Watermark>> {
        Ok(Watermark::newest(&fs::read(self.dir.join(WATERMARK))?))
    }

    fn write_watermark(&self, mark: &Watermark, safety: Safety) -> io::Result<()> {
        let slot = u64::try_from(SLOT).map_err(io::Error::other)?;
        self.watermark.write_all_at(&mark.encode(), mark.slot() * slot)?;
        match safety {
            Safety::Synced => self.watermark.sync_all(),
            Safety::Ordered => Ok(()),
        }
    }
}

/// Writes a whole file in place of one that may be there: a temporary one, synced, renamed, the directory synced.
pub(crate) fn write_atomically(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
