//! Failures become responses: one function, so that every error looks alike and says who failed.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use onrush_invoke::InvokeError;
use onrush_types::{Code, InvocationId, Origin};
use serde::Serialize;

use crate::{
    download::ReplyBody,
    headers::{ERROR_ORIGIN, INVOCATION},
};

/// When a refused client may come again, where nobody said it more exactly.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// Which status a failed function has: a cluster stands between client and function, a single server is the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Cluster,
    Standalone,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'static str,
    message: &'a str,
    invocation: InvocationId,
    origin: Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// The response to a call that has no reply.
pub(crate) fn response(error: &InvokeError, invocation: InvocationId, mode: Mode) -> Response<ReplyBody> {
    let meaning = error.code.meaning();
    let retry_after = error.retry_after.or(meaning.retryable.then_some(RETRY_AFTER_DEFAULT));
    let body = Body {
        code: meaning.name,
        message: error.message(),
        invocation,
        origin: error.origin,
        outcome: error.outcome_unknown().then_some("unknown"),
        retry_after_ms: retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    };
    let json = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = Response::new(ReplyBody::whole(Bytes::from(json), None));
    *response.status_mut() = status(error.code, mode);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ERROR_ORIGIN, HeaderValue::from_static(error.origin.name()));
    headers.insert(INVOCATION, id_value(invocation));
    if let Some(wait) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    response
}

fn status(code: Code, mode: Mode) -> StatusCode {
    let number = match (code, mode) {
        (Code::FunctionFailed, Mode::Standalone) => 500,
        (code, _) => code.meaning().http,
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Rounded up: a client that comes a moment too early is refused again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// An id as a header value.
pub(crate) fn id_value(id: InvocationId) -> HeaderValue {
    let mut buffer = uuid::Uuid::encode_buffer();
    let text = id.0.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("invalid"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use onrush_invoke::Reached;
    use serde_json::Value;

    use super::*;

    async fn seen(error: InvokeError, mode: Mode) -> (http::response::Parts, Value) {
        let (parts, body) = response(&error, InvocationId::new(), mode).into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn every_code_has_its_status_its_name_and_its_origin() {
        for code in Code::ALL {
            let (parts, body) = seen(InvokeError::refused(code, "why \"so\""), Mode::Cluster).await;
            assert_eq!(parts.status.as_u16(), code.meaning().http);
            assert_eq!(body["code"], code.name());
            assert_eq!(body["message"], "why \"so\"");
            assert_eq!(body["origin"], "platform");
            assert_eq!(parts.headers[ERROR_ORIGIN], "platform");
            assert_eq!(body["invocation"], parts.headers[INVOCATION].to_str().unwrap());
            assert_eq!(parts.headers.contains_key(RETRY_AFTER), code.meaning().retryable, "{code}");
            assert!(body.get("outcome").is_none());
        }
    }

    #[tokio::test]
    async fn a_trap_is_502_in_a_cluster_and_500_from_a_single_server() {
        let trap = || InvokeError::function(Code::FunctionFailed, "trap");
        let (parts, body) = seen(trap(), Mode::Cluster).await;
        assert_eq!((parts.status.as_u16(), &body["origin"]), (502, &Value::from("function")));
        assert!(body.get("outcome").is_none(), "the function's own failure is an outcome");
        assert_eq!(seen(trap(), Mode::Standalone).await.0.status, 500);
    }

    #[tokio::test]
    async fn an_unknown_fate_is_said_and_a_wait_is_rounded_up() {
        let lost = InvokeError::interrupted(Code::OutcomeUnknown, "connection reset");
        assert_eq!(seen(lost, Mode::Cluster).await.1["outcome"], "unknown");
        let late = InvokeError::deadline(Reached::NotSent, "late");
        assert!(seen(late, Mode::Cluster).await.1.get("outcome").is_none());
        for (wait, seconds) in [(1, "1"), (1_000, "1"), (1_001, "2")] {
            let error = InvokeError::refused(Code::RateLimited, "slow").retry_after(Duration::from_millis(wait));
            let (parts, body) = seen(error, Mode::Cluster).await;
            assert_eq!(parts.headers[RETRY_AFTER], seconds);
            assert_eq!(body["retry_after_ms"], wait);
        }
    }
}
