//! The directory of blobs: `ab/abcd…` for each digest, `tmp` for what is being written, `quarantine` for what was found
//! damaged. Everything here blocks, so it is called from blocking threads, except for looks at the index.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use onrush_types::{ArtifactRef, Digest};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tracing::{error, warn};

const TEMPORARY: &str = "tmp";
const QUARANTINE: &str = "quarantine";

/// The directory and what is in it.
pub(crate) struct Blobs {
    root: PathBuf,
    max_total: u64,
    max_quarantine: usize,
    index: Mutex<Index>,
    /// Held while a name appears or disappears, so that a blob is never collected while it is put again.
    names: Mutex<()>,
    next_temporary: AtomicU64,
}

#[derive(Default)]
struct Index {
    held: BTreeMap<Digest, Blob>,
    /// Of blobs.
    bytes: u64,
    /// Of what is being written.
    reserved: u64,
}

/// What is known of a blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blob {
    /// Its length.
    pub(crate) size: u64,
    /// Its digest was checked since the process started.
    pub(crate) verified: bool,
    /// When somebody last asked for it.
    pub(crate) touched: Instant,
}

impl Blobs {
    /// Opens the directory, throws away what was half written and lists what is there.
    pub(crate) fn open(root: PathBuf, max_total: u64, max_quarantine: usize) -> io::Result<Self> {
        let temporary = root.join(TEMPORARY);
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(&temporary)?;
        fs::create_dir_all(root.join(QUARANTINE))?;
        sync_dir(&root)?;
        let index = Mutex::new(list(&root)?);
        let (names, next_temporary) = (Mutex::default(), AtomicU64::default());
        Ok(Self { root, max_total, max_quarantine, index, names, next_temporary })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a blob is, or would be.
    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(&name[..2]).join(name)
    }

    /// What is known of a blob; counts as use.
    pub(crate) fn touch(&self, digest: Digest) -> Option<Blob> {
        let mut index = self.index();
        let blob = index.held.get_mut(&digest)?;
        blob.touched = Instant::now();
        Some(*blob)
    }

    /// Everything that is here.
    pub(crate) fn all(&self) -> Vec<(Digest, Blob)> {
        self.index().held.iter().map(|(digest, blob)| (*digest, *blob)).collect()
    }

    /// A new file to write to.
    pub(crate) fn begin(self: &Arc<Self>) -> io::Result<Draft> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(TEMPORARY).join(number.to_string());
        let file = File::create_new(&path)?;
        Ok(Draft { blobs: Arc::clone(self), path, file, hash: Sha256::new(), size: 0 })
    }

    /// Checks a blob against its name. A damaged one is put aside and forgotten.
    pub(crate) fn verify(&self, digest: Digest) -> io::Result<Option<Blob>> {
        let found = hash_file(&self.path(digest));
        if matches!(&found, Ok((real, _)) if *real == digest) {
            let mut index = self.index();
            let Some(blob) = index.held.get_mut(&digest) else { return Ok(None) };
            blob.verified = true;
            return Ok(Some(*blob));
        }
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have put it again while this thread was reading the damaged file.
        if self.index().held.get(&digest).is_none_or(|blob| blob.verified) {
            return Ok(self.index().held.get(&digest).copied());
        }
        let why = found.err().map_or_else(|| "its bytes have another digest".to_owned(), |error| error.to_string());
        error!(%digest, why, "a stored artifact is damaged: put aside, and pulled again when it is needed");
        self.put_aside(digest)?;
        self.forget(digest);
        Ok(None)
    }

    fn put_aside(&self, digest: Digest) -> io::Result<()> {
        let (path, quarantine) = (self.path(digest), self.root.join(QUARANTINE));
        let moved = if fs::read_dir(&quarantine)?.count() >= self.max_quarantine {
            fs::remove_file(&path)
        } else {
            let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
            fs::rename(&path, quarantine.join(format!("{digest}.{number}")))
        };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn forget(&self, digest: Digest) {
        let mut index = self.index();
        if let Some(blob) = index.held.remove(&digest) {
            index.bytes = index.bytes.saturating_sub(blob.size);
        }
    }

    /// Deletes a blob unless it was used after `since`.
    pub(crate) fn remove_unused(&self, digest: Digest, since: Instant) -> io::Result<bool> {
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if self.index().held.get(&digest).is_none_or(|blob| blob.touched > since) {
            return Ok(false);
        }
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => self.forget(digest),
        }
        Ok(true)
    }

    fn reserve(&self, bytes: u64) -> bool {
        let mut index = self.index();
        let wanted = index.bytes.saturating_add(index.reserved).saturating_add(bytes);
        if wanted > self.max_total {
            return false;
        }
        index.reserved += bytes;
        true
    }

    fn publish(&self, path: &Path, artifact: ArtifactRef) -> io::Result<()> {
        let target = self.path(artifact.digest);
        let shard = target.parent().unwrap_or(&self.root);
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::create_dir(shard) {
            Ok(()) => sync_dir(&self.root)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        fs::rename(path, &target)?;
        sync_dir(shard)?;
        let blob = Blob { size: artifact.size, verified: true, touched: Instant::now() };
        let mut index = self.index();
        let before = index.held.insert(artifact.digest, blob).map_or(0, |before| before.size);
        index.bytes = index.bytes.saturating_sub(before) + artifact.size;
        Ok(())
    }
}

/// Why a draft takes no more.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The store has reached its limit.
    Full,
    /// The disk failed.
    Disk(io::Error),
}

/// A blob that is being written. Dropped before it is finished, it leaves nothing behind.
pub(crate) struct Draft {
    blobs: Arc<Blobs>,
    path: PathBuf,
    file: File,
    hash: Sha256,
    size: u64,
}

impl Draft {
    /// Adds bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let length = bytes.len() as u64;
        if !self.blobs.reserve(length) {
            return Err(WriteError::Full);
        }
        self.size += length;
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(WriteError::Disk)
    }

    /// What it is so far.
    pub(crate) fn artifact(&self) -> ArtifactRef {
        ArtifactRef { digest: Digest(self.hash.clone().finalize().into()), size: self.size }
    }

    /// Makes it a blob: bytes synced, then named, then the name synced.
    pub(crate) fn finish(self) -> io::Result<ArtifactRef> {
        let artifact = self.artifact();
        self.file.sync_all()?;
        self.blobs.publish(&self.path, artifact)?;
        Ok(artifact)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let mut index = self.blobs.index();
        index.reserved = index.reserved.saturating_sub(self.size);
        drop(index);
        match fs::remove_file(&self.path) {
            // The usual case: it was renamed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(()) => {}
            Err(error) => warn!(path = %self.path.display(), %error, "a temporary file stays until the next start"),
        }
    }
}

fn list(root: &Path) -> io::Result<Index> {
    let mut index = Index::default();
    for shard in fs::read_dir(root)? {
        let shard = shard?;
        let name = shard.file_name();
        if name == TEMPORARY || name == QUARANTINE || !shard.file_type()?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(shard.path())? {
            let entry = entry?;
            let digest = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
            let metadata = entry.metadata()?;
            match digest.filter(|digest| metadata.is_file() && *digest.to_string() == *entry.file_name()) {
                Some(digest) => {
                    let blob = Blob { size: metadata.len(), verified: false, touched: Instant::now() };
                    index.bytes += blob.size;
                    index.held.insert(digest, blob);
                }
                None => warn!(path = %entry.path().display(), "no artifact; left alone"),
            }
        }
    }
    Ok(index)
}

fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 256 << 10]);
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok((Digest(hash.finalize().into()), size));
        }
        hash.update(&buffer[..length]);
        size += length as u64;
    }
}

/// A name is durable only when its directory is.
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
