//! `serve`: one component, no cluster. And the hidden verb that compiles in a process of its own.

use std::{
    process::ExitCode,
    sync::{Arc, mpsc},
    task::{Context, Poll},
    thread,
};

use onrush_gateway::{Gateway, Standalone};
use onrush_invoke::{Invocation, Invoke, InvokeError, LoadReport, Reached, Reply, Target};
use onrush_node::telemetry::{self, LogFormat};
use onrush_runtime::{
    Artifact, GuestLog, Permit, Prepared, Runtime as _,
    wasm::{self, WasmRuntime},
};
use onrush_server::BoundServer;
use onrush_types::{
    ArtifactRef, Code, DEFAULT_NAMESPACE, FunctionName, FunctionSpec, InvocationId, Label, Limits, LogStream, Revision,
    RuntimeKind, VersionNumber,
};
use tokio::{
    runtime::{Builder, Handle},
    signal::unix::{SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{CompileComponent, Serve},
    artifact,
    failure::Failure,
};

/// Lines of the guest that wait for the terminal; one more drops.
const LINES: usize = 1_024;

pub(super) fn compile(verb: CompileComponent) -> ExitCode {
    wasm::compile_component(verb.arguments)
}

pub(super) fn run(verb: Serve) -> Result<(), Failure> {
    // Guests compute on threads of their own, so that they never stand in the way of a socket.
    let guests = Builder::new_multi_thread().thread_name("guest").global_queue_interval(1).enable_all().build()?;
    let io = super::threads::io_threads(0)?;
    let outcome = io.block_on(serve(verb, guests.handle().clone()));
    guests.shutdown_background();
    outcome
}

async fn serve(verb: Serve, guests: Handle) -> Result<(), Failure> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut signalled = async move || {
        tokio::select! { _ = interrupts.recv() => {}, _ = terminations.recv() => {} }
    };
    // Before the port is taken: a wrong file is the likelier mistake.
    let artifact = artifact::read(&verb.file)?;
    let scratch = tempfile::Builder::new().prefix("onrush-serve-").tempdir()?;
    let config = onrush_gateway::Config::default();
    onrush_server::raise_open_files();
    let server = BoundServer::bind(config.server.clone(), verb.addr);
    let server = server.map_err(|error| Failure::new(Code::Conflict, format!("--addr: {error}")))?;
    let one = tokio::select! {
        one = prepare(&verb, artifact.id, guests, scratch.path().join("compiled")) => one?,
        () = signalled() => return Ok(()),
    };
    let gateway = Gateway::standalone(config, one);
    // Programs wait for this line and expect it to be the first one, so logging starts behind it.
    eprintln!("Serving HTTP on http://{}/", server.local_addr());
    telemetry::init_logs("warn", LogFormat::Text)?;
    if !verb.egress.is_empty() {
        eprintln!("warning: --egress opens nothing yet: functions have no network");
    }
    let (drain, force) = (CancellationToken::new(), CancellationToken::new());
    let serving = gateway.serve(server, drain.clone(), force.clone());
    tokio::pin!(serving);
    loop {
        tokio::select! {
            _ = &mut serving => return Ok(()),
            () = signalled() => {
                if drain.is_cancelled() {
                    force.cancel();
                }
                drain.cancel();
            }
        }
    }
}

async fn prepare(
    verb: &Serve,
    code: ArtifactRef,
    guests: Handle,
    cache: std::path::PathBuf,
) -> Result<Standalone, Failure> {
    let spec = FunctionSpec {
        limits: Limits { timeout: verb.timeout, reuse: verb.reuse, ..Limits::default() },
        environment: verb.env.iter().cloned().collect(),
        egress: verb.egress.clone(),
        ..FunctionSpec::new(RuntimeKind::Wasm, code)
    };
    let problems: Vec<_> = spec.problems().iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(Failure::Usage(problems.join("; ")));
    }
    let limits = spec.limits.clone();
    let function = FunctionName::new(label(DEFAULT_NAMESPACE)?, label("served")?);
    let target = Target { function: function.clone(), version: VersionNumber(1), revision: Revision(0) };
    let unfit =
        |error: onrush_runtime::PrepareError| Failure::new(error.code(), format!("{}: {error}", verb.file.display()));
    let runtime = WasmRuntime::new(wasm::Config::default(), guests, cache);
    let runtime = runtime.map_err(|error| Failure::here(error.to_string()))?;
    let artifact = Artifact {
        function,
        version: target.version,
        path: verb.file.clone(),
        digest: code.digest,
        spec: Arc::new(spec),
        log: Arc::new(Terminal::new()),
    };
    let prepared = runtime.prepare(artifact).await.map_err(unfit)?;
    let places = Arc::new(Semaphore::new(prepared.capacity()));
    Ok(Standalone {
        invoke: Arc::new(One { prepared, places, node: "serve".into(), _runtime: runtime }),
        target,
        limits,
    })
}

fn label(text: &str) -> Result<Label, Failure> {
    text.parse().map_err(|error| Failure::here(format!("{error}")))
}

/// The component as something that takes calls; one too many waits for a place until its deadline.
struct One {
    prepared: Arc<dyn Prepared>,
    places: Arc<Semaphore>,
    node: Arc<str>,
    /// Its clock ends guests that take too long.
    _runtime: Arc<WasmRuntime>,
}

#[async_trait::async_trait]
impl Invoke for One {
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError> {
        let place = call.deadline.bound(Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| InvokeError::deadline(Reached::NotSent, "no instance was free in time"))?;
        let place = place.map_err(|_| InvokeError::refused(Code::Unavailable, "shutting down"))?;
        let response = self.prepared.call(call, Box::new(Place { _it: place })).await?;
        Ok(Reply { response, node: Arc::clone(&self.node), load: LoadReport::default() })
    }
}

/// A place among those who are served. There is nobody to share the cores with: everyone may compute.
struct Place {
    _it: OwnedSemaphorePermit,
}

impl Permit for Place {
    fn poll_compute(&mut self, _: &mut Context<'_>) -> Poll<Result<(), InvokeError>> {
        Poll::Ready(Ok(()))
    }

    fn pause(&mut self) {}
}

/// Shows what the guest writes, without ever making it wait.
struct Terminal(mpsc::SyncSender<String>);

impl Terminal {
    fn new() -> Self {
        let (sender, lines) = mpsc::sync_channel::<String>(LINES);
        thread::spawn(move || lines.iter().for_each(|line| eprintln!("{line}")));
        Self(sender)
    }
}

impl GuestLog for Terminal {
    fn line(&self, _invocation: Option<InvocationId>, stream: LogStream, text: &str) {
        let stream = match stream {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
            LogStream::Platform => "platform",
        };
        // A full queue means that the terminal is slower than the guest: this line is lost.
        drop(self.0.try_send(format!("{stream} | {text}")));
    }
}
