//! The gateway: made of its parts, served on a listener.

use std::{convert::Infallible, sync::Arc};

use http::HeaderValue;
use hyper::service::service_fn;
use onrush_catalog::Catalog;
use onrush_invoke::{Invoke, Target};
use onrush_server::{Accept, Server, Summary};
use onrush_types::{ClusterView, DEFAULT_NAMESPACE, Label, LabelError, Limits};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, Health, connection::Client, error::Mode, follow::Routing, metrics::Metrics, stack, target::Resolved,
};

/// What a node's gateway is made of.
pub struct Parts {
    /// Carries calls: the router, or the worker of a node that is alone.
    pub invoke: Arc<dyn Invoke>,
    /// The local catalog.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// The cluster's nodes: limits of the whole cluster are divided over its gateways.
    pub view: watch::Receiver<Arc<ClusterView>>,
    /// What `/healthz` and `/readyz` say.
    pub health: Arc<dyn Health>,
    /// This node's name: `x-onrush-node` of the errors that it answers itself.
    pub node: Arc<str>,
}

/// One function on a whole port, without a cluster: `onrush serve`.
pub struct Standalone {
    /// Runs it.
    pub invoke: Arc<dyn Invoke>,
    /// What calls say that they call.
    pub target: Target,
    /// Its timeout, and whether it streams.
    pub limits: Limits,
}

/// HTTP in and out.
pub struct Gateway {
    pub(crate) config: Config,
    pub(crate) invoke: Arc<dyn Invoke>,
    pub(crate) routes: Routes,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: TaskTracker,
    drain: CancellationToken,
}

/// What is served.
pub(crate) enum Routes {
    /// `/function/...`, the operator's routes, and health.
    Cluster(Cluster),
    /// One function, whatever the path.
    One(Resolved),
}

/// The cluster as the gateway sees it.
pub(crate) struct Cluster {
    pub(crate) catalog: watch::Receiver<Arc<Catalog>>,
    pub(crate) routing: Routing,
    pub(crate) health: Arc<dyn Health>,
    pub(crate) namespace: Label,
    pub(crate) node: HeaderValue,
}

impl Gateway {
    /// A node's gateway. Metrics go to the recorder that is installed at this moment.
    ///
    /// # Errors
    /// Never in practice: the default namespace is a label.
    pub fn new(config: Config, parts: Parts) -> Result<Self, LabelError> {
        let Parts { invoke, catalog, view, health, node } = parts;
        let node = HeaderValue::from_str(&node).unwrap_or(HeaderValue::from_static("unnamed"));
        let routing = Routing::new(catalog.clone(), view);
        let namespace = DEFAULT_NAMESPACE.parse()?;
        let routes = Routes::Cluster(Cluster { catalog, routing, health, namespace, node });
        Ok(Self::with(config, invoke, routes))
    }

    /// One function on the whole port: every request passes whole, and a trap is 500 instead of 502.
    pub fn standalone(config: Config, one: Standalone) -> Self {
        let routes = Routes::One(Resolved::new(one.target, &one.limits));
        Self::with(config, one.invoke, routes)
    }

    fn with(config: Config, invoke: Arc<dyn Invoke>, routes: Routes) -> Self {
        let (metrics, tasks) = (Metrics::new(), TaskTracker::new());
        Self { config, invoke, routes, metrics, tasks, drain: CancellationToken::new() }
    }

    /// Serves until `drain`, finishes what is in flight, and cuts off what is left at `force` or after the grace of
    /// the listener's config.
    pub async fn serve<A: Accept>(
        mut self,
        server: Server<A>,
        drain: CancellationToken,
        force: CancellationToken,
    ) -> Summary {
        self.drain = drain.clone();
        let gateway = Arc::new(self);
        let service = |peer| {
            let client = Arc::new(Client::new(&gateway.config, peer));
            let gateway = Arc::clone(&gateway);
            service_fn(move |request| {
                let (gateway, client) = (Arc::clone(&gateway), Arc::clone(&client));
                async move { Ok::<_, Infallible>(stack::answer(&gateway, &client, request).await) }
            })
        };
        let follow = async {
            match &gateway.routes {
                Routes::Cluster(cluster) => cluster.routing.follow().await,
                Routes::One(_) => std::future::pending().await,
            }
        };
        let summary = tokio::select! {
            summary = server.serve(service, drain, force) => summary,
            never = follow => match never {},
        };
        gateway.tasks.close();
        gateway.tasks.wait().await;
        summary
    }

    /// Whether this node should get traffic: not while it drains.
    pub(crate) fn ready(&self, cluster: &Cluster) -> Result<(), String> {
        if self.drain.is_cancelled() {
            return Err("draining: this node finishes what it has and takes nothing new".to_owned());
        }
        cluster.health.ready()
    }

    pub(crate) const fn mode(&self) -> Mode {
        match self.routes {
            Routes::Cluster(_) => Mode::Cluster,
            Routes::One(_) => Mode::Standalone,
        }
    }
}
