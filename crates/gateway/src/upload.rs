//! Requests' bodies: small ones whole, so that a call can be given to another node; the others as streams.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use onrush_invoke::{Body, BodyError, Deadline, InvokeError, Reached};
use onrush_types::Code;
use tokio::time::{Instant, Sleep};

use crate::Config;

/// A request's body, and a look at it from outside.
pub(crate) struct Upload {
    pub(crate) body: Body,
    overrun: Option<Arc<AtomicBool>>,
    limit: Option<u64>,
}

impl Upload {
    /// Reads a small body; makes a stream of another. The lower limit holds: the route's, or the gateway's.
    pub(crate) async fn receive(
        incoming: Incoming,
        config: &Config,
        route: Option<u64>,
        deadline: Deadline,
    ) -> Result<Self, InvokeError> {
        let limit = config.body_limit.into_iter().chain(route).min();
        if incoming.is_end_stream() {
            return Ok(Self { body: Body::empty(), overrun: None, limit });
        }
        let length = incoming.size_hint().exact();
        if let (Some(length), Some(limit)) = (length, limit)
            && length > limit
        {
            return Err(too_large(limit));
        }
        if length.is_some_and(|length| length <= config.whole_body_bytes) {
            let body = whole(incoming, config.body_idle_timeout, deadline).await?.into();
            return Ok(Self { body, overrun: None, limit });
        }
        let overrun = limit.map(|_| Arc::<AtomicBool>::default());
        let stream = Stream {
            incoming,
            left: limit.zip(overrun.clone()),
            idle: tokio::time::sleep(config.body_idle_timeout),
            patience: config.body_idle_timeout,
            waiting: None,
            pace: Pace { patience: config.body_idle_timeout, rate: config.body_min_rate, ..Pace::default() },
        };
        Ok(Self { body: Body::stream(stream), overrun, limit })
    }

    /// Takes the body, and leaves what tells whether it went over its limit.
    pub(crate) fn into_parts(self) -> (Body, Overrun) {
        (self.body, Overrun { happened: self.overrun, limit: self.limit.unwrap_or(u64::MAX) })
    }
}

/// Whether a streamed body went over its limit. Whatever a function made of its broken body, the client is told why.
pub(crate) struct Overrun {
    happened: Option<Arc<AtomicBool>>,
    limit: u64,
}

impl Overrun {
    pub(crate) fn check(&self) -> Result<(), InvokeError> {
        match &self.happened {
            Some(happened) if happened.load(Relaxed) => Err(too_large(self.limit)),
            _ => Ok(()),
        }
    }
}

fn too_large(limit: u64) -> InvokeError {
    InvokeError::refused(Code::TooLarge, format!("the request's body is larger than the limit of {limit} bytes"))
}

fn stalled(patience: Duration) -> String {
    format!("no byte of the request's body came for {patience:?}")
}

fn broken(error: &hyper::Error) -> String {
    format!("the request's body broke off: {error}")
}

async fn whole(mut incoming: Incoming, patience: Duration, deadline: Deadline) -> Result<Bytes, InvokeError> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    loop {
        let until = deadline.instant().min(Instant::now() + patience);
        let next = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx));
        let frame = match tokio::time::timeout_at(until, next).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(InvokeError::refused(Code::BadRequest, broken(&error))),
            Err(_) if deadline.has_passed() => {
                let message = "the function's timeout passed while the request's body was still coming";
                return Err(InvokeError::deadline(Reached::NotSent, message));
            }
            Err(_) => return Err(InvokeError::refused(Code::BadRequest, stalled(patience))),
        };
        // A small body with a declared length has no trailers worth a stream: they are left out.
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
    }
    Ok(if more.is_empty() { first } else { more.freeze() })
}

pin_project_lite::pin_project! {
    /// A body on its way through.
    struct Stream {
        incoming: Incoming,
        left: Option<(u64, Arc<AtomicBool>)>,
        #[pin]
        idle: Sleep,
        patience: Duration,
        waiting: Option<Instant>,
        pace: Pace,
    }
}

/// Whether a client sends fast enough. Only the time counts in which it was waited for.
#[derive(Default)]
struct Pace {
    patience: Duration,
    /// Bytes per second.
    rate: u32,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Takes in that so many bytes came after so long. Whether they were too few, each time that the waits have come to
    /// as much as there is patience.
    fn too_slow(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < self.patience {
            return false;
        }
        let (waited, bytes) = (std::mem::take(&mut self.waited), std::mem::take(&mut self.bytes));
        u128::from(bytes) * 1_000 < u128::from(self.rate) * waited.as_millis()
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        let Poll::Ready(frame) = Pin::new(&mut *this.incoming).poll_frame(cx) else {
            // The clock runs while the function waits for the client, not while the client waits for the function.
            if this.waiting.is_none() {
                let now = Instant::now();
                *this.waiting = Some(now);
                this.idle.as_mut().reset(now + *this.patience);
            }
            ready!(this.idle.poll(cx));
            return Poll::Ready(Some(Err(BodyError::new(Code::BadRequest, stalled(*this.patience)))));
        };
        let waited = this.waiting.take().map(|since| since.elapsed());
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(|error| BodyError::new(Code::BadRequest, broken(&error)))?;
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if this.pace.too_slow(waited.unwrap_or_default(), bytes) {
            let message = format!("the request's body came slower than {} bytes per second", this.pace.rate);
            return Poll::Ready(Some(Err(BodyError::new(Code::BadRequest, message))));
        }
        if let (Some((left, overrun)), Some(data)) = (this.left, frame.data_ref()) {
            let Some(rest) = left.checked_sub(data.len() as u64) else {
                overrun.store(true, Relaxed);
                let message = "the request's body is larger than its limit";
                return Poll::Ready(Some(Err(BodyError::new(Code::TooLarge, message))));
            };
            *left = rest;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_too_slow_by_the_time_that_it_was_waited_for() {
        let mut pace = Pace { patience: Duration::from_secs(30), rate: 240, ..Pace::default() };
        assert!(!pace.too_slow(Duration::ZERO, 10 << 20), "it was not waited for");
        assert!(!pace.too_slow(Duration::from_secs(30), 0), "it has sent much by then");
        for _ in 0..29 {
            assert!(!pace.too_slow(Duration::from_secs(1), 240));
        }
        assert!(!pace.too_slow(Duration::from_secs(1), 240), "just fast enough");
        assert!(!pace.too_slow(Duration::from_secs(29), 1));
        assert!(pace.too_slow(Duration::from_secs(1), 1), "what it has sent before is no credit for ever");
        let mut any = Pace { rate: 0, ..pace };
        assert!(!any.too_slow(Duration::from_secs(99), 0));
    }
}
