//! The API over HTTP and JSON: translates, and leaves the rules to the operations.

mod calls;
mod cluster;
pub(crate) mod endpoint;
mod functions;
mod input;
mod node;
mod routes;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{self, MethodRouter},
};
use http::{Method, StatusCode, header};
use onrush_types::Code;
use tonic::service::Routes;
use tower::ServiceExt as _;

use self::endpoint::Endpoint;
use crate::{Api, ApiError};

/// REST under its paths, gRPC for everything that says it is gRPC.
pub(crate) fn router(api: Arc<Api>, grpc: Routes) -> Router {
    let mut router = Router::new();
    for endpoint in Endpoint::ALL {
        router = router.route(endpoint.row().path, handler(endpoint));
    }
    let grpc = grpc.into_axum_router();
    let elsewhere = move |request: Request| {
        let grpc = grpc.clone();
        async move {
            let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
            if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
                return grpc.oneshot(request).await.into_response();
            }
            let why = format!("there is nothing at {}; /openapi.json lists what there is", request.uri().path());
            ApiError::new(Code::NotFound, why).into_response()
        }
    };
    router
        .method_not_allowed_fallback(wrong_method)
        .fallback(elsewhere)
        // Each handler bounds its own body, because an artifact may be larger than a document.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(refuse_strangers))
        .with_state(api)
}

/// Which code answers which row of the table; the compiler sees to it that none is left out.
fn handler(endpoint: Endpoint) -> MethodRouter<Arc<Api>> {
    match endpoint {
        Endpoint::ListAll => routing::get(functions::list_all),
        Endpoint::List => routing::get(functions::list),
        Endpoint::Describe => routing::get(functions::describe),
        Endpoint::Deploy => routing::put(functions::deploy),
        Endpoint::Remove => routing::delete(functions::remove),
        Endpoint::ListAllRoutes => routing::get(routes::list_all),
        Endpoint::ListRoutes => routing::get(routes::list),
        Endpoint::DescribeRoute => routing::get(routes::describe),
        Endpoint::SetRoute => routing::put(routes::set),
        Endpoint::RemoveRoute => routing::delete(routes::remove),
        Endpoint::Filters => routing::get(routes::filters),
        Endpoint::Logs => routing::get(functions::logs),
        Endpoint::Upload => routing::put(functions::upload),
        Endpoint::Invoke => routing::post(calls::invoke),
        Endpoint::Cluster => routing::get(cluster::status),
        Endpoint::SetVoters => routing::put(cluster::set_voters),
        Endpoint::Drain => routing::post(cluster::drain),
        Endpoint::Undrain => routing::post(cluster::undrain),
        Endpoint::Cordon => routing::post(cluster::cordon),
        Endpoint::Uncordon => routing::post(cluster::uncordon),
        Endpoint::RemoveNode => routing::delete(cluster::remove_node),
        Endpoint::OpenApi => routing::get(node::openapi),
        Endpoint::Metrics => routing::get(node::metrics),
        Endpoint::Healthz => routing::get(node::healthz),
        Endpoint::Readyz => routing::get(node::readyz),
    }
}

/// axum adds the `Allow` header.
async fn wrong_method(request: Request) -> Response {
    let why = format!("{} does not take {}; see the Allow header", request.uri().path(), request.method());
    let body = axum::Json(serde_json::json!({ "code": Code::BadRequest.name(), "message": why }));
    (StatusCode::METHOD_NOT_ALLOWED, body).into_response()
}

/// Refuses changes that a page of another site makes a browser send: without credentials nothing else would stop it.
async fn refuse_strangers(request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let site = request.headers().get("sec-fetch-site").map(|site| site.as_bytes());
    let own = site.is_none_or(|site| site == b"same-origin" || site == b"none");
    if reads || own {
        return next.run(request).await;
    }
    ApiError::new(Code::Forbidden, "a page of another site may not change the cluster").into_response()
}

#[cfg(test)]
mod tests;
