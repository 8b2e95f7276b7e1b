//! A body that many read while it comes.
//!
//! One task writes it; each reader has its own place on it. The whole of it is held until the last reader is done, which
//! is affordable because only bodies that find a place in the [`Room`](crate::room::Room) are written to one. So nobody
//! waits for a slow reader. A body that turns out too large has one reader alone, and is handed over to it.

use std::{
    collections::BTreeMap,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use onrush_invoke::{Body, BodyError};
use tokio::sync::Notify;

use crate::room::Place;

/// What is written, and who reads it.
pub(crate) struct Tape {
    state: Mutex<State>,
    /// The length of the whole, if it is known.
    length: Option<u64>,
    /// Told when the last reader has gone.
    left: Notify,
}

struct State {
    chunks: Vec<Bytes>,
    end: Option<End>,
    place: Place,
    waiting: BTreeMap<u64, Waker>,
    readers: usize,
    next_reader: u64,
}

enum End {
    Whole(Option<HeaderMap>),
    Broken(BodyError),
    /// What follows; gone when its reader has taken it.
    Rest(Option<Body>),
}

impl Tape {
    pub(crate) fn new(chunks: Vec<Bytes>, length: Option<u64>, place: Place) -> Arc<Self> {
        let state = State { chunks, end: None, place, waiting: BTreeMap::new(), readers: 0, next_reader: 0 };
        Arc::new(Self { state: Mutex::new(state), length, left: Notify::new() })
    }

    /// Somebody who reads from the beginning.
    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        let mut state = self.lock();
        state.readers += 1;
        state.next_reader += 1;
        let id = state.next_reader;
        drop(state);
        Reader { tape: Arc::clone(self), id, at: 0, read: 0, rest: None, ended: false }
    }

    /// Whether somebody reads.
    pub(crate) fn is_read(&self) -> bool {
        self.lock().readers > 0
    }

    /// Waits until nobody reads.
    pub(crate) async fn unread(&self) {
        loop {
            let left = self.left.notified();
            if !self.is_read() {
                return;
            }
            left.await;
        }
    }

    /// Writes. Whether there was room; where the length is known, it was made in advance.
    pub(crate) fn write(&self, chunk: Bytes) -> bool {
        let mut state = self.lock();
        let room = self.length.is_some() || state.place.grow(chunk.len() as u64);
        // A chunk without room is written all the same, once: it is here, and what follows is handed over.
        state.chunks.push(chunk);
        wake(state);
        room
    }

    /// Nothing follows. Gives back everything that was written.
    pub(crate) fn finish(&self, trailers: Option<HeaderMap>) -> Vec<Bytes> {
        let mut state = self.lock();
        state.end = Some(End::Whole(trailers));
        let chunks = state.chunks.clone();
        wake(state);
        chunks
    }

    /// Nothing follows, and that is a mistake.
    pub(crate) fn break_off(&self, error: BodyError) {
        let mut state = self.lock();
        state.end = Some(End::Broken(error));
        wake(state);
    }

    /// What follows is not written, but read by the one reader there is, at its own pace.
    pub(crate) fn hand_over(&self, rest: Body) {
        let mut state = self.lock();
        // Nobody reads: nobody ever will.
        let rest = (state.readers > 0).then_some(rest);
        state.end = Some(End::Rest(rest));
        wake(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes outside the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let waiting = mem::take(&mut state.waiting);
    drop(state);
    for waker in waiting.into_values() {
        waker.wake();
    }
}

/// A place on the tape.
pub(crate) struct Reader {
    tape: Arc<Tape>,
    id: u64,
    at: usize,
    read: u64,
    rest: Option<Body>,
    ended: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.tape.lock();
        state.waiting.remove(&self.id);
        state.readers -= 1;
        let rest = match &mut state.end {
            Some(End::Rest(rest)) => rest.take(),
            Some(End::Whole(_) | End::Broken(_)) | None => None,
        };
        let last = state.readers == 0;
        drop(state);
        drop(rest);
        if last {
            self.tape.left.notify_waiters();
        }
    }
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(rest) = &mut this.rest {
            return Pin::new(rest).poll_frame(cx);
        }
        if this.ended {
            return Poll::Ready(None);
        }
        let mut state = this.tape.lock();
        let handed_over = matches!(state.end, Some(End::Rest(_)));
        if let Some(chunk) = state.chunks.get_mut(this.at) {
            // The one reader of a body that is handed over is the last who needs it.
            let chunk = if handed_over { mem::take(chunk) } else { chunk.clone() };
            this.at += 1;
            this.read += chunk.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let last = match &mut state.end {
            None => {
                state.waiting.insert(this.id, cx.waker().clone());
                return Poll::Pending;
            }
            Some(End::Whole(trailers)) => trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))),
            Some(End::Broken(error)) => Some(Err(error.clone())),
            Some(End::Rest(rest)) => {
                let rest = rest.take();
                drop(state);
                return Pin::new(this.rest.insert(rest.unwrap_or_default())).poll_frame(cx);
            }
        };
        this.ended = true;
        Poll::Ready(last)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.rest.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match self.tape.length {
            Some(length) if self.rest.is_none() => SizeHint::with_exact(length.saturating_sub(self.read)),
            Some(_) | None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use onrush_types::Code;

    use super::*;
    use crate::room::Room;

    fn tape(room: u64, length: Option<u64>) -> Arc<Tape> {
        Tape::new(vec![Bytes::from_static(b"a")], length, Room::new(room).take(1).unwrap())
    }

    #[tokio::test]
    async fn each_reader_reads_at_its_own_pace_and_from_the_beginning() {
        let tape = tape(9, Some(3));
        let mut quick = tape.reader();
        assert_eq!(quick.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        assert!(tape.write(Bytes::from_static(b"bc")));
        assert_eq!(quick.frame().await.unwrap().unwrap().into_data().unwrap(), "bc");
        let late = tape.reader();
        assert_eq!(late.size_hint().exact(), Some(3));
        assert_eq!(tape.finish(None).concat(), b"abc");
        assert!(quick.frame().await.is_none());
        assert_eq!(late.collect().await.unwrap().to_bytes(), "abc");
        assert!(tape.is_read());
        drop(quick);
        tape.unread().await;
    }

    #[tokio::test]
    async fn readers_wait_for_what_is_to_come() {
        let tape = tape(9, None);
        let read = tokio::spawn(tape.reader().collect());
        tokio::task::yield_now().await;
        tape.write(Bytes::from_static(b"b"));
        tokio::task::yield_now().await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x", http::HeaderValue::from_static("1"));
        tape.finish(Some(trailers.clone()));
        let read = read.await.unwrap().unwrap();
        assert_eq!(read.trailers(), Some(&trailers));
        assert_eq!(read.to_bytes(), "ab");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_whole_for_nobody() {
        let tape = tape(9, None);
        let reader = tape.reader();
        tape.break_off(BodyError::new(Code::OutcomeUnknown, "lost"));
        assert_eq!(reader.collect().await.unwrap_err().code, Code::OutcomeUnknown);
    }

    #[tokio::test]
    async fn without_room_the_rest_is_read_directly() {
        let tape = tape(2, None);
        let reader = tape.reader();
        assert!(tape.write(Bytes::from_static(b"b")));
        assert!(!tape.write(Bytes::from_static(b"c")));
        tape.hand_over(Body::stream(Body::whole("rest")));
        assert_eq!(reader.collect().await.unwrap().to_bytes(), "abcrest");
    }

    #[tokio::test]
    async fn what_is_handed_over_to_nobody_is_dropped() {
        let held = Arc::new(());
        let rest = || Body::stream(onrush_invoke::GuardedBody::new(Body::whole("x"), held.clone()));
        let unread = tape(9, None);
        unread.hand_over(rest());
        assert_eq!(Arc::strong_count(&held), 1);
        let dropped = tape(9, None);
        let reader = dropped.reader();
        dropped.hand_over(rest());
        assert_eq!(Arc::strong_count(&held), 2);
        drop(reader);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
