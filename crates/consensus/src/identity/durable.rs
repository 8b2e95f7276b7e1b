//! Small files that are there whole or not at all, whenever the power goes.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::{DirError, io_at};

/// The end of the names of files that are being written.
pub(super) const TEMPORARY: &str = ".tmp";

/// Far more than any of these files has.
const LONGEST: u64 = 1 << 20;

/// The content, or nothing where there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, DirError> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_at(path, "looking at it", source)),
    };
    if length > LONGEST {
        return Err(DirError::Damaged { path: path.to_owned(), why: format!("it has {length} bytes") });
    }
    fs::read(path).map(Some).map_err(|source| io_at(path, "reading it", source))
}

/// Replaces the content: written aside, synced, renamed, and the directory synced.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), DirError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(TEMPORARY);
    let aside = Path::new(&aside);
    let written = fs::File::create(aside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(|source| io_at(path, "writing it", source))?;
    fs::rename(aside, path).map_err(|source| io_at(path, "renaming it", source))?;
    sync_parent(path)
}

/// Removes the file if there is one.
pub(super) fn remove(path: &Path) -> Result<(), DirError> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(io_at(path, "removing it", source)),
    }
}

/// Holds a lock until the file is closed, which the system does when the process ends, however it ends.
pub(super) fn lock(path: &Path, dir: &Path) -> Result<fs::File, DirError> {
    let file = fs::OpenOptions::new().create(true).write(true).truncate(false).open(path);
    let file = file.map_err(|source| io_at(path, "opening it", source))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DirError::InUse { path: dir.to_owned() }),
        Err(error) => Err(io_at(path, "locking it", error.into())),
    }
}

fn sync_parent(path: &Path) -> Result<(), DirError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let synced = fs::File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(|source| io_at(parent, "syncing it", source))
}
