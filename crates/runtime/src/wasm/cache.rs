//! Compiled code on this node's disk.
//!
//! The one place of the crate with `unsafe`: loading compiled code means trusting it as much as this program itself.
//! What makes it trustworthy: the folder is 0700 and the files are 0600 and belong to this user, this node compiled
//! them itself from a verified artifact, and a checksum that was recorded beside them when they were made is verified
//! before each load. They never come from the network. Who can write there can already replace this program's data.
#![allow(unsafe_code, reason = "Component::deserialize_file is unsafe; the module's text is the argument")]

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use onrush_types::Digest;
use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, component::Component};

use super::engine::compatibility;

/// Compiled components, by digest and engine.
pub(super) struct Cache {
    folder: PathBuf,
    most: u64,
}

impl Cache {
    /// Opens the folder, making it if need be, and removes what a crash left half-made.
    pub(super) fn open(folder: PathBuf, most: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { folder, most })
    }

    /// Where code for this engine is.
    pub(super) fn path(&self, digest: &Digest, engine: &Engine) -> PathBuf {
        self.folder.join(format!("{digest}-{}.cwasm", compatibility(engine)))
    }

    /// Where new code is written before it counts.
    pub(super) fn scratch(&self, path: &Path) -> PathBuf {
        path.with_extension("new")
    }

    /// Maps code that is there and sound. Anything else is removed, to be compiled again.
    pub(super) fn load(&self, path: &Path, engine: &Engine) -> Option<Component> {
        if !path.try_exists().unwrap_or(false) {
            return None;
        }
        match verified(path).and_then(|()| map(path, engine)) {
            Ok(component) => {
                // The time of change says when it was used last.
                if let Ok(file) = File::open(path) {
                    let now = std::time::SystemTime::now();
                    file.set_modified(now).unwrap_or_else(|error| tracing::debug!(%error, "cannot mark as used"));
                }
                Some(component)
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code is unusable and is made again");
                self.forget(path);
                None
            }
        }
    }

    /// Makes code that lies in the scratch file count: checksum beside it, everything on disk, then the rename.
    pub(super) fn keep(&self, scratch: &Path, path: &Path) -> io::Result<()> {
        fs::set_permissions(scratch, Permissions::from_mode(0o600))?;
        let file = File::open(scratch)?;
        file.sync_all()?;
        let sum = checksum(scratch)?;
        let mut beside = create(&sum_of(path))?;
        beside.write_all(sum.as_bytes())?;
        beside.sync_all()?;
        fs::rename(scratch, path)?;
        File::open(&self.folder)?.sync_all()?;
        self.trim(path)
    }

    /// Removes what was used least recently until the rest fits.
    fn trim(&self, newest: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "cwasm") {
                let metadata = entry.metadata()?;
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort_unstable();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if total <= self.most {
                break;
            }
            if path != newest {
                self.forget(&path);
                total -= size;
            }
        }
        Ok(())
    }

    fn forget(&self, path: &Path) {
        for path in [path.to_owned(), sum_of(path)] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove compiled code");
            }
        }
    }
}

/// A new file that only this user can read.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn sum_of(path: &Path) -> PathBuf {
    path.with_extension("sum")
}

fn checksum(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    let bytes: [u8; 32] = hasher.finalize().into();
    Ok(Digest(bytes).to_string())
}

fn verified(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err("others than this user can reach it".to_owned());
    }
    let recorded = fs::read_to_string(sum_of(path)).map_err(|error| format!("no checksum: {error}"))?;
    let real = checksum(path).map_err(|error| error.to_string())?;
    if recorded == real { Ok(()) } else { Err("its checksum is wrong".to_owned()) }
}

fn map(path: &Path, engine: &Engine) -> Result<Component, String> {
    // SAFETY: see the module's text; `verified` has just passed.
    let component = unsafe { Component::deserialize_file(engine, path) };
    component.map_err(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::engine::{World, compiling};

    struct Bench {
        folder: tempfile::TempDir,
        cache: Cache,
        engine: Engine,
    }

    fn bench(most: u64) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().to_owned(), most).unwrap();
        Bench { folder, cache, engine: compiling(World::P2).unwrap() }
    }

    impl Bench {
        fn keep(&self, digest: u8) -> PathBuf {
            let wasm = wat::parse_str("(component)").unwrap();
            let path = self.cache.path(&Digest([digest; 32]), &self.engine);
            let scratch = self.cache.scratch(&path);
            fs::write(&scratch, self.engine.precompile_component(&wasm).unwrap()).unwrap();
            self.cache.keep(&scratch, &path).unwrap();
            path
        }
    }

    #[test]
    fn kept_code_is_loaded_and_private() {
        let bench = bench(u64::MAX);
        let path = bench.keep(1);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(bench.cache.load(&path, &bench.engine).is_some());
    }

    #[test]
    fn changed_or_exposed_code_is_not_loaded_but_removed() {
        let bench = bench(u64::MAX);
        let changed = bench.keep(1);
        let mut bytes = fs::read(&changed).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&changed, bytes).unwrap();
        let exposed = bench.keep(2);
        fs::set_permissions(&exposed, Permissions::from_mode(0o622)).unwrap();
        let unsummed = bench.keep(3);
        fs::remove_file(sum_of(&unsummed)).unwrap();
        for path in [changed, exposed, unsummed] {
            assert!(bench.cache.load(&path, &bench.engine).is_none());
            assert!(!path.try_exists().unwrap());
        }
    }

    #[test]
    fn the_cache_stays_within_its_size_and_loses_the_oldest() {
        let size = fs::metadata(bench(u64::MAX).keep(1)).unwrap().len();
        let bench = bench(size * 2);
        let (first, second) = (bench.keep(1), bench.keep(2));
        let long_ago = std::time::UNIX_EPOCH;
        File::open(&second).unwrap().set_modified(long_ago).unwrap();
        let third = bench.keep(3);
        let there = [first, second, third].map(|path| path.try_exists().unwrap());
        assert_eq!(there, [true, false, true]);
    }

    #[test]
    fn half_made_files_go_at_start() {
        let bench = bench(u64::MAX);
        let half = bench.folder.path().join("x.new");
        fs::write(&half, "half").unwrap();
        Cache::open(bench.folder.path().to_owned(), 1).unwrap();
        assert!(!half.try_exists().unwrap());
    }
}
