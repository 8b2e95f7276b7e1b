//! Calls over REST: the function's answer as it is, streamed both ways.

use std::sync::Arc;

use axum::{
    body::Body as HttpBody,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use onrush_invoke::{Body, BodyError, InvokeError};
use onrush_types::{Code, FunctionRef, InvocationId};

use super::input::{Asked, CallQuery, Named};
use crate::{
    Api, ApiError, convert,
    operations::{Call, CallReply},
};

const INVOCATION: HeaderName = HeaderName::from_static("x-onrush-invocation");
const NODE: HeaderName = HeaderName::from_static("x-onrush-node");
const ORIGIN: HeaderName = HeaderName::from_static("x-onrush-error-origin");

pub(super) async fn invoke(
    State(api): State<Arc<Api>>,
    Named((namespace, name)): Named<(String, String)>,
    Asked(query): Asked<CallQuery>,
    request: Request,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let qualifier = if query.qualifier.is_empty() { "latest" } else { &query.qualifier };
    let target = FunctionRef {
        function: convert::function_name(&namespace, &name)?,
        qualifier: convert::field("qualifier", qualifier)?,
    };
    let method = if query.method.is_empty() { "POST" } else { &query.method };
    let method = convert::field("method", method)?;
    let broken = |error: axum::Error| BodyError::new(Code::BadRequest, format!("the body broke off: {error}"));
    let body = Body::stream(body.map_err(broken));
    let mut headers = head.headers;
    // These name this API, not the function.
    headers.remove(header::HOST);
    headers.remove(header::AUTHORIZATION);
    let id = InvocationId::new();
    let call = Call { target, method, path: query.path, headers, body };
    let mut response = match api.call(id, call).await {
        Ok(reply) => replied(reply),
        Err(error) => failed(id, &error),
    };
    if let Ok(id) = id.to_string().parse() {
        response.headers_mut().insert(INVOCATION, id);
    }
    Ok(response)
}

fn replied(reply: CallReply) -> Response {
    let (mut head, body) = reply.response.into_parts();
    if let Ok(node) = reply.node.parse() {
        head.headers.insert(NODE, node);
    }
    // A function's page must not act as this API's own in a browser.
    head.headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    head.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Response::from_parts(head, HttpBody::new(body))
}

fn failed(id: InvocationId, error: &InvokeError) -> Response {
    let meaning = error.code.meaning();
    let status = StatusCode::from_u16(meaning.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut document = serde_json::json!({
        "code": meaning.name,
        "message": error.message(),
        "invocation": id,
        "origin": error.origin,
    });
    if error.outcome_unknown() {
        document["outcome"] = "unknown".into();
    }
    let mut response = (status, axum::Json(document)).into_response();
    response.headers_mut().insert(ORIGIN, HeaderValue::from_static(error.origin.name()));
    let wait = error.retry_after.map(|wait| wait.as_secs().max(1)).or(meaning.retryable.then_some(1));
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, wait.into());
    }
    response
}
