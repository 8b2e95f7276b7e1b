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

use crate::waiting::Waiting;

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
    /// Requests that began since the last look, and those of them that the peer gave up.
    recent: AtomicU32,
    given_up: AtomicU32,
    /// Pieces of replies that wait for the peer.
    pub(crate) waiting: Waiting,
}

/// How long each may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
    pub(crate) write: Duration,
    /// Zero: for ever.
    pub(crate) reply: Duration,
}

impl Patience {
    /// Until something that begins now can have taken too long.
    pub(crate) fn shortest(self) -> Duration {
        let reply = if self.reply.is_zero() { Duration::MAX } else { self.reply };
        self.head.min(self.idle).min(self.write).min(reply)
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
    /// `enough`: bytes by which a waiting piece of a reply must move to count as moving.
    pub(crate) fn new(now: Instant, enough: usize) -> Self {
        Self {
            began: now,
            in_flight: AtomicU32::new(0),
            http2: AtomicBool::new(false),
            head_since: AtomicU64::new(1),
            idle_since: AtomicU64::new(1),
            blocked_since: AtomicU64::new(0),
            recent: AtomicU32::new(0),
            given_up: AtomicU32::new(0),
            waiting: Waiting::new(enough),
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

    /// A request came: it is the peer's to wait for.
    pub(crate) fn request_came(&self) {
        self.recent.fetch_add(1, Relaxed);
        self.request_began();
    }

    /// The peer did not want its request's answer any more.
    pub(crate) fn request_given_up(&self) {
        self.given_up.fetch_add(1, Relaxed);
    }

    /// Whether the peer has given up more than `most` requests since the last look, and most of those that it made.
    pub(crate) fn floods(&self, most: u32) -> bool {
        let given_up = self.given_up.load(Relaxed);
        most > 0 && given_up > most && given_up >= self.recent.load(Relaxed) / 2
    }

    /// Since when nothing is asked and nothing owed; the start of a head is not an answerable question yet.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        let owed = self.waiting.any() || self.blocked_since.load(Relaxed) != 0;
        let quiet = self.in_flight.load(Relaxed) == 0 && !owed;
        quiet.then(|| self.at(self.idle_since.load(Relaxed)))
    }

    fn at(&self, moment: u64) -> Instant {
        self.began + Duration::from_nanos(moment.saturating_sub(1))
    }

    pub(crate) fn judge(&self, now: Instant, patience: Patience) -> Verdict {
        let at = |moment| self.at(moment);
        self.recent.store(0, Relaxed);
        self.given_up.store(0, Relaxed);
        if !patience.reply.is_zero() {
            let length = u64::try_from(patience.reply.as_nanos()).unwrap_or(u64::MAX);
            if self.waiting.turn(self.moment(now), length) {
                return Verdict::Cut("the peer does not take its replies");
            }
        }
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
        if self.waiting.any() {
            self.idle_since.store(self.moment(now), Relaxed);
            return Verdict::LookAgain(soon);
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
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::waiting::Piece;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        write: Duration::from_secs(30),
        reply: Duration::from_secs(60),
    };

    async fn later(seconds: u64) -> Instant {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_head_has_its_limit_from_the_connect() {
        let activity = Activity::new(Instant::now(), 1);
        assert!(matches!(activity.judge(later(9).await, PATIENCE), Verdict::LookAgain(_)));
        activity.bytes_came();
        assert!(matches!(activity.judge(later(1).await, PATIENCE), Verdict::Cut(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_has_its_limit_from_its_first_byte_and_quiet_is_no_slow_head() {
        let activity = Activity::new(Instant::now(), 1);
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
        let activity = Activity::new(Instant::now(), 1);
        activity.speaks_http2();
        activity.bytes_came();
        assert!(matches!(activity.judge(later(59).await, PATIENCE), Verdict::LookAgain(_)));
        assert_eq!(activity.judge(later(1).await, PATIENCE), Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_cut_and_one_that_reads_a_little_is_not() {
        let activity = Activity::new(Instant::now(), 1);
        activity.request_began();
        activity.write_blocked();
        assert!(matches!(activity.judge(later(29).await, PATIENCE), Verdict::LookAgain(_)));
        activity.write_moved();
        activity.write_blocked();
        assert!(matches!(activity.judge(later(29).await, PATIENCE), Verdict::LookAgain(_)));
        assert!(matches!(activity.judge(later(1).await, PATIENCE), Verdict::Cut(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_of_a_reply_that_nobody_takes_ends_the_connection() {
        let activity = Arc::new(Activity::new(Instant::now(), 1));
        let piece = Piece::new(Bytes::from_static(b"reply"), Arc::clone(&activity));
        assert!(matches!(activity.judge(later(60).await, PATIENCE), Verdict::LookAgain(_)));
        assert_eq!(activity.quiet_since(), None, "it is owed something");
        let forever = Patience { reply: Duration::ZERO, ..PATIENCE };
        assert!(matches!(activity.judge(later(60).await, forever), Verdict::LookAgain(_)));
        assert!(matches!(activity.judge(Instant::now(), PATIENCE), Verdict::Cut(_)));
        drop(piece);
        assert!(activity.quiet_since().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_many_requests_given_up_and_most_of_them() {
        let activity = Activity::new(Instant::now(), 1);
        let requests = |answered, given_up| {
            for _ in 0..answered + given_up {
                activity.request_came();
                activity.request_ended();
            }
            for _ in 0..given_up {
                activity.request_given_up();
            }
        };
        requests(300, 100);
        assert!(!activity.floods(100), "as many as are allowed");
        requests(0, 10);
        assert!(!activity.floods(100), "most are wanted");
        requests(0, 300);
        assert!(activity.floods(100));
        assert!(!activity.floods(0), "no limit");
        activity.judge(Instant::now(), PATIENCE);
        requests(0, 100);
        assert!(!activity.floods(100), "each look begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_look_is_never_later_than_what_may_begin_now() {
        let activity = Activity::new(Instant::now(), 1);
        activity.request_began();
        activity.request_ended();
        let now = later(1).await;
        assert_eq!(activity.judge(now, PATIENCE), Verdict::LookAgain(now + PATIENCE.head));
        let brief = Patience { idle: Duration::from_secs(5), ..PATIENCE };
        assert_eq!(activity.judge(now, brief), Verdict::LookAgain(now + Duration::from_secs(4)));
    }
}
