//! Drives one guest: from its start to its end, within its time, handing out the reply as soon as there is one.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use onrush_invoke::{Body, Deadline, InvokeError};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};
use wasmtime_wasi_http::WasiBody;

use super::{failure::Failure, instance::Answer, reply::Tail};
use crate::Permit;

/// How often a guest that makes progress is asked again at once for the rest of a small body.
const ROUNDS: u32 = 16;

/// A reply on its way from the guest's thread to the caller.
pub(super) enum Given {
    /// Complete.
    Whole(http::Response<Body>),
    /// Head, first frames and the rest.
    Stream(http::Response<WasiBody>, VecDeque<Frame<Bytes>>),
}

/// What the caller waits for.
pub(super) type Tell = oneshot::Sender<Result<Given, InvokeError>>;

/// One call, seen from outside of the guest.
pub(super) struct Driver {
    pub(super) answer: Answer,
    pub(super) tell: Option<Tell>,
    pub(super) tail: Arc<Tail>,
    pub(super) deadline: Deadline,
    /// Takes the deadline's place once the head is sent.
    pub(super) stream_idle: Option<Duration>,
    /// The largest body that is sent whole.
    pub(super) whole: usize,
}

/// Why driving ended.
pub(super) enum End<T> {
    /// The guest is done, in its own way.
    Guest(T),
    /// The time was over.
    Late(String),
}

impl Driver {
    /// Polls the guest until it is done or late. It computes for at most one tick before it gives way, so that the
    /// time is looked at here even if it never waits for anything. Whenever it gives way, whatever for, its right to
    /// compute goes to others, and it goes on when its turn comes again.
    pub(super) async fn run<T>(
        &mut self,
        mut guest: Pin<&mut impl Future<Output = T>>,
        permit: &mut dyn Permit,
    ) -> End<T> {
        let mut alarm = pin!(None);
        poll_fn(|cx| {
            if let Some(late) = self.late() {
                return Poll::Ready(End::Late(late));
            }
            match permit.poll_compute(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(End::Late(error.to_string())),
                Poll::Pending => return self.wait(alarm.as_mut(), cx),
            }
            let mut pending = Pending::default();
            for _ in 0..ROUNDS {
                if let Poll::Ready(done) = guest.as_mut().poll(cx) {
                    self.look(&mut pending);
                    self.hand_over(pending, true);
                    return Poll::Ready(End::Guest(done));
                }
                if !self.look(&mut pending) {
                    break;
                }
            }
            self.hand_over(pending, false);
            permit.pause();
            self.wait(alarm.as_mut(), cx)
        })
        .await
    }

    /// Fails the call, if it has no reply yet.
    pub(super) fn fail(&mut self, error: InvokeError) {
        self.send(Err(error));
    }

    /// Takes the answer out, then as much of its body as is there. Says whether asking the guest again may help.
    fn look(&mut self, pending: &mut Pending) -> bool {
        let Some(tell) = &self.tell else { return false };
        let fresh = match &pending.response {
            Some(_) => false,
            None => match self.answer.take() {
                Some(Ok(response)) => {
                    pending.response = Some(response);
                    true
                }
                Some(Err(text)) => {
                    let text = format!("the function answered with an error of its own: {text}");
                    self.send(Err(Failure::Function(text).error()));
                    return false;
                }
                None => return false,
            },
        };
        let more = pending.fill(self.whole);
        !tell.is_closed() && (fresh || more) && !pending.complete && pending.bytes <= self.whole
    }

    fn hand_over(&mut self, mut pending: Pending, guest_is_done: bool) {
        let Some(response) = pending.response.take() else { return };
        if let Some(error) = pending.broken {
            let text = format!("the function broke its reply off: {error}");
            return self.send(Err(Failure::Function(text).error()));
        }
        let small = pending.bytes <= self.whole && pending.frames.iter().all(Frame::is_data);
        if small && (pending.complete || guest_is_done) && !pending.short(&response) {
            let body = Body::whole(joined(pending.frames));
            return self.send(Ok(Given::Whole(response.map(|_| body))));
        }
        self.send(Ok(Given::Stream(response, pending.frames)));
    }

    fn send(&mut self, given: Result<Given, InvokeError>) {
        if let Some(tell) = self.tell.take()
            && tell.send(given).is_err()
        {
            tracing::trace!("the caller has gone");
        }
    }

    fn late(&self) -> Option<String> {
        let now = Instant::now();
        if now < self.until() {
            return None;
        }
        Some(match self.stream_idle {
            Some(idle) if self.tell.is_none() => format!("nobody read the reply for {idle:?}, or nothing was written"),
            _ => "the function took longer than its time".to_owned(),
        })
    }

    fn until(&self) -> Instant {
        match self.stream_idle {
            Some(idle) if self.tell.is_none() => self.tail.progress() + idle,
            _ => self.deadline.instant(),
        }
    }

    /// The guest waits for something: wake up for it, or when its time is over.
    fn wait<T>(&self, mut alarm: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<End<T>> {
        loop {
            let until = self.until();
            match alarm.as_mut().as_pin_mut() {
                // Most guests never wait: the timer is made for the first that does.
                None => alarm.set(Some(sleep_until(until))),
                Some(set) if set.deadline() > until => set.reset(until),
                Some(set) => {
                    ready!(set.poll(cx));
                    if let Some(late) = self.late() {
                        return Poll::Ready(End::Late(late));
                    }
                    alarm.set(None);
                }
            }
        }
    }
}

/// An answer whose head is held back for a moment, because its body may be complete at once.
#[derive(Default)]
struct Pending {
    response: Option<http::Response<WasiBody>>,
    frames: VecDeque<Frame<Bytes>>,
    bytes: usize,
    complete: bool,
    broken: Option<wasmtime_wasi_http::Error>,
}

impl Pending {
    /// Takes frames that are there without waiting, up to about `most` bytes. Says whether there were any.
    fn fill(&mut self, most: usize) -> bool {
        let Some(response) = &mut self.response else { return false };
        let before = self.frames.len();
        let mut nobody = Context::from_waker(Waker::noop());
        while !self.complete && self.broken.is_none() && self.bytes <= most {
            match Pin::new(response.body_mut()).poll_frame(&mut nobody) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.bytes += frame.data_ref().map_or(0, Bytes::len);
                    self.frames.push_back(frame);
                }
                Poll::Ready(Some(Err(error))) => self.broken = Some(error),
                Poll::Ready(None) => self.complete = true,
                Poll::Pending => break,
            }
        }
        self.frames.len() > before
    }

    /// Whether the head promises more bytes than there are.
    fn short(&self, response: &http::Response<WasiBody>) -> bool {
        content_length(response.headers()).is_some_and(|length| length > self.bytes as u64)
    }
}

/// The length that a head promises.
pub(super) fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn joined(frames: VecDeque<Frame<Bytes>>) -> Bytes {
    let mut pieces = frames.into_iter().filter_map(|frame| frame.into_data().ok());
    let (first, second) = (pieces.next(), pieces.next());
    let Some(second) = second else { return first.unwrap_or_default() };
    let mut all = BytesMut::from(first.unwrap_or_default());
    all.extend_from_slice(&second);
    pieces.for_each(|piece| all.extend_from_slice(&piece));
    all.freeze()
}
