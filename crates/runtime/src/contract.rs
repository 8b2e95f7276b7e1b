//! The contract between the worker and whatever runs functions.
//!
//! Two stages, because their costs differ by orders of magnitude: `prepare` once per version and node (compile, map,
//! unpack), `call` once per call. Instances belong to the runtime, which alone knows when a guest is really done:
//! `docs/adr/0004-instances-belong-to-the-runtime.md`.

use std::{any::Any, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use onrush_invoke::{Body, Invocation, InvokeError};
use onrush_types::{Code, Digest, FunctionName, FunctionSpec, InvocationId, LogStream, RuntimeKind, VersionNumber};

/// A version's code and everything that is needed to make it ready.
#[derive(Clone)]
pub struct Artifact {
    /// The version's name, for logs and messages.
    pub function: FunctionName,
    /// Its number.
    pub version: VersionNumber,
    /// A verified local copy.
    pub path: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// What it may use.
    pub spec: Arc<FunctionSpec>,
    /// Where what it writes goes.
    pub log: Arc<dyn GuestLog>,
}

/// Takes the lines that a guest writes. Must not block: a full ring drops its oldest line.
pub trait GuestLog: Send + Sync {
    /// One line without its end.
    fn line(&self, invocation: Option<InvocationId>, stream: LogStream, text: &str);
}

/// What an artifact turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The world it is made for, such as `wasi:http/proxy@0.2`.
    pub world: String,
    /// What it exports, for people.
    pub exports: Vec<String>,
}

/// Why an artifact cannot be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The artifact is at fault: it can never run. Says what it is and what is expected.
    #[error("{0}")]
    Unfit(String),
    /// The platform is at fault, or has no room now.
    #[error("{0}")]
    Failed(String),
}

impl PrepareError {
    /// In the words that clients see.
    pub const fn code(&self) -> Code {
        match self {
            Self::Unfit(_) => Code::BadRequest,
            Self::Failed(_) => Code::Internal,
        }
    }
}

/// The worker's accounting for one call. The runtime keeps it until the guest is done, and drops it then: after the
/// reply's last byte, or when the caller has gone and the instance is discarded (P8).
pub type Permit = Box<dyn Any + Send>;

/// A way to run functions: wasm, process, fake.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// What kind of function it runs.
    fn kind(&self) -> RuntimeKind;

    /// Looks at an artifact without running it.
    ///
    /// # Errors
    /// [`PrepareError::Unfit`] says what is wrong with it.
    async fn inspect(&self, path: PathBuf) -> Result<Inspection, PrepareError>;

    /// Compiles or unpacks; slow, off the serving threads, once per version. Later preparations of the same digest
    /// load what the first one left on disk.
    ///
    /// # Errors
    /// See [`PrepareError`].
    async fn prepare(&self, artifact: Artifact) -> Result<Arc<dyn Prepared>, PrepareError>;
}

/// A version that is ready for calls.
#[async_trait]
pub trait Prepared: Send + Sync {
    /// Serves one call on a fresh or a reused instance. The reply's head comes as soon as the guest has given it; its
    /// body streams. A passed deadline, a dropped future or a dropped body end the guest.
    ///
    /// # Errors
    /// `function_failed` for traps, `deadline_exceeded`, `overloaded` where the pool of instances is empty.
    async fn call(&self, call: Invocation, permit: Permit) -> Result<http::Response<Body>, InvokeError>;

    /// How many calls can be inside at once.
    fn capacity(&self) -> usize;
}
