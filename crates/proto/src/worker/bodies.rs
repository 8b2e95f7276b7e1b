//! Bodies as frames, both ways. Nothing is read ahead: a slow reader slows the writer down through HTTP/2's windows.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use http_body::{Body as HttpBody, Frame};
use onrush_invoke::{Body, BodyError};
use onrush_types::Code;
use tokio::sync::oneshot;
use tonic::{Status, Streaming};

use super::{
    CHUNK_LIMIT, WHOLE_BODY_LIMIT,
    wire::{body_error_in, body_error_out, headers_in, headers_out},
};
use crate::internal as pb;

/// One piece of a body on the wire, whichever way it goes.
pub(super) enum Piece {
    Data(Bytes),
    Trailers(pb::Trailers),
    Error(BodyError),
}

/// Messages that carry bodies.
pub(super) trait Carries: Sized + Send + 'static {
    fn pack(piece: Piece) -> Self;
    /// None for a message that has no place in a body.
    fn unpack(self) -> Option<Piece>;
}

macro_rules! carries {
    ($frame:ident, $part:path) => {
        impl Carries for pb::$frame {
            fn pack(piece: Piece) -> Self {
                use $part as Part;
                let part = match piece {
                    Piece::Data(data) => Part::Data(data),
                    Piece::Trailers(trailers) => Part::Trailers(trailers),
                    Piece::Error(error) => Part::Error(body_error_out(&error)),
                };
                Self { part: Some(part) }
            }

            fn unpack(self) -> Option<Piece> {
                use $part as Part;
                match self.part? {
                    Part::Head(_) => None,
                    Part::Data(data) => Some(Piece::Data(data)),
                    Part::Trailers(trailers) => Some(Piece::Trailers(trailers)),
                    Part::Error(error) => Some(Piece::Error(body_error_in(error))),
                }
            }
        }
    };
}
carries!(CallFrame, pb::call_frame::Part);
carries!(ReplyFrame, pb::reply_frame::Part);

/// A body cut into messages. It ends with the body's last frame or with its error.
pub(super) struct Pieces {
    body: Body,
    rest: Bytes,
    ended: bool,
}

impl Pieces {
    pub(super) fn new(body: Body) -> Self {
        Self { body, rest: Bytes::new(), ended: false }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        loop {
            if !self.rest.is_empty() {
                let cut = self.rest.len().min(CHUNK_LIMIT);
                return Poll::Ready(Some(Piece::Data(self.rest.split_to(cut))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.end(),
                Some(Err(error)) => {
                    self.end();
                    return Poll::Ready(Some(Piece::Error(error)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.rest = data;
                        if self.body.is_end_stream() {
                            self.end();
                        }
                    }
                    Err(frame) => {
                        self.end();
                        return Poll::Ready(frame.into_trailers().ok().map(|trailers| trailers_out(&trailers)));
                    }
                },
            }
        }
    }

    /// Lets go of the body, and of whatever it holds, with its last frame.
    fn end(&mut self) {
        self.ended = true;
        self.body = Body::empty();
    }

    /// What can be read without waiting, up to the size of a whole body, and whether that is all of it.
    pub(super) fn ready_now(&mut self) -> (VecDeque<Piece>, bool) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut pieces, mut size) = (VecDeque::new(), 0);
        while size <= WHOLE_BODY_LIMIT {
            match self.poll(&mut cx) {
                Poll::Ready(None) => return (pieces, true),
                Poll::Ready(Some(piece)) => {
                    if let Piece::Data(data) = &piece {
                        size += data.len();
                    }
                    pieces.push_back(piece);
                }
                Poll::Pending => break,
            }
        }
        (pieces, false)
    }
}

fn trailers_out(trailers: &http::HeaderMap) -> Piece {
    match headers_out(trailers) {
        Ok(headers) => Piece::Trailers(pb::Trailers { headers }),
        Err(size) => Piece::Error(BodyError::new(Code::TooLarge, format!("the trailers have {size} bytes"))),
    }
}

/// A body as it comes over the wire.
pub(super) struct WireBody<F, G> {
    first: Bytes,
    frames: Option<Streaming<F>>,
    /// What happens to a connection that breaks.
    broken: fn(Status) -> BodyError,
    /// Dropped with the body: tells the other direction that nobody listens any more.
    _guard: G,
}

impl<F, G> WireBody<F, G> {
    pub(super) fn new(first: Bytes, frames: Streaming<F>, broken: fn(Status) -> BodyError, guard: G) -> Self {
        Self { first, frames: Some(frames), broken, _guard: guard }
    }
}

impl<F: Carries, G: Unpin> HttpBody for WireBody<F, G> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if !this.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.first)))));
        }
        let Some(frames) = &mut this.frames else {
            return Poll::Ready(None);
        };
        let frame = match ready!(Pin::new(frames).poll_next(cx)) {
            None => None,
            Some(Err(status)) => Some(Err((this.broken)(status))),
            Some(Ok(message)) => Some(match message.unpack() {
                Some(Piece::Data(data)) => Ok(Frame::data(data)),
                Some(Piece::Trailers(trailers)) => headers_in(trailers.headers, "Trailers")
                    .map(Frame::trailers)
                    .map_err(|error| BodyError::new(Code::Internal, error.to_string())),
                Some(Piece::Error(error)) => Err(error),
                None => Err(BodyError::new(Code::Internal, "a message that has no place in a body")),
            }),
        };
        if !matches!(frame, Some(Ok(_))) {
            this.frames = None;
        }
        Poll::Ready(frame)
    }
}

/// What a call sends: its head, then its body. It breaks off, and says so, when the caller is gone.
pub(super) struct CallFrames {
    head: Option<pb::CallHead>,
    pieces: Option<Pieces>,
    /// Where the body's own error goes, so that the caller gets it instead of what the worker makes of it.
    failed: Option<oneshot::Sender<BodyError>>,
    /// Closed when the caller has gone or has its whole reply.
    caller: oneshot::Receiver<()>,
}

impl CallFrames {
    pub(super) fn new(
        head: pb::CallHead,
        body: Body,
        failed: oneshot::Sender<BodyError>,
        caller: oneshot::Receiver<()>,
    ) -> Self {
        Self { head: Some(head), pieces: Some(Pieces::new(body)), failed: Some(failed), caller }
    }
}

impl Stream for CallFrames {
    type Item = pb::CallFrame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<pb::CallFrame>> {
        let this = &mut *self;
        if let Some(head) = this.head.take() {
            return Poll::Ready(Some(pb::CallFrame { part: Some(pb::call_frame::Part::Head(head)) }));
        }
        let Some(pieces) = &mut this.pieces else {
            return Poll::Ready(None);
        };
        if Pin::new(&mut this.caller).poll(cx).is_ready() {
            this.pieces = None;
            let gone = BodyError::new(Code::Unavailable, "the caller has gone");
            return Poll::Ready(Some(pb::CallFrame::pack(Piece::Error(gone))));
        }
        let piece = ready!(pieces.poll(cx));
        if let Some(Piece::Error(error)) = &piece
            && let Some(failed) = this.failed.take()
        {
            // Nobody listens once the reply's head is there; then the worker's reply tells the story.
            failed.send(error.clone()).ok();
        }
        if !matches!(piece, Some(Piece::Data(_))) {
            // The body, and what it holds, goes with its last frame; the stream ends after it.
            this.pieces = None;
        }
        Poll::Ready(piece.map(pb::CallFrame::pack))
    }
}
