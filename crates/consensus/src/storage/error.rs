//! Why a data directory cannot be used.

use std::{io, path::PathBuf};

use onrush_proto::FormatError;

/// Why a data directory cannot be used, and what its operator can do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "data directory {dir} is in use by another process; stop that one, or give this one a --data-dir of its own"
    )]
    InUse {
        /// Which directory.
        dir: PathBuf,
    },
    /// It holds something else.
    #[error("{dir} is not a data directory of onrush ({why}); nothing was changed there. Choose an empty --data-dir")]
    NotOurs {
        /// Which directory.
        dir: PathBuf,
        /// What gives it away.
        why: String,
    },
    /// A newer program wrote it.
    #[error("{dir} was written by a newer onrush (format {found}, this one reads up to {known}); start that one")]
    Newer {
        /// Which directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// It cannot be read or written at all.
    #[error("data directory {dir} cannot be used: {source}; check its owner, its permissions and the disk")]
    Io {
        /// Which directory.
        dir: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// What it holds contradicts itself, so its disk lost or changed something that this node had promised to keep.
    #[error(
        "data directory {dir} is damaged: {why}. This node must not go on with it: it could break promises it gave to \
         the others. If the rest of the cluster is up, let it rejoin as a new node: `onrush node remove NAME` on \
         another node, move {dir} away, start this node again. If this was the only copy, restore a backup"
    )]
    Damaged {
        /// Which directory.
        dir: PathBuf,
        /// What contradicts what.
        why: String,
    },
}

/// What is wrong with what was found on a disk, before the directory is known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl Fault {
    pub(crate) fn damaged(why: impl Into<String>) -> Self {
        Self::Damaged(why.into())
    }

    pub(crate) fn at(self, dir: PathBuf) -> OpenError {
        match self {
            // A checksum of the database itself.
            Self::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
                OpenError::Damaged { dir, why: source.to_string() }
            }
            Self::Io(source) => OpenError::Io { dir, source },
            Self::Damaged(why) => OpenError::Damaged { dir, why },
            Self::Format(FormatError::Newer { found, known, .. }) => OpenError::Newer { dir, found, known },
            Self::Format(other @ (FormatError::Malformed { .. } | FormatError::Field { .. })) => {
                OpenError::Damaged { dir, why: other.to_string() }
            }
        }
    }

    /// As the error that openraft stops on.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Io(error) => error,
            other @ (Self::Damaged(_) | Self::Format(_)) => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}
