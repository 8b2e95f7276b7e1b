//! A function's code on this machine: reading it, and seeing early that it cannot run.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use bytes::Bytes;
use onrush_types::{ArtifactRef, Code, Digest};
use sha2::Digest as _;

use crate::failure::Failure;

/// Code that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) bytes: Bytes,
    pub(crate) id: ArtifactRef,
}

/// Reads a component.
///
/// # Errors
/// No such file, or something that is no component; both say what to do.
pub(crate) fn read(path: &Path) -> Result<Artifact, Failure> {
    let shown = path.display();
    let bytes = bytes_of(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::bad_request(format!(
            "there is no file {shown}. Is it built? `onrush build` runs the build command of onrush.toml"
        )),
        io::ErrorKind::IsADirectory => Failure::bad_request(format!("{shown} is a directory, not a component")),
        _ => Failure::here(format!("{shown}: {error}")),
    })?;
    if let Some(why) = unfit(&bytes) {
        return Err(Failure::bad_request(format!("{shown} {why}")));
    }
    if bytes.len() as u64 > LARGEST {
        let why = format!("{shown} has more than {}; no node takes as much", bytesize::ByteSize(LARGEST));
        return Err(Failure::new(Code::TooLarge, why));
    }
    let digest = Digest(sha2::Sha256::digest(&bytes).into());
    let id = ArtifactRef { digest, size: bytes.len() as u64 };
    Ok(Artifact { bytes: bytes.into(), id })
}

/// More than any node is set up to take. It bounds what is read; the nodes' own limit is lower and said by them.
const LARGEST: u64 = 1 << 30;

/// The file, or only its beginning where that tells that it cannot run: the rest may be a disk image, or endless.
fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(COMPONENT.len() as u64).read_to_end(&mut bytes)?;
    if bytes.starts_with(COMPONENT) {
        file.take(LARGEST + 1 - bytes.len() as u64).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

const WASM: &[u8] = b"\0asm";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Why bytes cannot be a component, by their first few.
fn unfit(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(COMPONENT) {
        return None;
    }
    if bytes.starts_with(CORE_MODULE) {
        return Some(
            "is a core WebAssembly module, not a component. Build with `--target wasm32-wasip2`, or wrap it with \
             `wasm-tools component new`",
        );
    }
    if bytes.starts_with(WASM) {
        return Some("is WebAssembly of an unknown version; components start with version 13, layer 1");
    }
    if bytes.is_empty() {
        return Some("is empty");
    }
    if bytes.starts_with(b"\x7fELF") || bytes.starts_with(b"#!") {
        return Some(
            "is a native program; functions are WebAssembly components. Build with `cargo build --release --target \
             wasm32-wasip2`",
        );
    }
    if bytes.starts_with(b"(") {
        return Some("is WebAssembly text; turn it into a binary with `wasm-tools parse`");
    }
    Some("is not a wasm component. Build one with `cargo build --release --target wasm32-wasip2`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_run_is_named() {
        assert_eq!(unfit(COMPONENT), None);
        for (bytes, word) in [
            (CORE_MODULE, "core"),
            (b"\0asm\x02\0\0\0".as_slice(), "unknown version"),
            (b"", "empty"),
            (b"\x7fELF\x02", "native"),
            (b"(component)", "text"),
            (b"PK", "not a wasm"),
        ] {
            assert!(unfit(bytes).unwrap().contains(word), "{bytes:?}");
        }
    }

    #[test]
    fn an_endless_file_is_refused_by_its_beginning() {
        let Err(Failure::Failed { message, .. }) = read(Path::new("/dev/zero")) else { panic!() };
        assert!(message.contains("not a wasm component"), "{message}");
    }

    #[test]
    fn a_component_is_read_to_its_end() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.wasm");
        let whole = [COMPONENT, &[7; 100_000]].concat();
        std::fs::write(&path, &whole).unwrap();
        let artifact = read(&path).unwrap();
        assert_eq!(artifact.bytes, whole);
        assert_eq!(artifact.id.size, 100_008);
    }

    #[test]
    fn a_missing_file_says_how_to_build_it() {
        let Err(Failure::Failed { message, .. }) = read(Path::new("/no/such/file.wasm")) else { panic!() };
        assert!(message.contains("/no/such/file.wasm") && message.contains("onrush build"), "{message}");
    }
}
