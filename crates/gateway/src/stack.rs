//! A request's way through the gateway, in order: health; a function by its name, or a route with its filters; the call; the
//! answer. Calls by a function's name pass no filters and pay for none. The filters' own order is `onrush-filters`'s.

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    request::Parts,
    uri::PathAndQuery,
};
use hyper::body::Incoming;
use onrush_filters::Stop;
use onrush_invoke::{InvokeError, Reached};
use onrush_seams::{Entropy, WallClock};
use onrush_types::{Code, InvocationId};

use crate::{
    call::{Call, Done, call},
    connection::Client,
    download::ReplyBody,
    error,
    gateway::{Cluster, Gateway, Routes},
    headers,
    metrics::InFlight,
    path::FunctionPath,
    routed,
    target::{Resolved, resolve},
};

/// Answers one request.
pub(crate) async fn answer(gateway: &Gateway, client: &Client, request: Request<Incoming>) -> Response<ReplyBody> {
    let (parts, body) = request.into_parts();
    let direct = match &gateway.routes {
        Routes::One(resolved) => Ok((resolved.clone(), whole_path(&parts))),
        Routes::Cluster(cluster) => match parts.uri.path() {
            "/healthz" => return health(cluster.health.live(), "ok"),
            "/readyz" => return health(gateway.ready(cluster), "ready"),
            _ => match by_name(cluster, &parts) {
                Some(direct) => direct,
                // Boxed: routes are not what calls by name should make room for.
                None => return Box::pin(by_route((gateway, cluster, client), parts, body)).await,
            },
        },
    };
    let id = new_id();
    let in_flight = gateway.metrics.begin();
    let result = match direct {
        Ok((resolved, inner)) => call(gateway, client, Call { id, resolved, inner, parts, body, filtered: None }).await,
        Err(error) => Err(error),
    };
    match result {
        Ok((head, done)) => replied(gateway, head, done, in_flight),
        Err(error) => failed(gateway, &error, id, in_flight),
    }
}

/// Answers a request that takes a route, or none.
async fn by_route(
    (gateway, cluster, client): (&Gateway, &Cluster, &Client),
    parts: Parts,
    body: Incoming,
) -> Response<ReplyBody> {
    let id = new_id();
    let mut in_flight = gateway.metrics.begin();
    let mut way = match routed::way(cluster, &parts).await {
        Ok(way) => way,
        Err(lost) => {
            let mut response = failed(gateway, &lost.error, id, in_flight);
            let mut status = response.status();
            lost.mark(response.headers_mut(), &mut status);
            *response.status_mut() = status;
            return response;
        }
    };
    let passed = way.pass((gateway, cluster, client), id, (parts, body), &mut in_flight).await;
    let mut response = match passed {
        Ok((head, done)) => replied(gateway, head, done, in_flight),
        Err(Stop::Refused { error, header }) => {
            let mut response = failed(gateway, &error, id, in_flight);
            if let Some((name, value)) = header.map(|header| *header) {
                response.headers_mut().insert(name, value);
            }
            response
        }
        Err(Stop::Answered(response)) => {
            let (mut head, ()) = response.into_parts();
            head.headers.insert(headers::INVOCATION, error::id_value(id));
            head.headers.insert(headers::NODE, cluster.node.clone());
            in_flight.answered(head.status);
            return Response::from_parts(head, ReplyBody::whole(Bytes::new(), Some(in_flight)));
        }
    };
    way.seal(response.headers_mut());
    response
}

fn replied(gateway: &Gateway, head: http::response::Parts, done: Done, mut in_flight: InFlight) -> Response<ReplyBody> {
    in_flight.answered(head.status);
    Response::from_parts(head, done.into_body(gateway, in_flight))
}

fn failed(gateway: &Gateway, error: &InvokeError, id: InvocationId, mut in_flight: InFlight) -> Response<ReplyBody> {
    let mut response = error::response(error, id, gateway.mode());
    // Where nothing ran it is this node that speaks; where something may have run, which node did is not known here.
    if let (Routes::Cluster(cluster), Reached::NotSent) = (&gateway.routes, error.reached) {
        response.headers_mut().insert(headers::NODE, cluster.node.clone());
    }
    in_flight.answered(response.status());
    response.map(|body| body.with(in_flight))
}

/// The version and the inner path of a call by a function's name, from the local catalog; none for another path.
fn by_name(cluster: &Cluster, parts: &Parts) -> Option<Result<(Resolved, PathAndQuery), InvokeError>> {
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let path = FunctionPath::parse(path)?;
    let found = || {
        let resolved = resolve(&cluster.catalog.borrow(), &path.reference, &cluster.namespace)?;
        let inner = path.inner().map_err(|error| InvokeError::refused(Code::BadRequest, error.to_string()))?;
        Ok((resolved, inner))
    };
    Some(found())
}

fn whole_path(parts: &Parts) -> PathAndQuery {
    parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// A version 7 id. `uuid` asks the operating system for randomness each time; this is one of the hot path's few costs
/// that can be had for less.
fn new_id() -> InvocationId {
    let mut random = [0; 10];
    let (high, low) = (onrush_seams::OsEntropy.next_u64(), onrush_seams::OsEntropy.next_u64());
    random[..8].copy_from_slice(&high.to_le_bytes());
    random[8..].copy_from_slice(&low.to_le_bytes()[..2]);
    let now = onrush_seams::SystemClock.now_ms();
    InvocationId(uuid::Builder::from_unix_timestamp_millis(now, &random).into_uuid())
}

fn health(state: Result<(), String>, well: &'static str) -> Response<ReplyBody> {
    let (status, json) = match state {
        Ok(()) => (StatusCode::OK, serde_json::json!({ "status": well })),
        Err(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "status": format!("not {well}"), "why": why }))
        }
    };
    let mut response = Response::new(ReplyBody::whole(Bytes::from(json.to_string()), None));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
