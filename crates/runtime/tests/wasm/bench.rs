//! A runtime with a guest in it, and the calls that tests make.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use onrush_invoke::{Body, Deadline, Invocation, InvokeError, Target};
use onrush_runtime::{
    Artifact, GuestLog, Permit, PrepareError, Prepared, Runtime,
    wasm::{Config, WasmRuntime},
};
use onrush_types::{
    ArtifactRef, Digest, FunctionName, FunctionSpec, InvocationId, LogStream, Revision, RuntimeKind, VersionNumber,
};

/// What the guest printed.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<(bool, LogStream, String)>>);

impl GuestLog for Log {
    fn line(&self, invocation: Option<InvocationId>, stream: LogStream, text: &str) {
        self.0.lock().unwrap().push((invocation.is_some(), stream, text.to_owned()));
    }
}

impl Log {
    pub(crate) fn lines(&self, of: LogStream) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|(_, stream, _)| *stream == of).map(|(_, _, text)| text.clone()).collect()
    }

    pub(crate) fn says(&self, part: &str) -> bool {
        self.0.lock().unwrap().iter().any(|(_, _, text)| text.contains(part))
    }

    pub(crate) fn all_belong_to_a_call(&self) -> bool {
        self.0.lock().unwrap().iter().all(|(known, _, _)| *known)
    }
}

/// A runtime in a folder of its own.
pub(crate) struct Bench {
    pub(crate) runtime: Arc<WasmRuntime>,
    pub(crate) log: Arc<Log>,
    pub(crate) permits: Arc<()>,
    pub(crate) cache: Arc<tempfile::TempDir>,
    shared: bool,
}

/// Compiled once for all tests: compiling is not what they are about.
fn shared_cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wasm-cache")
}

/// A cache belongs to one process; tests that share one take turns.
fn turn() -> std::fs::File {
    let file = std::fs::File::create(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wasm-cache.lock")).unwrap();
    file.lock().unwrap();
    file
}

pub(crate) fn guest(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let example = root.join("examples/prebuilt").join(name).with_extension("wasm");
    if example.try_exists().unwrap() {
        example
    } else {
        root.join("tests/guests/prebuilt").join(name).with_extension("wasm")
    }
}

pub(crate) fn digest(path: &std::path::Path) -> Digest {
    use sha2::Digest as _;
    Digest(sha2::Sha256::digest(std::fs::read(path).unwrap()).into())
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self::in_folder(config, shared_cache())
    }

    pub(crate) fn in_folder(config: Config, folder: PathBuf) -> Self {
        let config = if config.instances == 0 { Config { instances: 300, ..config } } else { config };
        let shared = folder == shared_cache();
        let _turn = shared.then(turn);
        let runtime = WasmRuntime::new(config, tokio::runtime::Handle::current(), folder).unwrap();
        let cache = Arc::new(tempfile::tempdir().unwrap());
        Self { runtime, log: Arc::default(), permits: Arc::new(()), cache, shared }
    }

    pub(crate) fn artifact(&self, name: &str, change: impl FnOnce(&mut FunctionSpec)) -> Artifact {
        let path = guest(name);
        let digest = digest(&path);
        let mut spec = FunctionSpec::new(RuntimeKind::Wasm, ArtifactRef { digest, size: 1 });
        change(&mut spec);
        Artifact {
            function: function(name),
            version: VersionNumber(1),
            path,
            digest,
            spec: Arc::new(spec),
            log: self.log.clone(),
        }
    }

    pub(crate) async fn prepare(&self, name: &str) -> Guest {
        self.prepare_with(name, |_| {}).await
    }

    pub(crate) async fn prepare_with(&self, name: &str, change: impl FnOnce(&mut FunctionSpec)) -> Guest {
        self.prepare_artifact(self.artifact(name, change)).await
    }

    pub(crate) async fn prepare_artifact(&self, artifact: Artifact) -> Guest {
        let prepared = self.try_prepare(artifact).await.unwrap();
        Guest { prepared, permits: self.permits.clone() }
    }

    /// A component from its text form.
    pub(crate) async fn prepare_text(&self, name: &str, text: &str, change: impl FnOnce(&mut FunctionSpec)) -> Guest {
        let path = self.cache.path().join(name).with_extension("wasm");
        std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        let mut artifact = self.artifact("hello", change);
        artifact.digest = digest(&path);
        artifact.path = path;
        self.prepare_artifact(artifact).await
    }

    pub(crate) async fn try_prepare(&self, artifact: Artifact) -> Result<Arc<dyn Prepared>, PrepareError> {
        let _turn = self.shared.then(turn);
        self.runtime.prepare(artifact).await
    }

    /// Waits until every permit is back and no guest holds memory.
    pub(crate) async fn all_quiet(&self) {
        until("all permits and all memory to come back", || {
            Arc::strong_count(&self.permits) == self.holders() && self.runtime.memory_in_use() == 0
        })
        .await;
    }

    /// Permits that are in calls now.
    pub(crate) fn in_flight(&self, guests: usize) -> usize {
        Arc::strong_count(&self.permits) - 1 - guests
    }

    fn holders(&self) -> usize {
        // The bench itself and its one guest.
        2
    }
}

/// A prepared version.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) prepared: Arc<dyn Prepared>,
    permits: Arc<()>,
}

impl Guest {
    pub(crate) async fn get(&self, path: &str) -> Result<http::Response<Body>, InvokeError> {
        self.send(path, Body::empty(), Duration::from_secs(30)).await
    }

    pub(crate) async fn send(
        &self,
        path: &str,
        body: Body,
        timeout: Duration,
    ) -> Result<http::Response<Body>, InvokeError> {
        let uri = format!("http://shop.example{path}");
        let method = if http_body::Body::is_end_stream(&body) { "GET" } else { "POST" };
        let request = http::Request::builder().method(method).uri(uri).body(body).unwrap();
        self.call(request, timeout).await
    }

    pub(crate) async fn call(
        &self,
        request: http::Request<Body>,
        timeout: Duration,
    ) -> Result<http::Response<Body>, InvokeError> {
        self.call_under(Box::new(self.permits.clone()), request, timeout).await
    }

    pub(crate) async fn call_under(
        &self,
        permit: Box<dyn Permit>,
        request: http::Request<Body>,
        timeout: Duration,
    ) -> Result<http::Response<Body>, InvokeError> {
        let target = Target { function: function("f"), version: VersionNumber(1), revision: Revision(1) };
        let deadline = Deadline::after(timeout);
        let call = Invocation { id: InvocationId::new(), target, deadline, attempt: 1, sharing: None, request };
        self.prepared.call(call, permit).await
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        let reply = self.get(path).await.unwrap();
        String::from_utf8(read(reply).await.to_vec()).unwrap()
    }
}

pub(crate) async fn read(reply: http::Response<Body>) -> Bytes {
    reply.into_body().collect(1 << 30).await.unwrap()
}

pub(crate) fn function(name: &str) -> FunctionName {
    FunctionName::new("default".parse().unwrap(), name.parse().unwrap())
}

/// Waits for a condition; fails the test when it does not come.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "waited in vain for {what}");
}
