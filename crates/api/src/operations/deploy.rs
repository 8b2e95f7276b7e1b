//! A deploy: everything that can be refused is refused before anything changes.
//!
//! Check the spec → a fresh catalog (so: a quorum) → have the artifact here → inspect → compile on this node → copy to a majority of the voters →
//! commit → wait for the live nodes. Only the commit changes the catalog; what was copied before a refusal is swept up
//! by the artifact store.

use std::sync::Arc;

use onrush_catalog::{Command, Function, Outcome, Proposal};
use onrush_runtime::{Artifact, GuestLog, Runtime};
use onrush_types::{
    Code, FunctionName, FunctionSpec, InvocationId, LogStream, RequestId, Revision, RuntimeKind, VersionNumber,
};
use tokio::sync::mpsc;

use crate::{Api, ApiError};

/// What is wanted.
#[derive(Debug, Clone)]
pub(crate) struct DeployWish {
    pub(crate) name: FunctionName,
    /// A size of 0 stands for "as it was uploaded to this node".
    pub(crate) spec: FunctionSpec,
    pub(crate) expected: Option<Revision>,
    pub(crate) request: RequestId,
}

/// How it ended.
#[derive(Debug, Clone)]
pub(crate) struct Deployed {
    pub(crate) function: Arc<Function>,
    pub(crate) revision: Revision,
    pub(crate) changed: bool,
    /// Names of live nodes that had not applied it in time.
    pub(crate) laggards: Vec<String>,
}

/// How far it got, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) step: &'static str,
    pub(crate) detail: String,
}

/// Where the steps go. Nobody has to listen.
#[derive(Clone)]
pub(crate) struct Progress(pub(crate) Option<mpsc::Sender<Step>>);

impl Progress {
    fn at(&self, step: &'static str, detail: impl Into<String>) {
        if let Some(listener) = &self.0 {
            // A listener that is gone or slow must not hold up the deploy.
            drop(listener.try_send(Step { step, detail: detail.into() }));
        }
    }
}

impl Api {
    /// Adds a version to a function, in a task of its own.
    pub(crate) async fn deploy(self: &Arc<Self>, wish: DeployWish, progress: Progress) -> Result<Deployed, ApiError> {
        let api = Arc::clone(self);
        self.owned(async move { api.carry_out(wish, progress).await }).await
    }

    async fn carry_out(&self, mut wish: DeployWish, progress: Progress) -> Result<Deployed, ApiError> {
        check_runtime(&wish.spec)?;
        self.fill_in_size(&mut wish.spec).await?;
        check_spec(&wish)?;
        let known = self.catalog(false).await?;
        if !known.requests.contains_key(&wish.request) {
            // Without a quorum nothing below can succeed; this says so at once instead of after compiling and copying.
            self.catalog(true).await?;
            self.precheck(&wish)?;
            let preparing = self.prepare(&wish, &progress);
            tokio::time::timeout(self.config.prepare_timeout, preparing).await.map_err(|_| self.took_too_long())??;
            progress.at("copying", "to a majority of the voters");
            self.parts.artifacts.secure(wish.spec.artifact, self.config.secure_timeout).await?;
        }
        progress.at("committing", "");
        let command = Command::PutFunction { name: wish.name.clone(), spec: wish.spec, expected: wish.expected };
        let (revision, outcome) = self.commit(wish.request, command).await?;
        let Outcome::FunctionPut { changed, .. } = outcome else {
            let why = format!("request id {} was used for another change already", wish.request);
            return Err(ApiError::new(Code::Conflict, why));
        };
        progress.at("spreading", format!("revision {revision}"));
        let laggards = self.parts.control.laggards(revision, self.config.spread_timeout).await;
        let laggards = self.node_names(&laggards).await?;
        let function = self.describe(&wish.name, false).await.map_err(|_| {
            ApiError::new(Code::Conflict, format!("{} was deployed and then removed by somebody else", wish.name))
        })?;
        Ok(Deployed { function, revision, changed, laggards })
    }

    /// Whether the commit would be refused, by the catalog that the fresh read has just brought here.
    fn precheck(&self, wish: &DeployWish) -> Result<(), ApiError> {
        let command =
            Command::PutFunction { name: wish.name.clone(), spec: wish.spec.clone(), expected: wish.expected };
        let proposal = Proposal { request: wish.request, at_ms: self.parts.clock.now_ms(), command };
        let catalog = self.parts.store.watch().borrow().clone();
        super::routes::check_followers(&catalog, &wish.name, wish.spec.idempotent)?;
        catalog.preview(&proposal).accepted()?;
        Ok(())
    }

    /// Checks and compiles on this node, so that code that can never run is refused at deploy.
    async fn prepare(&self, wish: &DeployWish, progress: &Progress) -> Result<(), ApiError> {
        let runtime = self.runtime(wish.spec.runtime)?;
        progress.at("inspecting", format!("sha256 {}", wish.spec.artifact.digest.short()));
        let path = self.parts.artifacts.open(wish.spec.artifact).await?;
        let found = runtime.inspect(path.clone()).await?;
        progress.at("compiling", found.world);
        let catalog = self.catalog(false).await?;
        let newest = catalog.functions.get(&wish.name).map_or(VersionNumber(0), |function| function.latest.number);
        let artifact = Artifact {
            function: wish.name.clone(),
            version: newest.next(),
            path,
            digest: wish.spec.artifact.digest,
            spec: Arc::new(wish.spec.clone()),
            log: Arc::new(NoLog),
        };
        // What it leaves on disk is what counts; the worker prepares its own when calls come.
        runtime.prepare(artifact).await?;
        Ok(())
    }

    fn runtime(&self, kind: RuntimeKind) -> Result<&Arc<dyn Runtime>, ApiError> {
        self.parts.runtimes.iter().find(|runtime| runtime.kind() == kind).ok_or_else(|| {
            let why = format!("node {} has no runtime {:?}; deploy through another node", self.parts.node, kind.name());
            ApiError::new(Code::Unavailable, why)
        })
    }

    async fn fill_in_size(&self, spec: &mut FunctionSpec) -> Result<(), ApiError> {
        if spec.artifact.size == 0 {
            let digest = spec.artifact.digest;
            spec.artifact.size = self.parts.artifacts.size_here(digest).await.ok_or_else(|| {
                let why = format!(
                    "artifact {digest} is not on node {}; say its size, or upload it here first",
                    self.parts.node
                );
                ApiError::new(Code::NotFound, why)
            })?;
        }
        Ok(())
    }

    fn took_too_long(&self) -> ApiError {
        let why = format!("checking and compiling took longer than {:?}", self.config.prepare_timeout);
        ApiError::new(Code::DeadlineExceeded, why)
    }
}

fn check_runtime(spec: &FunctionSpec) -> Result<(), ApiError> {
    match spec.runtime {
        RuntimeKind::Wasm => Ok(()),
        RuntimeKind::Process => Err(ApiError::bad_request(
            "runtime: \"process\" comes with a later release; this one runs \"wasm\" components",
        )),
    }
}

fn check_spec(wish: &DeployWish) -> Result<(), ApiError> {
    if !wish.spec.secrets.is_empty() {
        return Err(ApiError::bad_request("secrets: come with a later release; use environment meanwhile"));
    }
    let problems: Vec<_> = wish.spec.problems().iter().map(ToString::to_string).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("{} cannot be deployed: {}", wish.name, problems.join("; "))))
}

/// Nothing runs at deploy, so nothing is written.
struct NoLog;

impl GuestLog for NoLog {
    fn line(&self, _invocation: Option<InvocationId>, _stream: LogStream, _text: &str) {}
}

#[cfg(test)]
mod tests;
