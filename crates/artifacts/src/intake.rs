//! From a stream of bytes to a blob: hashed and written on a blocking thread while it arrives, through a bounded channel.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use onrush_catalog::{ArtifactError, ByteStream};
use onrush_types::ArtifactRef;
use tokio::sync::mpsc;

use crate::blobs::{Blobs, Draft, WriteError};

/// How many pieces wait for the disk.
const PIECES: usize = 4;

/// What a stream may do.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Its bytes.
    pub(crate) max: u64,
    /// Its silence.
    pub(crate) idle: Duration,
}

enum Part {
    Data(Bytes),
    /// Without it a closed channel means that the sender is gone.
    End,
}

/// Takes a stream in. Unless it ends well, and is what was expected, nothing is kept.
pub(crate) async fn take(
    blobs: &Arc<Blobs>,
    bytes: ByteStream,
    expected: Option<ArtifactRef>,
    bounds: Bounds,
) -> Result<ArtifactRef, ArtifactError> {
    if let Some(wanted) = expected
        && wanted.size > bounds.max
    {
        return Err(too_large(bounds.max));
    }
    let (parts, written) = mpsc::channel(PIECES);
    let blobs = Arc::clone(blobs);
    let writer = tokio::task::spawn_blocking(move || write(&blobs, written, expected));
    let fed = feed(bytes, &parts, expected, bounds).await;
    drop(parts);
    let outcome = writer.await.map_err(|error| ArtifactError::Internal(format!("the writer died: {error}")))?;
    match fed {
        Ok(()) => outcome,
        // The writer stopped first; its reason is the reason.
        Err(None) => outcome.and(Err(ArtifactError::Internal("the writer stopped without a reason".to_owned()))),
        Err(Some(error)) => Err(error),
    }
}

async fn feed(
    mut bytes: ByteStream,
    parts: &mpsc::Sender<Part>,
    expected: Option<ArtifactRef>,
    bounds: Bounds,
) -> Result<(), Option<ArtifactError>> {
    let mut taken = 0_u64;
    let rejected = |why: String| Some(ArtifactError::Rejected(why));
    loop {
        let next = tokio::time::timeout(bounds.idle, bytes.next()).await;
        let next =
            next.map_err(|_| rejected(format!("the sender was silent for {:?} after {taken} bytes", bounds.idle)))?;
        let Some(piece) = next else {
            return parts.send(Part::End).await.map_err(|_| None);
        };
        let piece = piece.map_err(|error| rejected(format!("the stream broke off after {taken} bytes: {error}")))?;
        taken = taken.saturating_add(piece.len() as u64);
        if taken > bounds.max {
            return Err(Some(too_large(bounds.max)));
        }
        if let Some(wanted) = expected
            && taken > wanted.size
        {
            return Err(rejected(format!("more than the announced {} bytes came", wanted.size)));
        }
        parts.send(Part::Data(piece)).await.map_err(|_| None)?;
    }
}

fn write(
    blobs: &Arc<Blobs>,
    mut parts: mpsc::Receiver<Part>,
    expected: Option<ArtifactRef>,
) -> Result<ArtifactRef, ArtifactError> {
    let mut draft = blobs.begin().map_err(|error| disk(&error))?;
    loop {
        match parts.blocking_recv() {
            Some(Part::Data(bytes)) => draft.write(&bytes).map_err(|error| match error {
                WriteError::Full => ArtifactError::Unavailable(
                    "this node's store of artifacts is full: remove functions or raise artifacts.max-total".to_owned(),
                ),
                WriteError::Disk(error) => disk(&error),
            })?,
            Some(Part::End) => return finish(draft, expected),
            None => return Err(ArtifactError::Rejected("the stream broke off".to_owned())),
        }
    }
}

fn finish(draft: Draft, expected: Option<ArtifactRef>) -> Result<ArtifactRef, ArtifactError> {
    let got = draft.artifact();
    match expected {
        Some(wanted) if wanted != got => Err(ArtifactError::Rejected(format!(
            "announced were {} bytes with sha256 {}, {} bytes with sha256 {} came",
            wanted.size, wanted.digest, got.size, got.digest
        ))),
        Some(_) | None => draft.finish().map_err(|error| disk(&error)),
    }
}

pub(crate) fn disk(error: &std::io::Error) -> ArtifactError {
    ArtifactError::Internal(format!("the disk of the store of artifacts failed: {error}"))
}

pub(crate) fn too_large(max: u64) -> ArtifactError {
    ArtifactError::TooLarge(format!("an artifact has at most {max} bytes (artifacts.max-artifact)"))
}
