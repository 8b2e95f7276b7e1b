//! A runtime without guests, for unit tests of those above it.

use std::{
    future::poll_fn,
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

/// Serves every call by its path: `/echo` returns the body, `/compute/MS` holds a slot for so long, `/sleep/MS` waits
/// without one, `/fail` traps, anything else says hello.
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
    async fn call(&self, call: Invocation, mut permit: Box<dyn Permit>) -> Result<http::Response<Body>, InvokeError> {
        let path = call.request.uri().path().to_owned();
        let time = |prefix| path.strip_prefix(prefix).and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        let take_time = async {
            poll_fn(|cx| permit.poll_compute(cx)).await?;
            if let Some(time) = time("/compute/") {
                tokio::time::sleep(time).await;
            }
            permit.pause();
            if let Some(time) = time("/sleep/") {
                tokio::time::sleep(time).await;
            }
            Ok::<(), InvokeError>(())
        };
        let too_long = |_| InvokeError::deadline(Reached::MaybeRan, "the function took too long");
        call.deadline.bound(take_time).await.map_err(too_long)??;
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
