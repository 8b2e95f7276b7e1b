//! A request's way through the gateway, in order. Filters (DESIGN section 6) take their place in [`call`], between the
//! target and the body: they may refuse before a byte of the body is read.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
    request::Parts,
    uri::PathAndQuery,
};
use hyper::body::Incoming;
use onrush_invoke::{BodyError, Deadline, Invocation, InvokeError, Reached, Reply};
use onrush_seams::{Entropy, WallClock};
use onrush_types::{Code, InvocationId};
use tracing::Instrument;

use crate::{
    connection::Client,
    download::{Limit, ReplyBody, Settled, settle},
    error::{self, id_value},
    gateway::{Cluster, Gateway, Routes},
    headers,
    metrics::InFlight,
    path::FunctionPath,
    target::{Resolved, resolve},
    upload::Upload,
};

/// Answers one request.
pub(crate) async fn answer(gateway: &Gateway, client: &Client, request: Request<Incoming>) -> Response<ReplyBody> {
    let (parts, body) = request.into_parts();
    let routed = match &gateway.routes {
        Routes::One(resolved) => Ok((resolved.clone(), whole_path(&parts))),
        Routes::Cluster(cluster) => match parts.uri.path() {
            "/healthz" => return health(cluster.health.live(), "ok"),
            "/readyz" => return health(gateway.ready(cluster), "ready"),
            _ => route(cluster, &parts),
        },
    };
    let id = new_id();
    let mut in_flight = gateway.metrics.begin();
    let result = match routed {
        Ok((resolved, inner)) => call(gateway, client, Call { id, resolved, inner, parts, body }).await,
        Err(error) => Err(error),
    };
    match result {
        Ok((head, done)) => {
            in_flight.answered(head.status);
            Response::from_parts(head, done.into_body(gateway, in_flight))
        }
        Err(error) => failed(gateway, &error, id, in_flight),
    }
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

/// What one call needs.
struct Call {
    id: InvocationId,
    resolved: Resolved,
    inner: PathAndQuery,
    parts: Parts,
    body: Incoming,
}

/// A reply's body, and what bounds it.
struct Done {
    body: Settled,
    limit: Limit,
}

impl Done {
    fn into_body(self, gateway: &Gateway, in_flight: InFlight) -> ReplyBody {
        match self.body {
            Settled::Whole(bytes) => ReplyBody::whole(bytes, Some(in_flight)),
            Settled::Stream(ready, body) => ReplyBody::stream(ready, body, self.limit, in_flight, &gateway.tasks),
        }
    }
}

/// From a request to its reply's head.
async fn call(gateway: &Gateway, client: &Client, call: Call) -> Result<(http::response::Parts, Done), InvokeError> {
    let Call { id, resolved, inner, mut parts, body } = call;
    headers::refuse_other_protocols(&parts)?;
    let asked = headers::timeout(&parts.headers)?;
    let deadline = Deadline::after(asked.map_or(resolved.timeout, |asked| asked.min(resolved.timeout)));
    headers::rewrite(&mut parts, inner, client)?;
    // Filters go here.
    let (body, overrun) = Upload::receive(body, &gateway.config, deadline).await?.into_parts();
    let head_only = parts.method == Method::HEAD;
    let request = Request::from_parts(parts, body);
    let span = tracing::debug_span!("call", invocation = %id, function = %resolved.target.function);
    let invocation = Invocation { id, target: resolved.target, deadline, attempt: 1, sharing: None, request };
    let replied = deadline.bound(gateway.invoke.invoke(invocation).instrument(span)).await;
    overrun.check()?;
    let reply = replied.unwrap_or_else(|_| Err(late(asked.unwrap_or(resolved.timeout).min(resolved.timeout))))?;
    let limit = if resolved.streaming {
        Limit::Idle(gateway.config.stream_idle_timeout)
    } else {
        Limit::Deadline(deadline.instant())
    };
    finish(gateway, id, reply, head_only, limit).await
}

async fn finish(
    gateway: &Gateway,
    id: InvocationId,
    reply: Reply,
    head_only: bool,
    limit: Limit,
) -> Result<(http::response::Parts, Done), InvokeError> {
    let (mut head, body) = reply.response.into_parts();
    let body = settle(body, gateway.config.whole_body_bytes).await.map_err(broken_reply)?;
    check_head(&head, &body, head_only)?;
    headers::clean_reply(&mut head.headers);
    head.headers.insert(headers::INVOCATION, id_value(id));
    if let Ok(node) = HeaderValue::from_str(&reply.node) {
        head.headers.insert(headers::NODE, node);
    }
    // The function's protocol is no business of the client's connection.
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    Ok((head, Done { body, limit }))
}

/// Refuses heads that would break the client's connection.
fn check_head(head: &http::response::Parts, body: &Settled, head_only: bool) -> Result<(), InvokeError> {
    let nonsense = |message: String| Err(InvokeError::function(Code::FunctionFailed, message));
    if head.status.is_informational() {
        return nonsense(format!("the function answered {}, which is not a final status", head.status.as_u16()));
    }
    let bodiless = head_only || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let (Some(declared), Settled::Whole(bytes), false) = (head.headers.get(CONTENT_LENGTH), body, bodiless)
        && declared.as_bytes() != bytes.len().to_string().as_bytes()
    {
        let declared = String::from_utf8_lossy(declared.as_bytes());
        return nonsense(format!("the function declared content-length {declared} and sent {} bytes", bytes.len()));
    }
    Ok(())
}

fn late(timeout: Duration) -> InvokeError {
    InvokeError::deadline(Reached::MaybeRan, format!("the call took longer than its timeout of {timeout:?}"))
}

fn broken_reply(error: BodyError) -> InvokeError {
    match error.code {
        Code::FunctionFailed => InvokeError::function(error.code, error.message),
        _ => error.into(),
    }
}

/// The version and the inner path that a request means, from the local catalog.
fn route(cluster: &Cluster, parts: &Parts) -> Result<(Resolved, PathAndQuery), InvokeError> {
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let Some(path) = FunctionPath::parse(path) else {
        let message = "nothing is served at this path; functions are called at /function/NAME[.NAMESPACE][@QUALIFIER]";
        return Err(InvokeError::refused(Code::NotFound, message));
    };
    let resolved = resolve(&cluster.catalog.borrow(), &path.reference, &cluster.namespace)?;
    let inner = path.inner().map_err(|error| InvokeError::refused(Code::BadRequest, error.to_string()))?;
    Ok((resolved, inner))
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
