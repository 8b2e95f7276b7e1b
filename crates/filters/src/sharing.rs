//! Which question a request asks: equal questions may share an answer.

use std::time::Duration;

use bytesize::ByteSize;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, COOKIE, VARY},
    request::Parts,
};
use onrush_invoke::{Body, Caching, Coalesce, Scope, Sharing, SharingKey, Target};
use onrush_types::Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    filter::{Wrong, rate_limit::Reach, wrong},
    value::{List, Name},
};

/// The largest reply that may be shared, and what is shared where nobody says so.
const LARGEST: u64 = 64 << 20;
const LARGEST_DEFAULT: u64 = 1 << 20;

/// More headers than this are no question that two ask.
const MOST_VARY: usize = 16;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What one filter says about the question; what it leaves out, the other one may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    vary: Option<Vec<HeaderName>>,
    scope: Option<Reach>,
    largest: Option<u64>,
    body: Option<bool>,
    host: Option<bool>,
}

impl Question {
    pub(crate) fn build(
        vary: Option<List<Name>>,
        scope: Option<Reach>,
        largest: Option<ByteSize>,
        (body, host): (Option<bool>, Option<bool>),
    ) -> Result<Self, Vec<Wrong>> {
        let mut vary: Option<Vec<_>> = vary.map(|names| names.0.into_iter().map(|name| name.0).collect());
        if let Some(names) = &mut vary {
            if names.len() > MOST_VARY || names.contains(&VARY) {
                return Err(vec![wrong("vary", format!("names of request headers, at most {MOST_VARY}"))]);
            }
            names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
            names.dedup();
        }
        let largest = largest.map(|size| size.as_u64());
        if largest.is_some_and(|size| !(1..=LARGEST).contains(&size)) {
            return Err(vec![wrong("largest", "between 1 byte and 64MiB")]);
        }
        Ok(Self { vary, scope, largest, body, host })
    }

    /// What the other one says differently.
    pub(crate) fn contradictions(&self, other: &Self) -> Vec<&'static str> {
        fn differ<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_some_and(|(one, other)| one != other)
        }
        let table = [
            ("vary", differ(self.vary.as_ref(), other.vary.as_ref())),
            ("scope", differ(self.scope.as_ref(), other.scope.as_ref())),
            ("largest", differ(self.largest.as_ref(), other.largest.as_ref())),
            ("body", differ(self.body.as_ref(), other.body.as_ref())),
            ("host", differ(self.host.as_ref(), other.host.as_ref())),
        ];
        table.into_iter().filter(|(_, differ)| *differ).map(|(name, _)| name).collect()
    }
}

/// How a route shares: what `cache` and `coalesce` say together.
#[derive(Debug)]
pub(crate) struct Plan {
    vary: Vec<HeaderName>,
    scope: Scope,
    largest: u64,
    body: bool,
    host: bool,
    cache: Option<Caching>,
    coalesce: Option<Coalesce>,
    /// What the route adds to requests, which replies may depend on.
    salt: [u8; 32],
}

/// A request as the function sees it, and whom it is for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its head.
    pub parts: &'a Parts,
    /// Its body.
    pub body: &'a Body,
    /// The version that answers.
    pub target: &'a Target,
    /// That version's code.
    pub digest: &'a Digest,
    /// Whether calling that version twice is harmless.
    pub idempotent: bool,
    /// The time of an execution that is nobody's own.
    pub timeout: Duration,
}

/// What a request may share.
#[derive(Debug)]
pub enum Share {
    /// The route shares nothing.
    Not,
    /// The route shares, and this request does not; the value is for `Cache-Status` (RFC 9211).
    Bypass(HeaderValue),
    /// This.
    With(Box<Sharing>),
}

impl Plan {
    pub(crate) fn new(
        cache: Option<(&Caching, &Question)>,
        coalesce: Option<(&Coalesce, &Question)>,
        salt: [u8; 32],
    ) -> Option<Self> {
        let (first, second) = (cache.map(|(_, question)| question), coalesce.map(|(_, question)| question));
        let one = first.or(second)?;
        let other = second.unwrap_or(one);
        Some(Self {
            vary: one.vary.clone().or_else(|| other.vary.clone()).unwrap_or_default(),
            scope: one.scope.or(other.scope).unwrap_or_default().into(),
            largest: one.largest.or(other.largest).unwrap_or(LARGEST_DEFAULT),
            body: one.body.or(other.body).unwrap_or(false),
            host: one.host.or(other.host).unwrap_or(true),
            cache: cache.map(|(caching, _)| caching.clone()),
            coalesce: coalesce.map(|(coalescing, _)| coalescing.clone()),
            salt,
        })
    }

    pub(crate) fn varies(&self, name: &HeaderName) -> bool {
        self.vary.contains(name)
    }

    pub(crate) fn bodies(&self) -> bool {
        self.body
    }

    pub(crate) fn share(&self, asked: &Asked<'_>) -> Share {
        let safe = matches!(asked.parts.method, Method::GET | Method::HEAD);
        let repeatable = asked.idempotent && self.body;
        if !safe && !repeatable {
            return Share::Bypass(HeaderValue::from_static("onrush; fwd=method"));
        }
        let bypass = Share::Bypass(HeaderValue::from_static("onrush; fwd=bypass"));
        let personal = [AUTHORIZATION, COOKIE];
        if personal.iter().any(|name| asked.parts.headers.contains_key(name) && !self.varies(name)) {
            return bypass;
        }
        let Some(body) = asked.body.as_whole().filter(|body| body.is_empty() || self.body) else { return bypass };
        Share::With(Box::new(Sharing {
            key: self.key(asked, &body),
            scope: self.scope,
            coalesce: self.coalesce.clone(),
            cache: self.cache.clone(),
            largest: self.largest,
            timeout: Some(asked.timeout),
        }))
    }

    /// Each piece with its length in front, so that no two questions are the same bytes.
    fn key(&self, asked: &Asked<'_>, body: &[u8]) -> SharingKey {
        let mut hash = Sha256::new();
        let mut piece = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        let (target, parts) = (asked.target, asked.parts);
        piece(target.function.namespace.as_str().as_bytes());
        piece(target.function.name.as_str().as_bytes());
        piece(&target.version.0.to_le_bytes());
        piece(&asked.digest.0);
        piece(&self.salt);
        // A HEAD is answered by what a GET would be given.
        let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
        piece(method.as_str().as_bytes());
        piece(parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).as_bytes());
        if self.host {
            piece(parts.uri.scheme_str().unwrap_or_default().as_bytes());
            piece(parts.uri.authority().map_or("", http::uri::Authority::as_str).as_bytes());
            values(&parts.headers, &FORWARDED_HOST, &mut piece);
        }
        for name in &self.vary {
            values(&parts.headers, name, &mut piece);
        }
        piece(body);
        SharingKey(hash.finalize().into())
    }
}

/// How many values a header has, and each of them.
fn values(headers: &HeaderMap, name: &HeaderName, piece: &mut impl FnMut(&[u8])) {
    let all = headers.get_all(name);
    piece(&(all.iter().count() as u64).to_le_bytes());
    for value in all {
        piece(value.as_bytes());
    }
}

#[cfg(test)]
mod tests;
