//! WebAssembly components: `wasi:http` 0.2 and 0.3.
//!
//! Knows: wasmtime, how components are judged, compiled, linked, started and kept in bounds.
//! Does not know: which component is called when; that is the worker's.
mod cache; // compiled code on disk; the only unsafe
mod compile; // off the serving threads, in a process of its own
mod config;
mod drive; // one call seen from outside: time, cancellation, head and body
mod engine; // the measured recipe
mod failure; // traps in plain words
mod host; // what a guest sees
mod idle; // instances between two calls
mod inspect; // what is this file?
mod instance; // one live guest
mod limits; // memory and tables
mod output; // what a guest prints
mod pace; // which threads a call computes on
mod reply; // a body tied to its guest
mod version; // `Prepared`

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use onrush_types::{FunctionName, RuntimeKind};
use tokio::{runtime::Handle, sync::Semaphore};
use wasmtime::component::{Component, InstancePre, Linker};

use self::{
    cache::Cache,
    compile::{Compile, blocking},
    engine::{Engines, World},
    host::{Host, Template},
    idle::{Idle, Idlers},
    instance::Linked,
    limits::Budget,
    pace::Pace,
    version::Version,
};
pub use self::{
    compile::compile_component,
    config::{Compiler, Config},
};
use crate::{Artifact, Inspection, PrepareError, Prepared, Runtime};

/// Why the runtime cannot start. The machine or the settings are at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// wasmtime refused the settings, or the pool of instances could not be reserved.
    #[error(
        "the wasm runtime cannot start: {0}; where address space is limited (ulimit -v, a container), \
         set 'instances' lower"
    )]
    Engine(String),
    /// The folder for compiled code is not usable.
    #[error("compiled code cannot be kept in {folder}: {why}")]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// What the system said.
        why: String,
    },
}

/// Runs components.
pub struct WasmRuntime {
    config: Arc<Config>,
    compile: Compile,
    linkers: [Linker<Host>; 2],
    guests: Handle,
    budget: Arc<Budget>,
    idlers: Arc<Idlers>,
    places: Mutex<HashMap<FunctionName, Weak<Semaphore>>>,
}

impl WasmRuntime {
    /// One that computes on the threads of `guests` and keeps compiled code in `cache_dir`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(config: Config, guests: Handle, cache_dir: PathBuf) -> Result<Arc<Self>, Error> {
        // Counting the cores reads several files; each call asks for the size of the pool.
        let config = Config { instances: config.pool(), ..config };
        let folder = |error: std::io::Error| Error::Folder { folder: cache_dir.clone(), why: error.to_string() };
        let cache = Cache::open(cache_dir.clone(), config.compiled_bytes).map_err(folder)?;
        let engines = Engines::new(&config)?;
        let link = |world| host::linker(engines.of(world), world).map_err(|error| Error::Engine(format!("{error:#}")));
        let linkers = [link(World::P2)?, link(World::P3)?];
        let idlers = Arc::new(Idlers::default());
        start_clock(&config, &engines, &idlers)?;
        let memory = if config.memory_total > 0 { config.memory_total } else { limits::half_of_the_machine() };
        let config = Arc::new(config);
        Ok(Arc::new(Self {
            compile: Compile::new(config.clone(), engines, cache),
            config,
            linkers,
            guests,
            budget: Budget::new(memory),
            idlers,
            places: Mutex::default(),
        }))
    }

    /// Linear memory that instances hold now, in bytes.
    pub fn memory_in_use(&self) -> u64 {
        self.budget.used()
    }

    fn link(&self, world: World, component: &Component) -> Result<Linked, PrepareError> {
        let linker = match world {
            World::P2 => &self.linkers[0],
            World::P3 => &self.linkers[1],
        };
        let pre = linker.instantiate_pre(component).map_err(|error| missing_import(&error))?;
        let unfit = |error: wasmtime::Error| PrepareError::Unfit(format!("its HTTP handler does not fit: {error:#}"));
        linked(world, pre).map_err(unfit)
    }

    /// The function's share of the pool; all its versions have the same one.
    fn places(&self, function: &FunctionName) -> Arc<Semaphore> {
        let mut all = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = all.get(function).and_then(Weak::upgrade) {
            return places;
        }
        all.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.config.function_capacity()));
        all.insert(function.clone(), Arc::downgrade(&places));
        places
    }

    fn version(&self, artifact: &Artifact, linked: Linked) -> Arc<Version> {
        let limits = &artifact.spec.limits;
        let version = Arc::new_cyclic(|this| Version {
            this: this.clone(),
            linked,
            template: Template::new(artifact, self.config.clone(), self.budget.clone()),
            guests: self.guests.clone(),
            places: self.places(&artifact.function),
            idle: Idle::new(self.config.idle_instances),
            idlers: self.idlers.clone(),
            reuse: limits.reuse,
            pace: Arc::new(Pace::new(self.config.quick)),
            stream_idle: limits.streaming.then_some(self.config.stream_idle),
        });
        if limits.reuse > 1 {
            self.idlers.add(Arc::downgrade(&version));
        }
        version
    }
}

#[async_trait]
impl Runtime for WasmRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Wasm
    }

    async fn inspect(&self, path: PathBuf) -> Result<Inspection, PrepareError> {
        let most = self.config.component_bytes;
        let found = blocking(move || inspect::inspect(&inspect::read(&path, most)?)).await??;
        Ok(found.inspection)
    }

    async fn prepare(&self, artifact: Artifact) -> Result<Arc<dyn Prepared>, PrepareError> {
        let (world, component) = self.compile.component(&artifact.path, artifact.digest).await?;
        let linked = self.link(world, &component)?;
        Ok(self.version(&artifact, linked))
    }
}

fn linked(world: World, pre: InstancePre<Host>) -> wasmtime::Result<Linked> {
    Ok(match world {
        World::P2 => Linked::P2(wasmtime_wasi_http::p2::bindings::ProxyPre::new(pre)?),
        World::P3 => Linked::P3(wasmtime_wasi_http::p3::bindings::ServicePre::new(pre)?),
    })
}

/// wasmtime names the import between back quotes, and below that the part of it that is missing.
fn missing_import(error: &wasmtime::Error) -> PrepareError {
    let text = error.to_string();
    let name = text.split('`').nth(1).unwrap_or(&text);
    let why = error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let why = if why.is_empty() { why } else { format!(" ({why})") };
    PrepareError::Unfit(format!("the component imports {name}, which Onrush does not provide{why}"))
}

/// The epoch for guests that compute, and now and then a look at idle instances.
fn start_clock(config: &Config, engines: &Engines, idlers: &Arc<Idlers>) -> Result<(), Error> {
    let (tick, time) = (config.tick.max(Duration::from_millis(1)), config.idle_time);
    let idlers = Arc::downgrade(idlers);
    let mut swept = tokio::time::Instant::now();
    engines.tick(tick, move || {
        if swept.elapsed() > time.min(Duration::from_secs(1))
            && let Some(idlers) = idlers.upgrade()
        {
            idlers.sweep(time);
            swept = tokio::time::Instant::now();
        }
    })
}
