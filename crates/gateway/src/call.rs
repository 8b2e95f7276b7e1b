//! From a request to its reply's head.

use std::time::Duration;

use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_LENGTH, request::Parts,
    uri::PathAndQuery,
};
use hyper::body::Incoming;
use onrush_filters::{Asked, Notes, Passage, Share, Stack};
use onrush_invoke::{Body, BodyError, Deadline, Invocation, InvokeError, Reached, Reply};
use onrush_seams::Entropy;
use onrush_types::{Code, InvocationId};
use tracing::Instrument;

use crate::{
    connection::Client,
    download::{Limit, ReplyBody, Settled, settle},
    error::id_value,
    gateway::Gateway,
    headers,
    metrics::InFlight,
    target::Resolved,
    upload::Upload,
};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What one call needs.
pub(crate) struct Call<'a> {
    pub(crate) id: InvocationId,
    pub(crate) resolved: Resolved,
    /// The path and query that the function sees.
    pub(crate) inner: PathAndQuery,
    pub(crate) parts: Parts,
    pub(crate) body: Incoming,
    /// What its route does with it; none for a call by the function's name.
    pub(crate) filtered: Option<Filtered<'a>>,
}

/// A route's filters, and what they let this call do.
pub(crate) struct Filtered<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) notes: &'a mut Notes,
    pub(crate) passage: Passage<'a>,
}

/// A reply's body, and what bounds it.
pub(crate) struct Done {
    body: Settled,
    limit: Limit,
}

impl Done {
    pub(crate) fn into_body(self, gateway: &Gateway, in_flight: InFlight) -> ReplyBody {
        match self.body {
            Settled::Whole(bytes) => ReplyBody::whole(bytes, Some(in_flight)),
            Settled::Stream(ready, body) => ReplyBody::stream(ready, body, self.limit, in_flight, &gateway.tasks),
        }
    }
}

/// Makes the call.
pub(crate) async fn call(
    gateway: &Gateway,
    client: &Client,
    call: Call<'_>,
) -> Result<(http::response::Parts, Done), InvokeError> {
    let Call { id, resolved, inner, mut parts, body, filtered } = call;
    headers::refuse_other_protocols(&parts)?;
    let asked = headers::timeout(&parts.headers)?;
    let passage = filtered.as_ref().map(|filtered| &filtered.passage);
    let allowed =
        passage.and_then(|passage| passage.timeout).map_or(resolved.timeout, |most| most.min(resolved.timeout));
    let timeout = asked.map_or(allowed, |asked| asked.min(allowed));
    let largest = passage.and_then(|passage| passage.body_limit);
    let deadline = Deadline::after(timeout);
    headers::rewrite(&mut parts, inner, client)?;
    if let Some(filtered) = &filtered {
        filtered.stack.shape(&mut parts.headers);
    }
    let (body, overrun) = Upload::receive(body, &gateway.config, largest, deadline).await?.into_parts();
    let head_only = parts.method == Method::HEAD;
    let share = filtered.as_ref().map_or(Share::Not, |filtered| {
        let Resolved { target, digest, idempotent, .. } = &resolved;
        let asked = Asked { parts: &parts, body: &body, target, digest, idempotent: *idempotent, timeout: allowed };
        filtered.stack.share(&asked)
    });
    let (sharing, bypass) = match share {
        Share::Not => (None, None),
        Share::Bypass(why) => (None, Some(why)),
        Share::With(sharing) => (Some(sharing), None),
    };
    let request = Request::from_parts(parts, body);
    let span = tracing::debug_span!("call", invocation = %id, function = %resolved.target.function);
    let streaming = resolved.streaming;
    let idempotent = resolved.idempotent;
    let invocation = Invocation { id, target: resolved.target, deadline, attempt: 1, sharing, request };
    let retry = filtered.as_ref().and_then(|filtered| filtered.stack.retry()).filter(|_| idempotent);
    let replied = match retry {
        None => deadline.bound(gateway.invoke.invoke(invocation).instrument(span)).await,
        Some(retry) => deadline.bound(Box::pin(again(gateway, retry, invocation)).instrument(span)).await,
    };
    overrun.check()?;
    let reply = replied.unwrap_or_else(|_| Err(late(timeout)))?;
    let limit =
        if streaming { Limit::Idle(gateway.config.stream_idle_timeout) } else { Limit::Deadline(deadline.instant()) };
    let (mut head, body) = finish(gateway, id, reply, head_only, filtered).await?;
    if let Some(why) = bypass {
        head.headers.append(CACHE_STATUS, why);
    }
    Ok((head, Done { body, limit }))
}

/// Calls until there is a reply, or no more reason to try. A request that was streamed is called once.
async fn again(gateway: &Gateway, retry: &onrush_filters::Retry, first: Invocation) -> Result<Reply, InvokeError> {
    let Invocation { id, target, deadline, mut attempt, sharing, request } = first;
    let (parts, body) = request.into_parts();
    let Some(whole) = body.as_whole() else {
        let request = Request::from_parts(parts, body);
        return gateway.invoke.invoke(Invocation { id, target, deadline, attempt, sharing, request }).await;
    };
    loop {
        let request = Request::from_parts(parts.clone(), Body::whole(whole.clone()));
        let (target, sharing) = (target.clone(), sharing.clone());
        let outcome = gateway.invoke.invoke(Invocation { id, target, deadline, attempt, sharing, request }).await;
        let wait = retry.again(attempt, &outcome, onrush_seams::OsEntropy.next_u64());
        let Some(wait) = wait.filter(|wait| *wait < deadline.remaining()) else { return outcome };
        drop(outcome);
        tokio::time::sleep(wait).await;
        attempt = attempt.saturating_add(1);
    }
}

async fn finish(
    gateway: &Gateway,
    id: InvocationId,
    mut reply: Reply,
    head_only: bool,
    filtered: Option<Filtered<'_>>,
) -> Result<(http::response::Parts, Settled), InvokeError> {
    headers::clean_reply(reply.response.headers_mut());
    let response = match filtered {
        Some(Filtered { stack, notes, .. }) => Box::pin(stack.answer(notes, reply.response)).await,
        None => reply.response,
    };
    let (mut head, body) = Response::into_parts(response);
    let body = settle(body, gateway.config.whole_body_bytes).await.map_err(broken_reply)?;
    check_head(&head, &body, head_only)?;
    head.headers.insert(headers::INVOCATION, id_value(id));
    if let Ok(node) = HeaderValue::from_str(&reply.node) {
        head.headers.insert(headers::NODE, node);
    }
    // The function's protocol is no business of the client's connection.
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    Ok((head, body))
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
