//! What crosses the gateway, and what does not.
//!
//! Requests are rebuilt from their parsed parts: what speaks of one connection ends here, what only the platform may
//! say is not taken from clients, and what proxies say is believed of known proxies only.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{CONNECTION, EXPECT, FORWARDED, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use onrush_invoke::InvokeError;
use onrush_types::Code;

use crate::connection::Client;

pub(crate) const INVOCATION: HeaderName = HeaderName::from_static("x-onrush-invocation");
pub(crate) const NODE: HeaderName = HeaderName::from_static("x-onrush-node");
pub(crate) const ERROR_ORIGIN: HeaderName = HeaderName::from_static("x-onrush-error-origin");
const TIMEOUT: HeaderName = HeaderName::from_static("x-onrush-timeout");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

fn bad(message: impl Into<String>) -> InvokeError {
    InvokeError::refused(Code::BadRequest, message)
}

/// Refuses what would turn the connection into something else: calls are request and reply.
pub(crate) fn refuse_other_protocols(parts: &Parts) -> Result<(), InvokeError> {
    if parts.method == Method::CONNECT {
        return Err(bad("CONNECT is not served: a function is called, not tunnelled through"));
    }
    match parts.headers.get(UPGRADE) {
        // An offer that a server may leave unanswered (RFC 9110, section 7.8): curl makes it on plain connections.
        Some(offer) if !offer.as_bytes().eq_ignore_ascii_case(b"h2c") => {
            let to = String::from_utf8_lossy(offer.as_bytes());
            Err(bad(format!(
                "upgrades (here: {to:?}) are not served; use plain requests, streams or server-sent events"
            )))
        }
        _ => Ok(()),
    }
}

/// How long the client is willing to wait: `x-onrush-timeout`, in milliseconds (`250`) or with units (`1s 500ms`). It
/// only ever shortens the function's own timeout.
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, InvokeError> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let parsed = text.parse().map(Duration::from_millis).ok().or_else(|| humantime::parse_duration(text).ok());
    let positive = parsed.filter(|timeout| !timeout.is_zero());
    positive
        .map(Some)
        .ok_or_else(|| bad("x-onrush-timeout is milliseconds or has a unit, like 250 or 2s, and is not 0"))
}

/// Whom the request is for: the URI's authority, else the `Host` header.
pub(crate) fn authority(parts: &Parts) -> Result<Authority, InvokeError> {
    if let Some(authority) = parts.uri.authority() {
        return Ok(authority.clone());
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if !host.as_bytes().contains(&b'@') => {
            Authority::try_from(host.as_bytes()).map_err(|_| bad("the Host header is no host"))
        }
        (None, _) if parts.version <= Version::HTTP_10 => Ok(Authority::from_static("localhost")),
        (None, _) => Err(bad("the request has no Host header")),
        _ => Err(bad("the request needs one Host header without user information")),
    }
}

/// Makes the head that the function sees: `inner` behind scheme and authority, and clean headers.
pub(crate) fn rewrite(parts: &mut Parts, inner: PathAndQuery, client: &Client) -> Result<(), InvokeError> {
    let authority = authority(parts)?;
    clean_request(&mut parts.headers, client.trusted);
    let scheme = forwarded(&mut parts.headers, client, &authority);
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme);
    uri.authority = Some(authority);
    uri.path_and_query = Some(inner);
    parts.uri = Uri::from_parts(uri).map_err(|_| bad("the request's target is no path"))?;
    parts.version = Version::HTTP_11;
    Ok(())
}

/// Says who asked: what a known proxy said, else what this connection shows. Returns the scheme the client used.
fn forwarded(headers: &mut HeaderMap, client: &Client, authority: &Authority) -> Scheme {
    let said: Vec<_> = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    let chain = if said.is_empty() {
        client.ip.clone()
    } else {
        let mut chain = said.join(&b", "[..]);
        chain.extend_from_slice(b", ");
        chain.extend_from_slice(client.ip.as_bytes());
        HeaderValue::from_maybe_shared(bytes::Bytes::from(chain)).unwrap_or_else(|_| client.ip.clone())
    };
    headers.insert(FORWARDED_FOR, chain);
    if !headers.contains_key(FORWARDED_HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(FORWARDED_HOST, host);
    }
    let proto = headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if proto.as_bytes() == b"https" { Scheme::HTTPS } else { Scheme::HTTP }
}

fn clean_request(headers: &mut HeaderMap, trusted: bool) {
    strip(headers, |name| {
        let name = name.as_str();
        let of_proxies = name == FORWARDED.as_str() || name.starts_with("x-forwarded-") || name == "x-real-ip";
        name.starts_with("x-onrush-") || (of_proxies && !trusted)
    });
    headers.remove(HOST);
    headers.remove(EXPECT);
}

/// Takes out of a function's reply what only the platform may say.
pub(crate) fn clean_reply(headers: &mut HeaderMap) {
    strip(headers, |name| name.as_str().starts_with("x-onrush-"));
}

/// Removes the headers of one connection, those that `Connection` lists, and those that `more` names.
fn strip(headers: &mut HeaderMap, more: impl Fn(&HeaderName) -> bool) {
    let mut unwanted: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        unwanted.extend(names.filter_map(|name| HeaderName::from_bytes(name).ok()).filter(listable));
    }
    unwanted.extend(headers.keys().filter(|name| of_connection(name) || more(name)).cloned());
    for name in unwanted {
        headers.remove(name);
    }
}

/// Whether a `Connection` header may have this one removed: the framing is ours, and an attacker must not be able to
/// take away what later hops decide by (RFC 9110, section 7.6.1 names the end-to-end ones).
fn listable(name: &HeaderName) -> bool {
    let kept =
        [http::header::CONTENT_LENGTH, http::header::CONTENT_TYPE, http::header::AUTHORIZATION, http::header::COOKIE];
    // "keep-alive" and "close" are options rather than headers; as headers they are covered below.
    !kept.contains(name) && *name != HOST
}

fn of_connection(name: &HeaderName) -> bool {
    [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "proxy-authenticate" | "proxy-authorization" | "http2-settings"
        )
}

#[cfg(test)]
mod tests;
