//! Bodies: small ones whole, the others as streams; and the guard that ties a permit to the last byte.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use onrush_types::Code;

use crate::InvokeError;

/// Why a body ended before its end.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct BodyError {
    /// What the reader answers, where it still can.
    pub code: Code,
    /// For people.
    pub message: String,
}

impl BodyError {
    /// An error with this code and text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<InvokeError> for BodyError {
    fn from(error: InvokeError) -> Self {
        Self::new(error.code, error.to_string())
    }
}

/// A request's or a reply's body.
///
/// Most bodies are small and whole; those cost no allocation and no dynamic call.
pub struct Body(Kind);

enum Kind {
    Whole(Option<Bytes>),
    Stream(UnsyncBoxBody<Bytes, BodyError>),
}

impl Body {
    /// No bytes.
    pub const fn empty() -> Self {
        Self(Kind::Whole(None))
    }

    /// These bytes, whole.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty())))
    }

    /// A stream with errors of its own kind.
    pub fn stream<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        Self(Kind::Stream(body.map_err(Into::into).boxed_unsync()))
    }

    /// The bytes, if the body is whole: then it can be sent again.
    pub fn as_whole(&self) -> Option<Bytes> {
        match &self.0 {
            Kind::Whole(bytes) => Some(bytes.clone().unwrap_or_default()),
            Kind::Stream(_) => None,
        }
    }

    /// Reads everything, up to `limit` bytes.
    ///
    /// # Errors
    /// The body's own error, or `too_large` as soon as the limit is passed.
    pub async fn collect(self, limit: usize) -> Result<Bytes, BodyError> {
        let too_large = || BodyError::new(Code::TooLarge, format!("the body is larger than {limit} bytes"));
        if let Some(bytes) = self.as_whole() {
            return if bytes.len() > limit { Err(too_large()) } else { Ok(bytes) };
        }
        let limited = http_body_util::Limited::new(self, limit);
        match limited.collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(error.downcast::<BodyError>().map_or_else(|_| too_large(), |error| *error)),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::whole(bytes)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::whole(Bytes::from_static(text.as_bytes()))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::whole(text)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Whole(bytes) => write!(f, "Body({} bytes)", bytes.as_ref().map_or(0, Bytes::len)),
            Kind::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}

pin_project_lite::pin_project! {
    /// Holds `guard` until the last frame has been read, an error ended the body, or the reader is gone.
    pub struct GuardedBody<G> {
        #[pin]
        inner: Body,
        guard: Option<G>,
    }
}

impl<G> GuardedBody<G> {
    /// Ties the two together. A body that is already at its end gives the guard back at once.
    pub fn new(inner: Body, guard: G) -> Self {
        let guard = (!inner.is_end_stream()).then_some(guard);
        Self { inner, guard }
    }
}

impl<G> HttpBody for GuardedBody<G> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || this.inner.is_end_stream() {
            this.guard.take();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_body_over_the_limit_is_too_large_whole_or_streamed() {
        let whole = Body::whole("12345");
        assert_eq!(whole.collect(4).await.unwrap_err().code, Code::TooLarge);
        let stream = Body::stream(Body::whole("12345"));
        assert_eq!(stream.collect(4).await.unwrap_err().code, Code::TooLarge);
        assert_eq!(Body::stream(Body::whole("12345")).collect(5).await.unwrap(), "12345");
    }

    #[tokio::test]
    async fn the_guard_goes_with_the_last_byte_or_with_the_reader() {
        let permit = Arc::new(());
        let read = GuardedBody::new(Body::whole("x"), permit.clone());
        assert_eq!(Arc::strong_count(&permit), 2);
        let mut read = Body::stream(read);
        read.frame().await.unwrap().unwrap();
        assert_eq!(Arc::strong_count(&permit), 1);

        let dropped = GuardedBody::new(Body::whole("x"), permit.clone());
        drop(dropped);
        assert_eq!(Arc::strong_count(&permit), 1);

        let _empty = GuardedBody::new(Body::empty(), permit.clone());
        assert_eq!(Arc::strong_count(&permit), 1, "an empty body has no last byte to wait for");
    }
}
