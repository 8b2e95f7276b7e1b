//! What a call may share with others that ask for the same: one execution in flight, or a reply that is kept.

use std::time::Duration;

/// How far sharing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scope {
    /// Among the calls of one gateway.
    #[default]
    Gateway,
    /// Among all gateways: the node that owns the key executes.
    Cluster,
}

/// Names what is asked for: equal keys are the same question. A sha256 over everything that the reply may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SharingKey(pub [u8; 32]);

/// One execution for identical calls at the same moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coalesce {
    /// Calls that may wait for one execution; more run by themselves.
    pub waiters: u32,
    /// Whether a failure is everybody's; otherwise one of those who wait tries again.
    pub share_errors: bool,
    /// A leader older than this no longer holds others up: the next call runs by itself.
    pub lock_age: Duration,
}

/// Replies that are kept, by RFC 9111.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caching {
    /// Whether the request's own `Cache-Control` may ask for a fresh reply. Off, no client can force an execution.
    pub obey_request: bool,
    /// Freshness of replies that state none; never overrides `no-store`.
    pub ttl: Option<Duration>,
    /// How long a stale reply may be sent while a new one is fetched (RFC 5861), where the reply does not say.
    pub stale_while_revalidate: Option<Duration>,
    /// How long a stale reply may stand in for a failure (RFC 5861), where the reply does not say.
    pub stale_if_error: Option<Duration>,
    /// How long a key whose reply could not be kept is passed through.
    pub hit_for_miss: Duration,
}

/// What one call may share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// What it asks for.
    pub key: SharingKey,
    /// With whom.
    pub scope: Scope,
    /// Shares what is in flight.
    pub coalesce: Option<Coalesce>,
    /// Shares what is kept.
    pub cache: Option<Caching>,
    /// Larger replies are passed on and not shared, in bytes.
    pub largest: u64,
    /// The time of an execution that is nobody's own, such as a refresh in the background: the route's or function's
    /// timeout. None: the time of the call that started it.
    pub timeout: Option<Duration>,
}
