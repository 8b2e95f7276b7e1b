//! The order of the filters, written down once, and the way of a request through them.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::ORIGIN, request::Parts, uri::PathAndQuery};
use onrush_invoke::{Body, InvokeError};
use onrush_types::{FilterUse, Qualifier};
use sha2::{Digest as _, Sha256};

use crate::{
    document::{FilterDoc, document},
    filter::{
        self, Filter, LATER,
        auth::Auth,
        body_limit::BodyLimit,
        cache::Cache,
        canary::Canary,
        coalesce::Coalesce,
        compress::{Compress, understood},
        concurrency_limit::{ConcurrencyLimit, Permit},
        cors::{self, Cors},
        headers::Headers,
        ip_allow::IpAllow,
        rate_limit::RateLimit,
        retry::Retry,
        rewrite::Rewrite,
        timeout::Timeout,
    },
    problem::Problem,
    sharing::{Asked, Plan, Share},
};

/// Every filter, in the order in which a request passes them; a reply passes `headers`, `compress` and `cors` on its way
/// back, in this order. Where a route's manifest names them in another order, this one holds.
///
/// The cheap and the suspicious come first: who may not come costs nothing more. A browser's preflight has no
/// credentials, so `cors` answers it before `auth`. A place in `concurrency-limit` is taken by those alone who passed
/// everything that could refuse them. What the function sees is made before it is decided what is the same question.
pub(crate) const ORDER: [fn() -> FilterDoc; 14] = [
    document::<IpAllow>,
    document::<Cors>,
    document::<RateLimit>,
    document::<Auth>,
    document::<ConcurrencyLimit>,
    document::<BodyLimit>,
    document::<Timeout>,
    document::<Canary>,
    document::<Rewrite>,
    document::<Headers>,
    document::<Retry>,
    document::<Cache>,
    document::<Coalesce>,
    document::<Compress>,
];

/// A route's filters, ready for requests. What they count lives as long as this does.
#[derive(Default)]
pub struct Stack {
    pub(crate) ip_allow: Option<IpAllow>,
    pub(crate) cors: Option<Cors>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) auth: Option<Auth>,
    pub(crate) concurrency_limit: Option<ConcurrencyLimit>,
    pub(crate) body_limit: Option<BodyLimit>,
    pub(crate) timeout: Option<Timeout>,
    pub(crate) canary: Option<Canary>,
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) headers: Option<Headers>,
    pub(crate) retry: Option<Retry>,
    pub(crate) cache: Option<Cache>,
    pub(crate) coalesce: Option<Coalesce>,
    pub(crate) compress: Option<Compress>,
    /// What `cache` and `coalesce` say together.
    pub(crate) plan: Option<Plan>,
}

/// How many gateways share what the cluster may do; told by who watches the cluster.
#[derive(Debug, Clone, Default)]
pub struct Gateways(Arc<AtomicU32>);

impl Gateways {
    /// Says how many there are.
    pub fn set(&self, count: u32) {
        self.0.store(count, Relaxed);
    }

    /// At least one: the one that asks.
    pub fn count(&self) -> u32 {
        self.0.load(Relaxed).max(1)
    }
}

/// A request before its function is called.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    /// Its head.
    pub parts: &'a Parts,
    /// Whom it is from, as far as that can be believed. An IPv4 address is one, also on an IPv6 socket.
    pub client: IpAddr,
    /// Any number.
    pub chance: u64,
}

/// What the filters let a request do.
#[derive(Debug, Default)]
pub struct Passage<'a> {
    /// Its place among those that run at once; held to the reply's last byte.
    pub permit: Option<Permit>,
    /// The largest body, in bytes.
    pub body_limit: Option<u64>,
    /// How long it may take at most.
    pub timeout: Option<Duration>,
    /// The version that it is for instead of the route's.
    pub qualifier: Option<&'a Qualifier>,
}

/// Why a request ends at the filters.
#[derive(Debug)]
pub enum Stop {
    /// It is refused.
    Refused {
        /// Why.
        error: InvokeError,
        /// What the answer says besides.
        header: Option<Box<(HeaderName, HeaderValue)>>,
    },
    /// It is answered without a call.
    Answered(Box<Response<()>>),
}

impl From<InvokeError> for Stop {
    fn from(error: InvokeError) -> Self {
        Self::Refused { error, header: None }
    }
}

/// What a reply's filters have to know of the request.
#[derive(Debug, Default)]
pub struct Notes {
    origin: Option<HeaderValue>,
    understood: Option<Request<()>>,
}

/// Makes what can be made of a list, and says what is wrong with the rest.
pub(crate) fn assemble(filters: &[FilterUse], gateways: &Gateways) -> (Stack, Vec<Problem>) {
    let mut stack = Stack::default();
    let mut problems = Vec::new();
    for (at, used) in filters.iter().enumerate() {
        if let Err(found) = stack.put(at, used, gateways) {
            problems.extend(found);
        }
    }
    let added = filters.iter().find(|used| used.filter == Headers::NAME);
    let salt = added.and_then(|used| serde_json::to_vec(&used.parameters).ok()).map(Sha256::digest);
    let cache = stack.cache.as_ref().map(|cache| (&cache.caching, &cache.question));
    let coalesce = stack.coalesce.as_ref().map(|coalesce| (&coalesce.coalescing, &coalesce.question));
    stack.plan = Plan::new(cache, coalesce, salt.map(Into::into).unwrap_or_default());
    (stack, problems)
}

impl Stack {
    /// Makes a route's filters ready.
    ///
    /// # Errors
    /// Everything that is wrong with them. A route that cannot have its filters must not be served without them.
    pub fn compile(filters: &[FilterUse], gateways: &Gateways) -> Result<Self, Vec<Problem>> {
        let (stack, problems) = assemble(filters, gateways);
        if problems.is_empty() { Ok(stack) } else { Err(problems) }
    }

    fn put(&mut self, at: usize, used: &FilterUse, gateways: &Gateways) -> Result<(), Vec<Problem>> {
        fn place<F: Filter>(
            slot: &mut Option<F>,
            (at, used, gateways): (usize, &FilterUse, &Gateways),
        ) -> Result<(), Vec<Problem>> {
            if slot.is_some() {
                let why = format!("{} is there already; a route has each filter once", F::NAME);
                return Err(vec![Problem::of(at, "use", why)]);
            }
            *slot = Some(filter::build(at, used, gateways)?);
            Ok(())
        }
        let it = (at, used, gateways);
        match used.filter.as_str() {
            IpAllow::NAME => place(&mut self.ip_allow, it),
            Cors::NAME => place(&mut self.cors, it),
            RateLimit::NAME => place(&mut self.rate_limit, it),
            Auth::NAME => place(&mut self.auth, it),
            ConcurrencyLimit::NAME => place(&mut self.concurrency_limit, it),
            BodyLimit::NAME => place(&mut self.body_limit, it),
            Timeout::NAME => place(&mut self.timeout, it),
            Canary::NAME => place(&mut self.canary, it),
            Rewrite::NAME => place(&mut self.rewrite, it),
            Headers::NAME => place(&mut self.headers, it),
            Retry::NAME => place(&mut self.retry, it),
            Cache::NAME => place(&mut self.cache, it),
            Coalesce::NAME => place(&mut self.coalesce, it),
            Compress::NAME => place(&mut self.compress, it),
            later if LATER.contains(&later) => {
                Err(vec![Problem::of(at, "use", format!("the filter {later} is not yet available"))])
            }
            other => {
                let known: Vec<_> = ORDER.iter().map(|document| document().name).collect();
                let near = filter::meant(other, known.iter().copied());
                let other: String = other.chars().take(64).collect();
                let why = format!("there is no filter {other:?}{near}; there are {}", known.join(", "));
                Err(vec![Problem::of(at, "use", why)])
            }
        }
    }

    /// What the reply's filters will have to know. Taken before anything is refused: refusals pass `cors`, too.
    pub fn note(&self, parts: &Parts) -> Notes {
        Notes {
            origin: self.cors.as_ref().and_then(|_| parts.headers.get(ORIGIN).cloned()),
            understood: self.compress.as_ref().and_then(|_| understood(&parts.headers)),
        }
    }

    /// Whether it answers what browsers ask before they send such a request.
    pub fn answers_preflight(&self) -> bool {
        self.cors.is_some()
    }

    /// The path that the function sees instead of this one, if it is another.
    ///
    /// # Errors
    /// `bad_request` where what comes out is no path.
    pub fn path<'a>(
        &self,
        whole: &PathAndQuery,
        parameter: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<PathAndQuery>, InvokeError> {
        self.rewrite.as_ref().map_or(Ok(None), |rewrite| rewrite.path(whole, parameter))
    }

    /// Lets a request pass, or not. Nothing of its body has been read.
    ///
    /// # Errors
    /// What ends it here.
    pub fn admit(&self, passing: Passing<'_>) -> Result<Passage<'_>, Stop> {
        if let Some(ip_allow) = &self.ip_allow {
            ip_allow.check(passing.client)?;
        }
        if let Some(response) = self.cors.as_ref().and_then(|cors| cors.preflight(passing.parts)) {
            return Err(Stop::Answered(Box::new(response)));
        }
        let early = |limit: &&RateLimit| limit.before_auth();
        if let Some(limit) = self.rate_limit.as_ref().filter(early) {
            limit.check(&passing, None)?;
        }
        let caller = self.auth.as_ref().map(|auth| auth.check(&passing.parts.headers)).transpose()?;
        if let Some(limit) = self.rate_limit.as_ref().filter(|limit| !early(limit)) {
            limit.check(&passing, caller)?;
        }
        if let Some(retry) = &self.retry {
            retry.begin();
        }
        Ok(Passage {
            permit: self.concurrency_limit.as_ref().map(ConcurrencyLimit::enter).transpose()?,
            body_limit: self.body_limit.as_ref().map(|limit| limit.size),
            timeout: self.timeout.as_ref().map(|timeout| timeout.after),
            qualifier: self.canary.as_ref().and_then(|canary| canary.choose(&passing)),
        })
    }

    /// Makes the request's headers what the function shall see.
    pub fn shape(&self, headers: &mut HeaderMap) {
        if let Some(auth) = &self.auth {
            auth.withhold(headers);
        }
        if let Some(edits) = &self.headers {
            edits.request.apply(headers);
        }
    }

    /// What a request may share with others.
    pub fn share(&self, asked: &Asked<'_>) -> Share {
        self.plan.as_ref().map_or(Share::Not, |plan| plan.share(asked))
    }

    /// What becomes of failures.
    pub fn retry(&self) -> Option<&Retry> {
        self.retry.as_ref()
    }

    /// Makes a function's reply what the client shall see.
    pub async fn answer(&self, notes: &mut Notes, mut response: Response<Body>) -> Response<Body> {
        if let Some(edits) = &self.headers {
            edits.response.apply(response.headers_mut());
        }
        match (&self.compress, notes.understood.take()) {
            (Some(compress), Some(understood)) => compress.apply(understood, response).await,
            _ => response,
        }
    }

    /// The last word on every answer, refusals of the platform included.
    pub fn seal(&self, notes: &Notes, headers: &mut HeaderMap) {
        if let Some(cors) = &self.cors {
            cors.answer(notes.origin.as_ref(), headers);
        }
    }
}

/// The method that a browser's preflight request asks about, if this is one.
pub fn preflight_of(parts: &Parts) -> Option<&HeaderValue> {
    cors::asks_for(parts)
}
