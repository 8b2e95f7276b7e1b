//! The body of a reply: what the guest writes, as it writes it, tied to the guest.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use onrush_invoke::BodyError;
use onrush_types::Code;
use tokio::{task::AbortHandle, time::Instant};
use wasmtime_wasi_http::WasiBody;

use super::failure::Failure;

/// Ends the guest when dropped, unless let go.
pub(super) struct Leash(Option<AbortHandle>);

impl Leash {
    /// None is a guest that has ended already.
    pub(super) const fn new(task: Option<AbortHandle>) -> Self {
        Self(task)
    }

    /// The guest may run to its own end.
    pub(super) fn let_go(&mut self) {
        self.0 = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// What the driver of the guest and the reader of its body tell each other.
pub(super) struct Tail(Mutex<State>);

struct State {
    ended: Option<Result<(), Failure>>,
    reader: Option<Waker>,
    progress: Instant,
}

impl Tail {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { ended: None, reader: None, progress: Instant::now() })))
    }

    /// The guest will write nothing more. Must be told before its store is dropped, or a broken body looks whole.
    pub(super) fn end(&self, how: Result<(), Failure>) {
        let mut state = self.state();
        state.ended.get_or_insert(how);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// When a byte was read last.
    pub(super) fn progress(&self) -> Instant {
        self.state().progress
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reply's body that is not whole yet.
pub(super) struct Streamed {
    /// Frames that were taken out before the head was sent.
    pub(super) first: VecDeque<Frame<Bytes>>,
    pub(super) rest: WasiBody,
    pub(super) tail: Arc<Tail>,
    pub(super) leash: Leash,
    /// Bytes still to come, where the guest has said how many there are.
    pub(super) remaining: Option<u64>,
}

impl Streamed {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.first.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let ended = {
            let mut state = self.tail.state();
            state.reader = Some(cx.waker().clone());
            state.ended.clone()
        };
        match Pin::new(&mut self.rest).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.broken(&error)))),
            // The channel behind the body ends in the same way for a guest that has finished and for one that died.
            Poll::Ready(None) => Poll::Ready(self.failure().map(Err)),
            // Nothing is there and nobody is left to write, unless tokio only wants this task to pause.
            Poll::Pending if ended.is_some() && tokio::task::coop::has_budget_remaining() => {
                Poll::Ready(self.failure().map(Err))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn failure(&self) -> Option<BodyError> {
        let failure = self.tail.state().ended.clone()?.err()?;
        Some(failure.error().into())
    }

    fn broken(&self, error: &wasmtime_wasi_http::Error) -> BodyError {
        let own = || BodyError::new(Code::FunctionFailed, format!("the function broke its reply off: {error}"));
        self.failure().unwrap_or_else(own)
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(self.next(cx));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(bytes));
                self.tail.state().progress = Instant::now();
                if self.remaining == Some(0) {
                    // Readers that know the length stop here and drop the body.
                    self.leash.let_go();
                }
            }
            Some(Err(_)) => {}
            None => self.leash.let_go(),
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
