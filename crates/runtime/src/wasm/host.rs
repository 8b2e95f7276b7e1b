//! What a guest sees of the host: environment, output, clocks, random numbers; no files, no sockets, no outbound HTTP.

use std::sync::Arc;

use onrush_types::{InvocationId, LogStream};
use wasmtime::{
    Engine, Store,
    component::{Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::{
    Config,
    engine::World,
    limits::{Budget, Limits},
    output::Lines,
};
use crate::{Artifact, GuestLog};

/// The data of one store.
pub(super) struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: Hooks,
    limits: Limits,
    stdout: Lines,
    stderr: Lines,
}

/// What stores of one version have in common.
pub(super) struct Template {
    pub(super) config: Arc<Config>,
    pub(super) budget: Arc<Budget>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) memory: u64,
    pub(super) log: Arc<dyn GuestLog>,
}

impl Template {
    pub(super) fn new(artifact: &Artifact, config: Arc<Config>, budget: Arc<Budget>) -> Self {
        let spec = &artifact.spec;
        Self {
            config,
            budget,
            environment: spec.environment.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            memory: spec.limits.memory,
            log: artifact.log.clone(),
        }
    }

    /// A store with every limit set.
    pub(super) fn store(&self, engine: &Engine) -> Store<Host> {
        let config = &self.config;
        let mut store = Store::new(engine, self.host());
        store.limiter(|host| &mut host.limits);
        store.set_hostcall_fuel(config.host_call_bytes);
        store.set_max_component_handles(config.handles);
        if let Some(table) = store.concurrent_resource_table() {
            table.set_max_capacity(config.handles);
        }
        // At each tick the guest gives way to other tasks of its thread; what drives it looks at the time then.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    fn host(&self) -> Host {
        let config = &self.config;
        let lines = |stream| Lines::new(self.log.clone(), stream, config.log_line);
        let (stdout, stderr) = (lines(LogStream::Stdout), lines(LogStream::Stderr));
        let wasi = WasiCtxBuilder::new()
            .envs(&self.environment)
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .max_random_size(config.random_bytes)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(config.header_bytes);
        let mut table = ResourceTable::new();
        table.set_max_capacity(config.handles);
        let hooks = Hooks { log: self.log.clone(), invocation: None, chunk: config.reply_chunk };
        let limits = Limits::new(self.memory, config, self.budget.clone());
        Host { wasi, http, table, hooks, limits, stdout, stderr }
    }
}

impl Host {
    /// From now on everything belongs to this call.
    pub(super) fn begin(&mut self, invocation: InvocationId) {
        self.hooks.invocation = Some(invocation);
        self.stdout.begin(invocation);
        self.stderr.begin(invocation);
    }

    /// The call is over.
    pub(super) fn end(&self) {
        self.stdout.end();
        self.stderr.end();
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl Drop for Host {
    /// A call that was ended from outside has printed its last, unfinished line too.
    fn drop(&mut self) {
        self.end();
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

struct Hooks {
    log: Arc<dyn GuestLog>,
    invocation: Option<InvocationId>,
    chunk: usize,
}

type Sent = Result<(http::Response<WasiBody>, Processing), wasmtime_wasi_http::Error>;
type Processing = Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Processing,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let to = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let text = format!("outbound HTTP to '{to}' is denied: functions cannot call out yet");
        self.log.line(self.invocation, LogStream::Platform, &text);
        Box::new(std::future::ready(Err(wasmtime_wasi_http::Error::HttpRequestDenied)))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.chunk
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        self.chunk
    }
}

/// Everything a guest may import: the whole command world and HTTP, so that components of any toolchain fit.
pub(super) fn linker(engine: &Engine, world: World) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    if world == World::P3 {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}
