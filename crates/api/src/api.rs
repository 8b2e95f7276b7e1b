//! The API as one thing: what it is made of, and the router that serves it.

use std::sync::Arc;

use axum::Router;
use onrush_catalog::{ArtifactStore, CatalogStore, NodeControl};
use onrush_invoke::Invoke;
use onrush_runtime::Runtime;
use onrush_seams::WallClock;
use onrush_types::Label;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{ApiError, Config, grpc, rest};

/// What the API needs from its node.
#[derive(Clone)]
pub struct Parts {
    /// The agreed catalog.
    pub store: Arc<dyn CatalogStore>,
    /// Where functions' code is kept.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Carries out what operators ask of nodes.
    pub control: Arc<dyn NodeControl>,
    /// What can run functions on this node; used to check and compile at deploy.
    pub runtimes: Vec<Arc<dyn Runtime>>,
    /// Carries a call to a worker.
    pub invoke: Arc<dyn Invoke>,
    /// Renders the metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether the node serves; the error says what it waits for.
    pub ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// For the times in the catalog.
    pub clock: Arc<dyn WallClock>,
    /// This node's name.
    pub node: Label,
}

/// The operations, and what bounds them. `operations.rs` has the rules; `grpc` and `rest` are two thin ways in.
pub struct Api {
    pub(crate) config: Config,
    pub(crate) parts: Parts,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) changes: Arc<Semaphore>,
    pub(crate) log_readers: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
}

impl Api {
    /// Puts the API together.
    pub fn new(config: Config, parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            uploads: Arc::new(Semaphore::new(config.max_uploads)),
            changes: Arc::new(Semaphore::new(config.max_changes)),
            log_readers: Arc::new(Semaphore::new(config.max_log_readers)),
            tasks: TaskTracker::new(),
            config,
            parts,
        })
    }

    /// Everything that is served on the API's listener; give it to an HTTP/1 and HTTP/2 server.
    ///
    /// # Errors
    /// The reflection service cannot read the descriptors; a defect of the build.
    pub fn router(self: &Arc<Self>) -> Result<Router, ApiError> {
        Ok(rest::router(Arc::clone(self), grpc::routes(self)?))
    }

    /// Waits until the changes that were accepted have an outcome; call it when no new request can come.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
