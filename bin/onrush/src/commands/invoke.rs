//! `invoke`: one call through the gateway, streamed both ways.

use std::io::IsTerminal as _;

use futures::StreamExt as _;
use onrush_types::{Code, FunctionRef, Qualifier};
use reqwest::{Body, Method, Response, StatusCode, redirect};
use serde::Deserialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

use super::{Caller, deploy::path_of};
use crate::{args::Invoke, client::reference, failure::Failure};

/// Bytes of a reply that are kept to explain a failure; Onrush's own errors are shorter.
const HEAD: usize = 16 << 10;

pub(super) async fn run(caller: &Caller, verb: Invoke) -> Result<(), Failure> {
    let target = reference(&verb.name, caller.namespace.as_deref())?;
    let gateway = match &verb.gateway {
        Some(gateway) => gateway.clone(),
        None => caller.connect().await?.gateway().await?,
    };
    let url = url(&gateway, &target, &verb.path)?;
    let body = match &verb.data {
        Some(data) => Some(body(data).await?),
        None => None,
    };
    let method = verb.method.unwrap_or(if body.is_some() { Method::POST } else { Method::GET });
    // What the function answers is what the caller sees: no proxy in between, no redirect followed.
    let http = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none()).build();
    let http = http.map_err(|error| Failure::here(error.to_string()))?;
    let mut request = http.request(method, &url).headers(verb.headers.into_iter().collect());
    if let Some(body) = body {
        request = request.body(body);
    }
    let reply = request.send().await.map_err(|error| unreachable_gateway(&gateway, &error))?;
    let refusal = Refusal::of(&reply);
    let head = match &verb.output {
        Some(path) => {
            let file = tokio::fs::File::create(path).await;
            let file = file.map_err(|error| Failure::here(format!("{}: {error}", path.display())))?;
            pour(reply, file).await?
        }
        None => pour(reply, tokio::io::stdout()).await?,
    };
    let Some(refusal) = refusal else { return Ok(()) };
    if verb.output.is_none() && std::io::stdout().is_terminal() && !head.is_empty() {
        // The message shall start on a line of its own.
        eprintln!();
    }
    Err(refusal.failure(&head))
}

/// Where the gateway has this function.
fn url(gateway: &str, target: &FunctionRef, path: &str) -> Result<String, Failure> {
    if !path.starts_with('/') {
        return Err(Failure::Usage(format!("--path: must start with '/', not {path:?}")));
    }
    let scheme = if gateway.contains("://") { "" } else { "http://" };
    let qualifier = match &target.qualifier {
        Qualifier::Latest => String::new(),
        other @ (Qualifier::Version(_) | Qualifier::Alias(_)) => format!("@{other}"),
    };
    let gateway = gateway.trim_end_matches('/');
    Ok(format!("{scheme}{gateway}/function/{}{qualifier}{path}", path_of(&target.function)))
}

/// Text, `@FILE`, or `-` for standard input.
async fn body(data: &str) -> Result<Body, Failure> {
    if data == "-" {
        return Ok(Body::wrap_stream(ReaderStream::new(tokio::io::stdin())));
    }
    let Some(path) = data.strip_prefix('@') else { return Ok(Body::from(data.to_owned())) };
    let bad = |error| Failure::bad_request(format!("--data: file {path}: {error}"));
    let file = tokio::fs::File::open(path).await.map_err(bad)?;
    if file.metadata().await.map_err(bad)?.is_dir() {
        return Err(Failure::bad_request(format!("--data: {path} is a directory")));
    }
    Ok(Body::from(file))
}

/// A reply whose status is 400 or above: a failure of this command as well.
struct Refusal {
    status: StatusCode,
    /// Who failed, in Onrush's own errors.
    origin: Option<String>,
    invocation: Option<String>,
}

/// The body of Onrush's own errors.
#[derive(Deserialize)]
struct Document {
    code: String,
    message: String,
}

impl Refusal {
    fn of(reply: &Response) -> Option<Self> {
        let said = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (origin, invocation) = (said("x-onrush-error-origin"), said("x-onrush-invocation"));
        let status = reply.status();
        (status.as_u16() >= 400).then_some(Self { status, origin, invocation })
    }

    /// What to say of it; `head` is how the body begins.
    fn failure(&self, head: &[u8]) -> Failure {
        let Self { status, origin, invocation } = self;
        let document = origin.as_ref().and_then(|_| serde_json::from_slice::<Document>(head).ok());
        let said = document.as_ref().and_then(|document| Code::from_name(&document.code));
        let code = said.or_else(|| Code::ALL.into_iter().find(|code| code.meaning().http == status.as_u16()));
        let usual = if status.is_server_error() { Code::FunctionFailed } else { Code::BadRequest };
        let who = match origin.as_deref() {
            None => "the function answered".to_owned(),
            Some("platform") if status.is_client_error() => "the platform refused the call:".to_owned(),
            Some(origin) => format!("the {origin} failed:"),
        };
        let why = document.map(|document| format!(": {}", document.message)).unwrap_or_default();
        let call = invocation.as_ref().map(|id| format!(" (invocation {id})")).unwrap_or_default();
        Failure::new(code.unwrap_or(usual), format!("{who} {status}{why}{call}"))
    }
}

/// Passes the body on, and gives back how it begins.
async fn pour(reply: Response, mut out: impl AsyncWrite + Unpin) -> Result<Vec<u8>, Failure> {
    let mut head = Vec::new();
    let mut chunks = reply.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|error| Failure::new(Code::OutcomeUnknown, format!("the reply broke off: {error}")))?;
        out.write_all(&chunk).await?;
        out.flush().await?;
        head.extend(chunk.iter().take(HEAD - head.len()));
    }
    out.flush().await?;
    Ok(head)
}

fn unreachable_gateway(gateway: &str, error: &reqwest::Error) -> Failure {
    if error.is_connect() {
        let why = format!("no gateway answers at {gateway}. Name another one with --gateway or ONRUSH_GATEWAY");
        return Failure::new(Code::Unavailable, why);
    }
    if error.is_builder() {
        return Failure::Usage(format!("--gateway: {gateway:?} is no URL"));
    }
    let why = format!("the call broke off: {error}; whether it ran is not known");
    Failure::new(Code::OutcomeUnknown, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_function_version_and_path() {
        for (gateway, name, path, expected) in [
            ("http://g:1", "a", "/", "http://g:1/function/a/"),
            ("g:1/", "a@3", "/x?y=1", "http://g:1/function/a@3/x?y=1"),
            ("http://g:1", "a.shop@live", "/", "http://g:1/function/a.shop@live/"),
            ("http://g:1", "a.default", "/", "http://g:1/function/a/"),
        ] {
            assert_eq!(url(gateway, &reference(name, None).unwrap(), path).unwrap(), expected);
        }
        assert!(url("http://g:1", &reference("a", None).unwrap(), "x").is_err());
    }

    #[test]
    fn a_refused_status_is_a_failure_with_its_code() {
        let reply = |status: u16| Response::from(http::Response::builder().status(status).body("").unwrap());
        assert!(Refusal::of(&reply(302)).is_none());
        let code = |status| match Refusal::of(&reply(status)).map(|refusal| refusal.failure(b"")) {
            Some(Failure::Failed { code, .. }) => code,
            _ => panic!("{status} is a failure"),
        };
        assert_eq!(code(404), Code::NotFound);
        assert_eq!(code(418), Code::BadRequest);
        assert_eq!(code(599), Code::FunctionFailed);
    }

    #[test]
    fn a_refusal_of_the_platform_says_why_in_its_own_words() {
        let of = |origin: Option<&str>| {
            let refusal = Refusal {
                status: StatusCode::SERVICE_UNAVAILABLE,
                origin: origin.map(str::to_owned),
                invocation: Some("i-1".to_owned()),
            };
            match refusal.failure(br#"{"code":"overloaded","message":"queues are full","invocation":"i-1"}"#) {
                Failure::Failed { code, message } => (code, message),
                _ => panic!("a failure"),
            }
        };
        let (code, message) = of(Some("platform"));
        assert_eq!(code, Code::Overloaded);
        assert_eq!(message, "the platform failed: 503 Service Unavailable: queues are full (invocation i-1)");
        let (_, message) = of(None);
        assert!(!message.contains("queues"), "a function's own body was taken for the platform's: {message}");
    }
}
