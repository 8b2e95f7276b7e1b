//! Heads and errors: wire <-> words.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request, response};
use onrush_invoke::{Body, BodyError, Deadline, Invocation, InvokeError, LoadReport, Reached, Sharing, Target};
use onrush_types::{Code, FunctionName, InvocationId, Origin, Revision, VersionNumber};

use super::{
    HEADERS_LIMIT,
    sharing::{sharing_in, sharing_out},
};
use crate::{FormatError, internal as pb};

/// Headers that mean one connection and never cross a hop (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

fn stays_here(name: &HeaderName, named: &[HeaderName]) -> bool {
    HOP_BY_HOP.contains(name) || *name == PROXY_CONNECTION || named.contains(name)
}

/// The headers that `Connection` names are hop-by-hop too.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// End-to-end headers as the wire has them.
///
/// # Errors
/// The size, where it is over the limit.
pub(super) fn headers_out(headers: &HeaderMap) -> Result<Vec<pb::Header>, usize> {
    let named = named_by_connection(headers);
    let mut size = 0;
    let mut out = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        if stays_here(name, &named) {
            continue;
        }
        size += name.as_str().len() + value.len();
        out.push(pb::Header { name: name.as_str().to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) });
    }
    if size > HEADERS_LIMIT { Err(size) } else { Ok(out) }
}

/// Headers from the wire. The sender left hop-by-hop ones out; one that does not is not believed.
pub(super) fn headers_in(headers: Vec<pb::Header>, what: &'static str) -> Result<HeaderMap, FormatError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for pb::Header { name, value } in headers {
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| FormatError::Field { what, field: "headers" })?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| FormatError::Field { what, field: "headers" })?;
        if !stays_here(&name, &[]) {
            map.append(name, value);
        }
    }
    Ok(map)
}

/// What crosses the wire of a call before its body.
pub(super) fn call_head(call: &CallMeta, parts: &request::Parts) -> Result<pb::CallHead, InvokeError> {
    let headers = headers_out(&parts.headers).map_err(|size| {
        let why = format!("the request's headers have {size} bytes; the limit is {HEADERS_LIMIT}");
        InvokeError::refused(Code::TooLarge, why)
    })?;
    Ok(pb::CallHead {
        invocation: Bytes::copy_from_slice(call.id.0.as_bytes()),
        function: Some(pb::FunctionName {
            namespace: call.target.function.namespace.as_str().to_owned(),
            name: call.target.function.name.as_str().to_owned(),
        }),
        version: call.target.version.0,
        revision: call.target.revision.0,
        remaining_us: micros(call.deadline.remaining()),
        attempt: call.attempt.into(),
        method: parts.method.as_str().to_owned(),
        uri: parts.uri.to_string(),
        headers,
        sharing: call.sharing.as_deref().and_then(sharing_out),
    })
}

/// A call without its request.
pub(super) struct CallMeta {
    pub(super) id: InvocationId,
    pub(super) target: Target,
    pub(super) deadline: Deadline,
    pub(super) attempt: u8,
    pub(super) sharing: Option<Box<Sharing>>,
}

/// Splits a call.
pub(super) fn split(call: Invocation) -> (CallMeta, request::Parts, Body) {
    let Invocation { id, target, deadline, attempt, sharing, request } = call;
    let (parts, body) = request.into_parts();
    (CallMeta { id, target, deadline, attempt, sharing }, parts, body)
}

/// A call as it came over the wire.
pub(super) fn invocation(head: Option<pb::CallHead>, body: Body) -> Result<Invocation, FormatError> {
    const WHAT: &str = "CallHead";
    let wrong = |field| FormatError::Field { what: WHAT, field };
    let head = head.ok_or(wrong("head"))?;
    let id = uuid::Uuid::from_slice(&head.invocation).map_err(|_| wrong("invocation"))?;
    let name = head.function.ok_or(wrong("function"))?;
    let namespace = name.namespace.parse().map_err(|_| wrong("function"))?;
    let function = FunctionName::new(namespace, name.name.parse().map_err(|_| wrong("function"))?);
    let mut request = http::Request::new(body);
    *request.method_mut() = Method::from_bytes(head.method.as_bytes()).map_err(|_| wrong("method"))?;
    *request.uri_mut() = Uri::from_maybe_shared(Bytes::from(head.uri)).map_err(|_| wrong("uri"))?;
    *request.headers_mut() = headers_in(head.headers, WHAT)?;
    Ok(Invocation {
        id: InvocationId(id),
        target: Target { function, version: VersionNumber(head.version), revision: Revision(head.revision) },
        deadline: Deadline::after(Duration::from_micros(head.remaining_us)),
        attempt: u8::try_from(head.attempt).unwrap_or(u8::MAX),
        sharing: head.sharing.map(sharing_in).transpose()?.map(Box::new),
        request,
    })
}

/// What crosses the wire of a reply before its body.
pub(super) fn reply_head(parts: &response::Parts, node: &str, load: LoadReport) -> Result<pb::ReplyHead, InvokeError> {
    let headers = headers_out(&parts.headers).map_err(|size| {
        let why = format!("the function's reply has {size} bytes of headers; the limit is {HEADERS_LIMIT}");
        InvokeError::function(Code::FunctionFailed, why)
    })?;
    Ok(pb::ReplyHead {
        status: parts.status.as_u16().into(),
        headers,
        node: node.to_owned(),
        load: Some(load_out(load)),
        body: Bytes::new(),
        complete: false,
    })
}

/// The head of a response as it came over the wire.
pub(super) fn response(status: u32, headers: Vec<pb::Header>) -> Result<http::Response<()>, FormatError> {
    const WHAT: &str = "ReplyHead";
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = http::Response::new(());
    *response.status_mut() = status.ok_or(FormatError::Field { what: WHAT, field: "status" })?;
    *response.headers_mut() = headers_in(headers, WHAT)?;
    Ok(response)
}

/// An error on its way to the caller.
pub(super) fn error_out(error: &InvokeError, node: &str) -> pb::CallError {
    pb::CallError {
        code: error.code.name().to_owned(),
        from_function: error.origin == Origin::Function,
        maybe_ran: error.reached == Reached::MaybeRan,
        message: error.message().to_owned(),
        retry_after_ms: error.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        load: error.load.map(load_out),
        node: node.to_owned(),
    }
}

/// The same error on the caller's side. A code that this program does not know comes from a newer one.
pub(super) fn error_in(error: pb::CallError) -> InvokeError {
    let code = Code::from_name(&error.code).unwrap_or(Code::Internal);
    let mut invoke = InvokeError::refused(code, error.message);
    invoke.origin = if error.from_function { Origin::Function } else { Origin::Platform };
    invoke.reached = if error.maybe_ran { Reached::MaybeRan } else { Reached::NotSent };
    invoke.retry_after = error.retry_after_ms.map(Duration::from_millis);
    invoke.load = error.load.map(load_in);
    invoke
}

/// A body's error on its way to the reader.
pub(super) fn body_error_out(error: &BodyError) -> pb::CallError {
    error_out(&InvokeError::interrupted(error.code, error.message.clone()), "")
}

/// The same on the reader's side.
pub(super) fn body_error_in(error: pb::CallError) -> BodyError {
    BodyError::new(Code::from_name(&error.code).unwrap_or(Code::Internal), error.message)
}

/// A load report on its way.
pub(super) fn load_out(load: LoadReport) -> pb::LoadReport {
    pb::LoadReport {
        in_flight: load.in_flight,
        queued: load.queued,
        slots: load.slots,
        expected_wait_us: micros(load.expected_wait),
        busy: load.busy,
    }
}

/// A load report from the wire.
pub(super) fn load_in(load: pb::LoadReport) -> LoadReport {
    LoadReport {
        in_flight: load.in_flight,
        queued: load.queued,
        slots: load.slots,
        expected_wait: Duration::from_micros(load.expected_wait_us),
        busy: load.busy,
    }
}

/// A time in microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
