//! A streamed body that comes back when the call that borrowed it never read from it: then the call can still move.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use onrush_invoke::{Body, BodyError};

/// The owner's end.
pub(crate) struct Lender(Arc<Mutex<Lent>>);

struct Lent {
    body: Option<Body>,
    read: bool,
}

/// The borrower's end.
struct Loan {
    lent: Arc<Mutex<Lent>>,
    hint: SizeHint,
}

impl Lender {
    /// Lends a body out.
    pub(crate) fn lend(body: Body) -> (Self, Body) {
        let hint = body.size_hint();
        let lent = Arc::new(Mutex::new(Lent { body: Some(body), read: false }));
        let loan = Loan { lent: Arc::clone(&lent), hint };
        (Self(lent), Body::stream(loan))
    }

    /// The body, if nobody has read from it. The borrower finds it empty then.
    pub(crate) fn take_back(self) -> Option<Body> {
        let mut lent = lock(&self.0);
        if lent.read { None } else { lent.body.take() }
    }
}

fn lock(lent: &Mutex<Lent>) -> MutexGuard<'_, Lent> {
    lent.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpBody for Loan {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut lent = lock(&self.lent);
        lent.read = true;
        match &mut lent.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // What has been read from is of no use to anybody else: what feeds it must learn that now.
        let mut lent = lock(&self.lent);
        if lent.read {
            lent.body = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_comes_back_unless_it_was_read() {
        let (lender, loan) = Lender::lend(Body::from("x"));
        drop(loan);
        assert_eq!(lender.take_back().unwrap().collect(9).await.unwrap(), "x");

        let (lender, mut loan) = Lender::lend(Body::from("x"));
        assert_eq!(loan.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
        assert!(lender.take_back().is_none());
    }
}
