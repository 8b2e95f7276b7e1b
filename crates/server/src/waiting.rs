//! Bytes of replies that wait for the peer to take them.
//!
//! A peer that reads nothing need not show on the socket: under HTTP/2 it keeps the socket flowing and a request's
//! window shut. So each piece of a reply says itself how it gets on: it belongs to the period in which it last moved by
//! enough, and a piece that is a whole period behind has stalled. A piece costs a few atomics and no look at the clock:
//! the connection's timer turns the periods.

use std::{
    io::IoSlice,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::{Buf, Bytes};

use crate::activity::Activity;

/// Periods that can have pieces: this one and the last.
const PERIODS: usize = 2;

/// How many pieces wait, by the period in which they last moved.
#[derive(Debug)]
pub(crate) struct Waiting {
    period: AtomicUsize,
    pieces: [AtomicUsize; PERIODS],
    /// Bytes that count as moving.
    enough: usize,
    /// When this period began, as [`Activity`] counts.
    since: AtomicU64,
}

impl Waiting {
    pub(crate) fn new(enough: usize) -> Self {
        Self { period: AtomicUsize::new(0), pieces: Default::default(), enough, since: AtomicU64::new(0) }
    }

    fn now(&self) -> usize {
        self.period.load(Relaxed)
    }

    fn enter(&self, period: usize) {
        self.pieces[period % PERIODS].fetch_add(1, Relaxed);
    }

    fn leave(&self, period: usize) {
        self.pieces[period % PERIODS].fetch_sub(1, Relaxed);
    }

    /// Whether a piece waits.
    pub(crate) fn any(&self) -> bool {
        self.pieces.iter().any(|pieces| pieces.load(Relaxed) > 0)
    }

    /// Goes to the next period if this one is over. Whether a piece has not moved for a whole period.
    pub(crate) fn turn(&self, now: u64, length: u64) -> bool {
        if now.saturating_sub(self.since.load(Relaxed)) < length {
            return false;
        }
        self.since.store(now, Relaxed);
        let next = self.now().wrapping_add(1);
        // The next period takes the place of the last one: who is still there has seen a whole one pass.
        let stalled = self.pieces[next % PERIODS].load(Relaxed) > 0;
        self.period.store(next, Relaxed);
        stalled
    }
}

/// A piece of a reply on its way into the socket.
#[derive(Debug)]
pub(crate) struct Piece<D> {
    inner: D,
    activity: Arc<Activity>,
    period: usize,
    moved: usize,
}

impl<D> Piece<D> {
    pub(crate) fn new(inner: D, activity: Arc<Activity>) -> Self {
        let period = activity.waiting.now();
        activity.waiting.enter(period);
        Self { inner, activity, period, moved: 0 }
    }
}

impl<D> Drop for Piece<D> {
    fn drop(&mut self) {
        self.activity.waiting.leave(self.period);
    }
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        self.inner.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.inner.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.inner.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.inner.advance(count);
        self.moved += count;
        let waiting = &self.activity.waiting;
        let period = waiting.now();
        if self.moved >= waiting.enough {
            self.moved = 0;
            if period != self.period {
                waiting.enter(period);
                waiting.leave(self.period);
                self.period = period;
            }
        }
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.moved += count;
        self.inner.copy_to_bytes(count)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn piece(bytes: &'static [u8], enough: usize) -> (Piece<Bytes>, Arc<Activity>) {
        let activity = Arc::new(Activity::new(Instant::now(), enough));
        (Piece::new(Bytes::from_static(bytes), Arc::clone(&activity)), activity)
    }

    #[test]
    fn a_piece_stalls_after_one_whole_period_and_not_before() {
        let (piece, activity) = piece(b"some", 1);
        let waiting = &activity.waiting;
        assert!(!waiting.turn(9, 10), "no period has ended");
        assert!(!waiting.turn(10, 10), "it may have come at the period's very end");
        assert!(waiting.turn(20, 10), "a whole period has passed");
        drop(piece);
        assert!(!waiting.any() && !waiting.turn(30, 10) && !waiting.turn(40, 10));
    }

    #[test]
    fn a_piece_that_moves_by_enough_does_not_stall_and_one_that_trickles_does() {
        let (mut piece, activity) = piece(&[0; 100], 10);
        for period in 1..6 {
            piece.advance(10);
            assert!(!activity.waiting.turn(period * 10, 10), "period {period}");
        }
        piece.advance(9);
        assert!(activity.waiting.turn(60, 10), "less than enough in a whole period is no reading");
    }
}
