//! What a connection is doing, and when that has taken too long.
//!
//! hyper's own header timer also runs while a kept-alive connection is idle, so it cannot tell a slow head from a
//! quiet client; and it does not cover the bytes that tell HTTP/1.1 from HTTP/2, nor a peer that stops reading. One
//! lazy timer per connection covers all of these, and a request costs two looks at the clock.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// The moments that matter, in nanoseconds since the connection began plus one; 0 stands for "not now".
///
/// Only the connection's own task (and its requests' tasks under HTTP/2) write here, and a timer reads: a value that is
/// a moment old delays a verdict by a moment. That is why relaxed loads and stores will do.
#[derive(Debug)]
pub(crate) struct Activity {
    began: Instant,
    in_flight: AtomicU32,
    http2: AtomicBool,
    head_since: AtomicU64,
    idle_since: AtomicU64,
    blocked_since: AtomicU64,
}

/// How long each may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
    pub(crate) write: Duration,
}

impl Patience {
    /// Until something that begins now can have taken too long.
    pub(crate) fn shortest(self) -> Duration {
        self.head.min(self.idle).min(self.write)
    }
}

/// What to do with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing before this moment.
    LookAgain(Instant),
    /// Close it politely: it has been without a request for too long.
    Idle,
    /// Cut it off, for this reason.
    Cut(&'static str),
}

impl Activity {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: now,
            in_flight: AtomicU32::new(0),
            http2: AtomicBool::new(false),
            head_since: AtomicU64::new(1),
            idle_since: AtomicU64::new(1),
            blocked_since: AtomicU64::new(0),
        }
    }

    fn moment(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The first bytes were those of HTTP/2, which says when a request ends by its own frames.
    pub(crate) fn speaks_http2(&self) {
        self.http2.store(true, Relaxed);
        self.head_since.store(0, Relaxed);
    }

    pub(crate) fn bytes_came(&self) {
        let between_requests = self.in_flight.load(Relaxed) == 0 && !self.http2.load(Relaxed);
        if between_requests && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.moment(Instant::now()), Relaxed);
        }
    }

    pub(crate) fn write_blocked(&self) {
        if self.blocked_since.load(Relaxed) == 0 {
            self.blocked_since.store(self.moment(Instant::now()), Relaxed);
        }
    }

    pub(crate) fn write_moved(&self) {
        if self.blocked_since.load(Relaxed) != 0 {
            self.blocked_since.store(0, Relaxed);
        }
    }

    pub(crate) fn request_began(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
    }

    pub(crate) fn request_ended(&self) {
        self.idle_since.store(self.moment(Instant::now()), Relaxed);
        self.in_flight.fetch_sub(1, Relaxed);
    }

    pub(crate) fn judge(&self, now: Instant, patience: Patience) -> Verdict {
        let at = |moment: u64| self.began + Duration::from_nanos(moment.saturating_sub(1));
        // Whatever begins after this look is seen no later than its own limit.
        let soon = now + patience.shortest();
        let blocked = self.blocked_since.load(Relaxed);
        if blocked != 0 {
            let limit = at(blocked) + patience.write;
            return if now >= limit {
                Verdict::Cut("the peer reads nothing")
            } else {
                Verdict::LookAgain(limit.min(soon))
            };
        }
        if self.in_flight.load(Relaxed) > 0 {
            return Verdict::LookAgain(soon);
        }
        let head = self.head_since.load(Relaxed);
        if head != 0 {
            let limit = at(head) + patience.head;
            return if now >= limit {
                Verdict::Cut("the head came too slowly")
            } else {
                Verdict::LookAgain(limit.min(soon))
            };
        }
        let limit = at(self.idle_since.load(Relaxed)) + patience.idle;
        if now >= limit { Verdict::Idle } else { Verdict::LookAgain(limit.min(soon)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { head: Duration::from_secs(10), idle: Duration::from_secs(60), write: Duration::from_secs(30) };

    async fn later(seconds: u64) -> Instant {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_head_has_its_limit_from_the_connect() {
        let activity = Activity::new(Instant::now());
        assert!(matches!(activity.judge(later(9).await, PATIENCE), Verdict::LookAgain(_)));
        activity.bytes_came();
        assert!(matches!(activity.judge(later(1).await, PATIENCE), Verdict::Cut(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_has_its_limit_from_its_first_byte_and_quiet_is_no_slow_head() {
        let activity = Activity::new(Instant::now());
        activity.request_began();
        assert!(matches!(activity.judge(later(500).await, PATIENCE), Verdict::LookAgain(_)), "a long request");
        activity.request_ended();
        assert!(matches!(activity.judge(later(50).await, PATIENCE), Verdict::LookAgain(_)));
        activity.bytes_came();
        assert!(matches!(activity.judge(later(9).await, PATIENCE), Verdict::LookAgain(_)));
        activity.bytes_came();
        assert!(matches!(activity.judge(later(1).await, PATIENCE), Verdict::Cut(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_idle_after_its_time() {
        let activity = Activity::new(Instant::now());
        activity.speaks_http2();
        activity.bytes_came();
        assert!(matches!(activity.judge(later(59).await, PATIENCE), Verdict::LookAgain(_)));
        assert_eq!(activity.judge(later(1).await, PATIENCE), Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_cut_and_one_that_reads_a_little_is_not() {
        let activity = Activity::new(Instant::now());
        activity.request_began();
        activity.write_blocked();
        assert!(matches!(activity.judge(later(29).await, PATIENCE), Verdict::LookAgain(_)));
        activity.write_moved();
        activity.write_blocked();
        assert!(matches!(activity.judge(later(29).await, PATIENCE), Verdict::LookAgain(_)));
        assert!(matches!(activity.judge(later(1).await, PATIENCE), Verdict::Cut(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_look_is_never_later_than_what_may_begin_now() {
        let activity = Activity::new(Instant::now());
        activity.request_began();
        activity.request_ended();
        let now = later(1).await;
        assert_eq!(activity.judge(now, PATIENCE), Verdict::LookAgain(now + PATIENCE.head));
        let brief = Patience { idle: Duration::from_secs(5), ..PATIENCE };
        assert_eq!(activity.judge(now, brief), Verdict::LookAgain(now + Duration::from_secs(4)));
    }
}
