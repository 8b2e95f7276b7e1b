//! Replies' bodies.
//!
//! What a function has ready at once is sent whole: one write, a length, and the call's permit is back before the
//! client has read a byte. The rest streams, watched by a task of its own, because a client that stops reading also
//! stops this body from being polled: its deadline must not depend on that.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use onrush_invoke::{Body, BodyError};
use onrush_types::Code;
use tokio::{sync::oneshot, time::Instant};
use tokio_util::task::TaskTracker;

use crate::metrics::InFlight;

/// A body that has this many pieces ready at once is no small reply.
const PIECES: usize = 8;

/// How far a body got without waiting.
pub(crate) enum Settled {
    /// To its end.
    Whole(Bytes),
    /// So far, and there is more to come.
    Stream(VecDeque<Frame<Bytes>>, Body),
}

/// Takes what is there already, up to `limit` bytes.
pub(crate) async fn settle(mut body: Body, limit: u64) -> Result<Settled, BodyError> {
    if let Some(bytes) = body.as_whole() {
        return Ok(Settled::Whole(bytes));
    }
    let mut pieces = VecDeque::new();
    let mut size = 0;
    let ended = poll_fn(|cx| {
        while pieces.len() < PIECES && size <= limit {
            if body.is_end_stream() {
                return Poll::Ready(Ok(true));
            }
            let frame = match Pin::new(&mut body).poll_frame(cx) {
                Poll::Pending => return Poll::Ready(Ok(false)),
                Poll::Ready(None) => return Poll::Ready(Ok(true)),
                Poll::Ready(Some(frame)) => frame?,
            };
            let trailers = frame.is_trailers();
            size += frame.data_ref().map_or(0, |data| data.len() as u64);
            pieces.push_back(frame);
            if trailers {
                break;
            }
        }
        Poll::Ready(Ok::<_, BodyError>(false))
    })
    .await?;
    if !ended {
        return Ok(Settled::Stream(pieces, body));
    }
    let mut pieces = pieces.into_iter().filter_map(|frame| frame.into_data().ok());
    let first = pieces.next().unwrap_or_default();
    let rest: BytesMut = pieces.fold(BytesMut::new(), |mut rest, piece| {
        if rest.is_empty() {
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&piece);
        rest
    });
    Ok(Settled::Whole(if rest.is_empty() { first } else { rest.freeze() }))
}

/// What ends a stream from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// The call's deadline.
    Deadline(Instant),
    /// So long without a byte taken.
    Idle(Duration),
}

impl Limit {
    fn expires(self, moved: Instant) -> Instant {
        match self {
            Self::Deadline(when) => when,
            Self::Idle(patience) => moved + patience,
        }
    }

    fn error(self) -> BodyError {
        let message = match self {
            Self::Deadline(_) => "the function's timeout passed before the reply's end".to_owned(),
            Self::Idle(patience) => format!("no byte of the reply moved for {patience:?}"),
        };
        BodyError::new(Code::DeadlineExceeded, message)
    }
}

/// A reply's body as the client's connection reads it.
pub(crate) struct ReplyBody {
    kind: Kind,
    /// Until the last byte is sent or the client is gone.
    _in_flight: Option<InFlight>,
}

enum Kind {
    Whole(Option<Bytes>),
    Stream { ready: VecDeque<Frame<Bytes>>, rest: Arc<Rest>, _reader: oneshot::Sender<()> },
}

impl ReplyBody {
    pub(crate) fn whole(bytes: Bytes, in_flight: Option<InFlight>) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self { kind: Kind::Whole(bytes), _in_flight: in_flight }
    }

    /// The same body, counted until its end.
    pub(crate) fn with(self, in_flight: InFlight) -> Self {
        Self { _in_flight: Some(in_flight), ..self }
    }

    /// A stream that ends by `limit` even when nobody reads it.
    pub(crate) fn stream(
        ready: VecDeque<Frame<Bytes>>,
        body: Body,
        limit: Limit,
        in_flight: InFlight,
        tasks: &TaskTracker,
    ) -> Self {
        let state = State { body: Some(body), moved: Instant::now(), reader: None, failed: None };
        let rest = Arc::new(Rest { state: Mutex::new(state) });
        let (reader, gone) = oneshot::channel();
        tasks.spawn(watch(Arc::clone(&rest), limit, gone));
        Self { kind: Kind::Stream { ready, rest, _reader: reader }, _in_flight: Some(in_flight) }
    }
}

/// What is still to come from the function, shared by the reader and the watch.
struct Rest {
    state: Mutex<State>,
}

struct State {
    body: Option<Body>,
    moved: Instant,
    reader: Option<Waker>,
    failed: Option<BodyError>,
}

impl Rest {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.state();
        if let Some(error) = state.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(body) = &mut state.body else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.moved = Instant::now();
        if !matches!(frame, Some(Ok(_))) {
            state.body = None;
        }
        Poll::Ready(frame)
    }

    /// Ends the call if its time is over. Otherwise says when to look again.
    fn expire(&self, limit: Limit) -> Option<Instant> {
        let mut state = self.state();
        state.body.as_ref()?;
        let when = limit.expires(state.moved);
        if Instant::now() < when {
            return Some(when);
        }
        let body = state.body.take();
        state.failed = Some(limit.error());
        let reader = state.reader.take();
        drop(state);
        // Cancelling the call runs the platform's code and perhaps the runtime's: not under the lock.
        drop(body);
        if let Some(reader) = reader {
            reader.wake();
        }
        None
    }
}

async fn watch(rest: Arc<Rest>, limit: Limit, mut gone: oneshot::Receiver<()>) {
    while let Some(when) = rest.expire(limit) {
        tokio::select! {
            _ = &mut gone => return,
            () = tokio::time::sleep_until(when) => {}
        }
    }
}

impl HttpBody for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream { ready, rest, .. } => match ready.pop_front() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => Poll::Ready(ready!(rest.poll(cx))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Stream { ready, rest, .. } => {
                let state = rest.state();
                ready.is_empty() && state.failed.is_none() && state.body.as_ref().is_none_or(HttpBody::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Stream { ready, rest, .. } => {
                let ready: u64 = ready.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
                let rest = rest.state().body.as_ref().map(HttpBody::size_hint);
                match rest.and_then(|hint| hint.exact()) {
                    Some(exact) => SizeHint::with_exact(ready + exact),
                    None => SizeHint::default(),
                }
            }
        }
    }
}
