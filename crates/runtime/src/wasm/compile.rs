//! Compiling, off the serving threads: one component at a time, at low priority, within bounds of time and memory.
//!
//! What a compiler does with hostile input is outside of wasmtime's security promise, so that the default of the
//! binary is a process of its own that can be killed.

use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    sync::Arc,
};

use onrush_types::Digest;
use tokio::{
    io::AsyncReadExt,
    process::Command,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use wasmtime::component::Component;

use super::{
    Compiler, Config,
    cache::{self, Cache},
    engine::{Engines, World, compiling},
    inspect,
};
use crate::PrepareError;

/// Exit status of the compiling process when the component is at fault (`EX_DATAERR`).
const UNFIT: u8 = 65;
/// Ten steps below everything that serves.
const NICE: i32 = 10;

/// Turns artifacts into code that can run, through the cache.
pub(super) struct Compile {
    config: Arc<Config>,
    engines: Engines,
    cache: Arc<Cache>,
    turn: Arc<Semaphore>,
    queue: Semaphore,
}

impl Compile {
    pub(super) fn new(config: Arc<Config>, engines: Engines, cache: Cache) -> Self {
        let queue = Semaphore::new(config.compile_queue.max(1));
        Self { config, engines, cache: Arc::new(cache), turn: Arc::new(Semaphore::new(1)), queue }
    }

    /// The code of this artifact, from the cache or newly made.
    pub(super) async fn component(&self, path: &Path, digest: Digest) -> Result<(World, Component), PrepareError> {
        if let Some(found) = self.cached(digest).await? {
            return Ok(found);
        }
        let full = |_| PrepareError::Failed("too many components wait to be compiled; try again later".to_owned());
        let _place = self.queue.try_acquire().map_err(full)?;
        let turn = self.turn.clone().acquire_owned().await.map_err(|_| failed("the compiler is closed"))?;
        // Shared with the thread that compiles, which goes on even if this future is dropped.
        let turn = Arc::new(turn);
        // Somebody else may have compiled the same one meanwhile.
        if let Some(found) = self.cached(digest).await? {
            return Ok(found);
        }
        let most = self.config.component_bytes;
        let source = path.to_owned();
        let world = blocking(move || Ok(inspect::inspect(&inspect::read(&source, most)?)?.world)).await??;
        let target = self.cache.path(&digest, self.engines.of(world));
        let scratch = self.cache.scratch(&target);
        match &self.config.compiler {
            Compiler::InProcess => self.in_process(world, path, &scratch, turn.clone()).await?,
            Compiler::Child(program) => self.in_child(program, path, &scratch).await?,
        }
        let cache = self.cache.clone();
        let kept = blocking(move || cache.keep(&scratch, &target)).await?;
        kept.map_err(|error| PrepareError::Failed(format!("cannot keep compiled code: {error}")))?;
        self.cached(digest).await?.ok_or_else(|| failed("compiled code could not be loaded; see this node's log"))
    }

    async fn cached(&self, digest: Digest) -> Result<Option<(World, Component)>, PrepareError> {
        let (cache, engines) = (self.cache.clone(), self.engines.clone());
        blocking(move || {
            [World::P2, World::P3].into_iter().find_map(|world| {
                let engine = engines.of(world);
                Some((world, cache.load(&cache.path(&digest, engine), engine)?))
            })
        })
        .await
    }

    async fn in_process(
        &self,
        world: World,
        source: &Path,
        scratch: &Path,
        turn: Arc<OwnedSemaphorePermit>,
    ) -> Result<(), PrepareError> {
        let (source, scratch, most) = (source.to_owned(), scratch.to_owned(), self.config.component_bytes);
        let engine = self.engines.of(world).clone();
        let (tell, done) = tokio::sync::oneshot::channel();
        let work = move || {
            lower_priority();
            let made = inspect::read(&source, most).and_then(|bytes| compile_into(&engine, &bytes, &scratch));
            // Kept to the end of the work, not of the wait: a thread cannot be killed.
            let _turn = turn;
            tell.send(made).unwrap_or_else(|_| tracing::debug!("nobody waits for this component any more"));
        };
        let thread = std::thread::Builder::new().name("wasm-compile".to_owned()).spawn(work);
        thread.map_err(|error| PrepareError::Failed(format!("no thread to compile on: {error}")))?;
        match timeout(self.config.compile_time, done).await {
            Ok(Ok(made)) => made,
            Ok(Err(_)) => Err(failed("the compiler panicked")),
            Err(_) => Err(self.too_slow()),
        }
    }

    async fn in_child(&self, program: &Path, source: &Path, scratch: &Path) -> Result<(), PrepareError> {
        let mut child = Command::new(program)
            .arg("compile-component")
            .args([source, scratch])
            .arg(self.config.compile_memory.to_string())
            .arg(self.config.compile_time.as_secs().saturating_mul(8).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                PrepareError::Failed(format!("cannot start the compiler {}: {error}", program.display()))
            })?;
        let mut said = child.stderr.take().map(|stderr| stderr.take(8 << 10));
        let mut text = String::new();
        let work = async {
            if let Some(said) = &mut said {
                said.read_to_string(&mut text).await?;
            }
            child.wait().await
        };
        let Ok(ended) = timeout(self.config.compile_time, work).await else {
            child.kill().await.unwrap_or_else(|error| tracing::warn!(%error, "cannot kill the compiler"));
            return Err(self.too_slow());
        };
        let status = ended.map_err(|error| PrepareError::Failed(format!("lost the compiler: {error}")))?;
        let text = text.trim();
        match status.code() {
            Some(0) => Ok(()),
            Some(code) if code == i32::from(UNFIT) => Err(inspect::unfit(text.to_owned())),
            _ => Err(PrepareError::Failed(format!(
                "the compiler ended with {status}; the component may need more than {} MiB to compile: {text}",
                self.config.compile_memory >> 20
            ))),
        }
    }

    fn too_slow(&self) -> PrepareError {
        PrepareError::Failed(format!("compiling took longer than {:?} and was given up", self.config.compile_time))
    }
}

/// The compiling process: `IN OUT [BYTES OF MEMORY] [SECONDS OF PROCESSOR TIME]`. The binary calls it for its hidden
/// subcommand `compile-component`.
pub fn compile_component(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    lower_priority();
    let (status, text) = match compile_arguments(arguments) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(PrepareError::Unfit(text)) => (UNFIT, text),
        Err(PrepareError::Failed(text)) => (1, text),
    };
    // The parent may be gone; there is nobody else to tell.
    writeln!(std::io::stderr(), "{text}").unwrap_or_default();
    ExitCode::from(status)
}

fn compile_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<(), PrepareError> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let mut arguments = arguments.into_iter();
    let (Some(source), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err(failed("usage: compile-component IN OUT [MEMORY] [SECONDS]"));
    };
    for resource in [Resource::As, Resource::Cpu] {
        let Some(most) = arguments.next() else { break };
        let most = most.to_str().and_then(|text| text.parse().ok());
        let most = most.ok_or_else(|| failed("MEMORY and SECONDS are numbers"))?;
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(|error| PrepareError::Failed(format!("cannot limit the compiler: {error}")))?;
    }
    let bytes = inspect::read(Path::new(&source), u64::MAX)?;
    let world = inspect::inspect(&bytes)?.world;
    let engine = compiling(world).map_err(|error| PrepareError::Failed(format!("{error:#}")))?;
    compile_into(&engine, &bytes, &PathBuf::from(target))
}

fn compile_into(engine: &wasmtime::Engine, bytes: &[u8], target: &Path) -> Result<(), PrepareError> {
    let code = engine.precompile_component(bytes).map_err(|error| inspect::unfit(format!("{error:#}")))?;
    let write = || cache::create(target)?.write_all(&code);
    write().map_err(|error| PrepareError::Failed(format!("cannot write {}: {error}", target.display())))
}

fn lower_priority() {
    // On Linux a priority belongs to a thread; new threads inherit it.
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICE) {
        tracing::debug!(%error, "the compiler keeps its priority");
    }
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PrepareError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| PrepareError::Failed(format!("a defect: {error}")))
}

fn failed(text: &str) -> PrepareError {
    PrepareError::Failed(text.to_owned())
}
