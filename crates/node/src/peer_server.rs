//! The listener for peers. It answers `Hello` before the node belongs to anything, and everything else once it does:
//! the routes are replaced while connections stay.

use std::{convert::Infallible, sync::Arc, task};

use arc_swap::ArcSwap;
use axum::Router;
use futures::future::BoxFuture;
use http::{Request, Response};
use onrush_server::{BoundServer, tower};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower_service::Service;

/// What the peer listener answers now. Cheap to clone; all clones share the routes.
#[derive(Clone)]
pub(crate) struct PeerRoutes {
    routes: Arc<ArcSwap<Router>>,
}

impl PeerRoutes {
    pub(crate) fn new(routes: Routes) -> Self {
        Self { routes: Arc::new(ArcSwap::from_pointee(routes.into_axum_router())) }
    }

    pub(crate) fn replace(&self, routes: Routes) {
        self.routes.store(Arc::new(routes.into_axum_router()));
    }
}

impl Service<Request<hyper::body::Incoming>> for PeerRoutes {
    type Response = Response<axum::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<hyper::body::Incoming>) -> Self::Future {
        let mut routes = Router::clone(&self.routes.load());
        Box::pin(async move { routes.call(request.map(axum::body::Body::new)).await })
    }
}

/// Serves peers until `drain`, then lets what runs finish.
pub(crate) async fn serve(
    listener: BoundServer,
    routes: PeerRoutes,
    drain: CancellationToken,
    force: CancellationToken,
) -> anyhow::Result<()> {
    let summary = listener.serve(tower(routes), drain, force).await;
    tracing::info!(?summary, "the peer listener is closed");
    Ok(())
}
