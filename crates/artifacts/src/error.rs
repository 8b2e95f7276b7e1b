//! Why the store cannot be opened. What goes wrong later is an `ArtifactError`.

use std::{io, path::PathBuf};

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting makes no sense.
    #[error("artifacts: {0}")]
    Config(&'static str),
    /// The directory cannot be used.
    #[error("cannot keep artifacts in {}: {source}; check its owner and the free space", dir.display())]
    Directory {
        /// Which one.
        dir: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
}
