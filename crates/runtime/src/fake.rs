//! A runtime without guests, for unit tests of those above it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use onrush_invoke::{Body, GuardedBody, Invocation, InvokeError, Reached};
use onrush_types::{Code, RuntimeKind};

use crate::{Artifact, Inspection, Permit, PrepareError, Prepared, Runtime};

/// Serves every call by its path: `/echo` returns the body, `/sleep/MS` waits, `/fail` traps, anything else says hello.
#[derive(Default)]
pub struct FakeRuntime {
    prepared: AtomicUsize,
    unfit: std::sync::atomic::AtomicBool,
}

impl FakeRuntime {
    /// One that takes every artifact.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on artifacts are unfit.
    pub fn refuse(&self) {
        self.unfit.store(true, Ordering::SeqCst);
    }

    /// How many versions were prepared.
    pub fn prepared(&self) -> usize {
        self.prepared.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Wasm
    }

    async fn inspect(&self, _path: PathBuf) -> Result<Inspection, PrepareError> {
        if self.unfit.load(Ordering::SeqCst) {
            return Err(PrepareError::Unfit("not a component".to_owned()));
        }
        Ok(Inspection { world: "fake".to_owned(), exports: Vec::new() })
    }

    async fn prepare(&self, artifact: Artifact) -> Result<Arc<dyn Prepared>, PrepareError> {
        self.inspect(artifact.path).await?;
        self.prepared.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(FakePrepared))
    }
}

struct FakePrepared;

#[async_trait]
impl Prepared for FakePrepared {
    async fn call(&self, call: Invocation, permit: Permit) -> Result<http::Response<Body>, InvokeError> {
        let path = call.request.uri().path().to_owned();
        if let Some(ms) = path.strip_prefix("/sleep/").and_then(|ms| ms.parse().ok()) {
            let nap = tokio::time::sleep(Duration::from_millis(ms));
            if call.deadline.bound(nap).await.is_err() {
                return Err(InvokeError::deadline(Reached::MaybeRan, "the function took too long"));
            }
        }
        let body = match path.as_str() {
            "/echo" => call.request.into_body(),
            "/fail" => return Err(InvokeError::function(Code::FunctionFailed, "the function trapped")),
            _ => Body::from("hello"),
        };
        Ok(http::Response::new(Body::stream(GuardedBody::new(body, permit))))
    }

    fn capacity(&self) -> usize {
        64
    }
}
