//! A reply that several calls are given, each in its own way: whole, as a head alone, or as "not modified".

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use onrush_invoke::{Body, LoadReport, Reply};
use tokio::time::Instant;

use crate::{
    condition::{ANSWERED, is_not_modified},
    freshness::Life,
    status::Status,
    storage::Head,
    tape::Tape,
    vary::alike,
};

/// What a call asked, as far as its answer depends on it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
}

impl Asked {
    fn is_not_modified(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        ANSWERED.iter().any(|name| self.headers.contains_key(name))
            && is_not_modified(&self.method, &self.headers, status, headers)
    }
}

/// The bytes of a shared reply.
pub(crate) enum Content {
    Whole(Bytes),
    Tape(Arc<Tape>),
}

/// What one execution gives to all who share it.
pub(crate) struct Answer {
    pub(crate) head: Arc<Head>,
    pub(crate) content: Content,
    pub(crate) node: Arc<str>,
    /// What its leader asked: others may have it if they asked alike.
    pub(crate) asked: Arc<Asked>,
    /// Set for what was kept.
    pub(crate) age: Option<Duration>,
    /// What is the same for all.
    pub(crate) status: Status,
}

impl Answer {
    /// Whether somebody who asked this may have it.
    pub(crate) fn is_for(&self, asked: &HeaderMap) -> bool {
        self.head.shareable().is_some_and(|names| alike(names, &self.asked.headers, asked))
    }

    /// For one call.
    pub(crate) fn reply(&self, asked: &Asked, status: Status, load: LoadReport) -> Reply {
        let body = match &self.content {
            Content::Whole(bytes) => Body::whole(bytes.clone()),
            Content::Tape(tape) => Body::stream(tape.reader()),
        };
        let mut headers = self.head.headers.clone();
        if let Some(age) = self.age {
            headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        }
        reply_for(asked, (self.head.status, headers, body), status, (self.node.clone(), load))
    }
}

/// A reply as one call is given it: conditions are judged, a `HEAD` has no body, and the line about the cache is added.
pub(crate) fn reply_for(
    asked: &Asked,
    (code, mut headers, body): (StatusCode, HeaderMap, Body),
    status: Status,
    (node, load): (Arc<str>, LoadReport),
) -> Reply {
    let not_modified = asked.is_not_modified(code, &headers);
    let mut response = if not_modified {
        headers = about_the_unmodified(&headers);
        Response::new(Body::empty())
    } else if asked.method == Method::HEAD {
        let length = http_body::Body::size_hint(&body).exact();
        if let Some(length) = length.filter(|_| !headers.contains_key(header::CONTENT_LENGTH)) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Response::new(Body::empty())
    } else {
        Response::new(body)
    };
    status.write(&mut headers);
    *response.status_mut() = if not_modified { StatusCode::NOT_MODIFIED } else { code };
    *response.headers_mut() = headers;
    Reply { response, node, load }
}

/// What a `304` says (RFC 9110, 15.4.5).
fn about_the_unmodified(headers: &HeaderMap) -> HeaderMap {
    const SAID: [HeaderName; 9] = [
        header::CACHE_CONTROL,
        header::CONTENT_LOCATION,
        header::DATE,
        header::ETAG,
        header::EXPIRES,
        header::LAST_MODIFIED,
        header::VARY,
        header::AGE,
        header::CACHE_STATUS,
    ];
    let mut said = HeaderMap::with_capacity(SAID.len() + 1);
    for name in SAID {
        for value in headers.get_all(&name) {
            said.append(name.clone(), value.clone());
        }
    }
    said
}

/// A reply that is kept.
pub(crate) struct Kept {
    pub(crate) head: Arc<Head>,
    pub(crate) body: Bytes,
    pub(crate) life: Life,
    node: Arc<str>,
    received: Instant,
    /// The head with room for what is said of each hit, so that none is made larger.
    ready: HeaderMap,
    /// Whether somebody fetches a newer one.
    refreshing: AtomicBool,
    /// Until when nobody tries to after a failure, in milliseconds after `received`.
    resting: AtomicU64,
}

/// What a kept reply costs besides its bytes: the map's and the entry's own, roughly.
const OVERHEAD: usize = 1_024;

impl Kept {
    pub(crate) fn new(head: Arc<Head>, body: Bytes, node: Arc<str>, life: Life) -> Self {
        let mut ready = head.headers.clone();
        ready.insert(header::AGE, HeaderValue::from_static("0"));
        if !ready.contains_key(header::CACHE_STATUS) {
            ready.insert(header::CACHE_STATUS, HeaderValue::from_static(""));
        }
        let received = Instant::now();
        let (refreshing, resting) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { head, body, life, node, received, ready, refreshing, resting }
    }

    /// Bytes that it holds.
    pub(crate) fn weight(&self) -> u32 {
        // Names and values are here twice, the values' bytes shared.
        let headers = self.head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 160);
        u32::try_from(OVERHEAD + self.body.len() + headers.sum::<usize>()).unwrap_or(u32::MAX)
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        self.life.age + now.saturating_duration_since(self.received)
    }

    /// For a call that it answers without asking anybody.
    pub(crate) fn hit(&self, asked: &http::Request<Body>, now: Instant, load: LoadReport) -> Reply {
        let age = self.age(now);
        let status = Status { ttl: Some(self.life.ttl(age)), ..Status::default() };
        let plain = *asked.method() == Method::GET && !ANSWERED.iter().any(|name| asked.headers().contains_key(name));
        let mut headers = self.ready.clone();
        headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        if plain {
            let before = self.head.headers.get_all(header::CACHE_STATUS);
            headers.insert(header::CACHE_STATUS, status.value(before));
            let mut response = Response::new(Body::whole(self.body.clone()));
            *response.status_mut() = self.head.status;
            *response.headers_mut() = headers;
            return Reply { response, node: self.node.clone(), load };
        }
        if !self.head.headers.contains_key(header::CACHE_STATUS) {
            headers.remove(header::CACHE_STATUS);
        }
        let asked = Asked { method: asked.method().clone(), headers: asked.headers().clone() };
        let body = Body::whole(self.body.clone());
        reply_for(&asked, (self.head.status, headers, body), status, (self.node.clone(), load))
    }

    /// For all who share the execution that did not lead to a newer one.
    pub(crate) fn answer(&self, asked: Arc<Asked>, now: Instant, answered: StatusCode, stored: bool) -> Answer {
        let age = self.age(now);
        let ttl = Some(self.life.ttl(age));
        Answer {
            head: Arc::clone(&self.head),
            content: Content::Whole(self.body.clone()),
            node: self.node.clone(),
            asked,
            age: Some(age),
            status: Status { answered: Some(answered), ttl, stored, ..Status::default() },
        }
    }

    /// The same, found right again.
    pub(crate) fn freshened(&self, head: Arc<Head>, node: Arc<str>, life: Life) -> Self {
        Self::new(head, self.body.clone(), node, life)
    }

    /// Whether the caller is the one who fetches a newer one.
    pub(crate) fn begin_refresh(&self, now: Instant) -> bool {
        !self.is_resting(now) && !self.refreshing.swap(true, Ordering::Relaxed)
    }

    /// It is over, for good or not.
    pub(crate) fn end_refresh(&self) {
        self.refreshing.store(false, Ordering::Relaxed);
    }

    /// Nobody tries for so long.
    pub(crate) fn rest(&self, now: Instant, pause: Duration) {
        let until = now.saturating_duration_since(self.received) + pause;
        self.resting.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether a try has just failed.
    pub(crate) fn is_resting(&self, now: Instant) -> bool {
        let resting = self.resting.load(Ordering::Relaxed);
        resting > 0 && now.saturating_duration_since(self.received).as_millis() < u128::from(resting)
    }
}
