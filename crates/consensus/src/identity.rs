//! The data directory: whose it is, and that nobody else uses it at the same time.
//!
//! ```text
//! onrush.json      what this directory is, and its format
//! lock             held by the process that uses it
//! generation       raised with every start, for gossip
//! joining.json     the request for admission, written before it is sent
//! identity.json    cluster, node id and name; written before Raft starts
//! raft/            log, vote, catalog and snapshot
//! raft.started     Raft ran here: from now on an empty raft/ is a loss
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use onrush_types::{ClusterId, Label, NodeId, RequestId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

mod durable;

/// The format of the directory and of each file in it.
const FORMAT: u32 = 1;

const MARK: &str = "onrush.json";
const LOCK: &str = "lock";
const GENERATION: &str = "generation";
const JOINING: &str = "joining.json";
const IDENTITY: &str = "identity.json";
const RAFT: &str = "raft";
const STARTED: &str = "raft.started";

/// Who this node is, for as long as its data directory lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its id there.
    pub node: NodeId,
    /// The name under which it was registered.
    pub name: Label,
    /// Set on the node that formed the cluster.
    pub founding: Option<Founding>,
}

/// What the founder needs to form the cluster, however often it is interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The id of the first command.
    pub request: RequestId,
    /// How many nodes shall vote.
    pub voters: u8,
}

/// A request for admission that may have been sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingJoin {
    pub(crate) cluster: ClusterId,
    pub(crate) request: RequestId,
    pub(crate) name: Label,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// The operating system refused something.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// On what.
        path: PathBuf,
        /// While doing what.
        what: &'static str,
        /// Its words.
        source: io::Error,
    },
    /// Another process uses it.
    #[error("{}: another process uses this data directory; stop it first or choose another with --data-dir", path.display())]
    InUse {
        /// Which one.
        path: PathBuf,
    },
    /// There is something else in it.
    #[error(
        "{}: this is no data directory of Onrush (it contains {found}); choose an empty or new one with --data-dir",
        path.display()
    )]
    Foreign {
        /// Which one.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// A file in it is not what a node writes.
    #[error(
        "{}: unreadable ({why}). Restore it from a backup, or run `onrush node remove` for this node on another one and \
         start it with an empty data directory: it gets a new id",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A newer program wrote it.
    #[error("{}: written in format {found}, this program reads up to {FORMAT}: start a newer one", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Raft ran here, and its files are gone.
    #[error(
        "{}: node {node} has lost its log. A node that forgets what it has promised can lose acknowledged writes, so it \
         must not go on: run `onrush node remove {node}` on another node, empty the data directory and start again",
        path.display()
    )]
    LogLost {
        /// Which directory.
        path: PathBuf,
        /// Which node.
        node: NodeId,
    },
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u32,
    #[serde(flatten)]
    content: T,
}

/// Only the format, so that a newer file is recognised before its fields are looked at.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    what: String,
}

/// A data directory in this process's hands.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: fs::File,
}

impl DataDir {
    /// Makes the directory where there is none, and takes it for this process.
    ///
    /// # Errors
    /// [`DirError`]: somebody else uses it, or it holds something else.
    pub fn open(path: &Path) -> Result<Self, DirError> {
        fs::create_dir_all(path).map_err(|source| io_at(path, "creating it", source))?;
        let mark = path.join(MARK);
        if durable::read(&mark)?.is_none() {
            refuse_foreign(path)?;
        }
        let lock = durable::lock(&path.join(LOCK), path)?;
        let dir = Self { path: path.to_owned(), _lock: lock };
        if dir.get::<Mark>(MARK)?.is_none() {
            dir.put(MARK, &Mark { what: "data directory of an Onrush node".to_owned() })?;
        }
        Ok(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The node's identity, once it has one.
    ///
    /// # Errors
    /// An unreadable file.
    pub fn identity(&self) -> Result<Option<Identity>, DirError> {
        self.get(IDENTITY)
    }

    /// A generation for gossip: above every earlier one, even if the clock was set back.
    ///
    /// # Errors
    /// The disk's.
    pub fn next_generation(&self, now_ms: u64) -> Result<u64, DirError> {
        let path = self.path.join(GENERATION);
        let last = match durable::read(&path)? {
            None => 0,
            Some(bytes) => String::from_utf8_lossy(&bytes)
                .trim()
                .parse()
                .map_err(|error| DirError::Damaged { path: path.clone(), why: format!("no generation: {error}") })?,
        };
        let next = now_ms.max(u64::saturating_add(last, 1));
        durable::write(&path, next.to_string().as_bytes())?;
        Ok(next)
    }

    pub(crate) fn keep_identity(&self, identity: &Identity) -> Result<(), DirError> {
        self.put(IDENTITY, identity)?;
        self.forget_join()
    }

    pub(crate) fn pending_join(&self) -> Result<Option<PendingJoin>, DirError> {
        self.get(JOINING)
    }

    pub(crate) fn keep_join(&self, join: &PendingJoin) -> Result<(), DirError> {
        self.put(JOINING, join)
    }

    pub(crate) fn forget_join(&self) -> Result<(), DirError> {
        durable::remove(&self.path.join(JOINING))
    }

    /// The directory for the storage; refused where Raft ran before and its files are gone.
    pub(crate) fn raft(&self, node: NodeId) -> Result<PathBuf, DirError> {
        let raft = self.path.join(RAFT);
        let there = raft.read_dir().is_ok_and(|mut entries| entries.next().is_some());
        if !there && durable::read(&self.path.join(STARTED))?.is_some() {
            return Err(DirError::LogLost { path: self.path.clone(), node });
        }
        Ok(raft)
    }

    /// Remembers that Raft ran here. Before this nothing was promised to anybody.
    pub(crate) fn mark_started(&self) -> Result<(), DirError> {
        let path = self.path.join(STARTED);
        if durable::read(&path)?.is_some() {
            return Ok(());
        }
        durable::write(&path, b"yes\n")
    }

    fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, DirError> {
        let path = self.path.join(name);
        let Some(bytes) = durable::read(&path)? else { return Ok(None) };
        let damaged = |error: serde_json::Error| DirError::Damaged { path: path.clone(), why: error.to_string() };
        let FormatOnly { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(DirError::Newer { path, found: format });
        }
        let read: Versioned<T> = serde_json::from_slice(&bytes).map_err(damaged)?;
        Ok(Some(read.content))
    }

    fn put<T: Serialize>(&self, name: &str, content: &T) -> Result<(), DirError> {
        let path = self.path.join(name);
        let mut bytes = serde_json::to_vec_pretty(&Versioned { format: FORMAT, content })
            .map_err(|error| io_at(&path, "encoding it", io::Error::other(error)))?;
        bytes.push(b'\n');
        durable::write(&path, &bytes)
    }
}

/// A directory without our mark must be empty, but for what an interrupted first start leaves behind.
fn refuse_foreign(path: &Path) -> Result<(), DirError> {
    let entries = path.read_dir().map_err(|source| io_at(path, "reading it", source))?;
    for entry in entries {
        let name = entry.map_err(|source| io_at(path, "reading it", source))?.file_name();
        let name = name.to_string_lossy();
        // A mounted volume brings `lost+found` along.
        if name != LOCK && name != "lost+found" && !name.ends_with(durable::TEMPORARY) {
            return Err(DirError::Foreign { path: path.to_owned(), found: name.into_owned() });
        }
    }
    Ok(())
}

fn io_at(path: &Path, what: &'static str, source: io::Error) -> DirError {
    DirError::Io { path: path.to_owned(), what, source }
}

#[cfg(test)]
mod tests;
