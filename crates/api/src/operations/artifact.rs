//! Taking artifacts in.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{StreamExt as _, stream};
use onrush_catalog::ByteStream;
use onrush_types::{ArtifactRef, Code, Digest};

use super::enter;
use crate::{Api, ApiError};

/// What the sender says of an artifact before its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Announced {
    pub(crate) digest: Option<Digest>,
    pub(crate) size: Option<u64>,
}

impl Api {
    /// Keeps the bytes on this node's disk. They are copied to others when a deploy refers to them.
    pub(crate) async fn upload(&self, said: Announced, bytes: ByteStream) -> Result<ArtifactRef, ApiError> {
        let _place = enter(&self.uploads, "uploads")?;
        let limit = self.config.max_artifact;
        let too_large = || {
            let most = bytesize::ByteSize(limit);
            ApiError::new(Code::TooLarge, format!("the artifact is larger than {most}, the most that this node takes"))
        };
        if said.size.is_some_and(|size| size > limit) {
            return Err(too_large());
        }
        let expected = said.digest.zip(said.size).map(|(digest, size)| ArtifactRef { digest, size });
        let exceeded = Arc::new(AtomicBool::new(false));
        let bounded = bounded(bytes, limit, self.config.upload_idle, Arc::clone(&exceeded));
        let artifact = match self.parts.artifacts.put(bounded, expected).await {
            Err(_) if exceeded.load(Ordering::Relaxed) => return Err(too_large()),
            other => other?,
        };
        match said.digest {
            Some(digest) if digest != artifact.digest => {
                let found = artifact.digest;
                let why = format!("the bytes are not what they should be: expected sha256 {digest}, got {found}");
                Err(ApiError::bad_request(why))
            }
            Some(_) | None => Ok(artifact),
        }
    }
}

/// The stream, which fails once it passes `limit` bytes or stands still for `idle`.
fn bounded(bytes: ByteStream, limit: u64, idle: std::time::Duration, exceeded: Arc<AtomicBool>) -> ByteStream {
    let start = Some((bytes, 0_u64));
    Box::pin(stream::unfold(start, move |state| {
        let exceeded = Arc::clone(&exceeded);
        async move {
            let (mut bytes, mut seen) = state?;
            let chunk = match tokio::time::timeout(idle, bytes.next()).await {
                Ok(chunk) => chunk?,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("the upload stood still for {idle:?}"))),
            };
            let chunk = chunk.and_then(|chunk| {
                seen += chunk.len() as u64;
                if seen > limit {
                    exceeded.store(true, Ordering::Relaxed);
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the artifact is too large"));
                }
                Ok(chunk)
            });
            let next = chunk.is_ok().then_some((bytes, seen));
            Some((chunk, next))
        }
    }))
}
