//! The contract between the worker and whatever runs functions.
//!
//! Two stages, because their costs differ by orders of magnitude: `prepare` once per version and node (compile, map,
//! unpack), `call` once per call. Instances belong to the runtime, which alone knows when a guest is really done:
//! `docs/adr/0004-instances-belong-to-the-runtime.md`.

use std::{
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
};

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
///
/// Whoever has one may hold memory for the call only once it may compute for the first time.
pub trait Permit: Send {
    /// Asks for the right to compute, which lasts until [`Permit::pause`]: before the guest is started, and before each
    /// time that it goes on. Wakes the task when there is an answer.
    ///
    /// # Errors
    /// The call waited for its start and will not get it: nothing of it has run. A call that has started gets no error.
    fn poll_compute(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), InvokeError>>;

    /// The guest waits for something, or gives way at a tick of the clock: others may compute.
    fn pause(&mut self);
}

/// Accounts for nothing.
impl Permit for () {
    fn poll_compute(&mut self, _: &mut Context<'_>) -> Poll<Result<(), InvokeError>> {
        Poll::Ready(Ok(()))
    }

    fn pause(&mut self) {}
}

/// Accounts for nothing but its own life.
impl Permit for Arc<()> {
    fn poll_compute(&mut self, _: &mut Context<'_>) -> Poll<Result<(), InvokeError>> {
        Poll::Ready(Ok(()))
    }

    fn pause(&mut self) {}
}

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
    /// Serves one call on a fresh or a reused instance, when the permit lets it. The reply's head comes as soon as the guest has given it; its
    /// body streams. A passed deadline, a dropped future or a dropped body end the guest.
    ///
    /// # Errors
    /// `function_failed` for traps, `deadline_exceeded`, `overloaded` where the pool of instances is empty.
    async fn call(&self, call: Invocation, permit: Box<dyn Permit>) -> Result<http::Response<Body>, InvokeError>;

    /// How many calls can be inside at once.
    fn capacity(&self) -> usize;
}
