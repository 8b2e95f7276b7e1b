//! Requests in flight, as the connection's [`Activity`] sees them; and services of tower behind our loop.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;

use crate::{activity::Activity, waiting::Piece};

/// Who is at the other end of a connection. Services behind [`tower()`] find it among a request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// One request in flight, from its head until its reply's last byte is given to the protocol. What of it still waits
/// for the peer then is counted by its [`Piece`]s.
struct InFlight {
    activity: Arc<Activity>,
    answered: bool,
}

impl InFlight {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.request_came();
        Self { activity: Arc::clone(activity), answered: false }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.answered {
            self.activity.request_given_up();
        }
        self.activity.request_ended();
    }
}

/// A service whose requests are counted.
pub(crate) struct Counted<S> {
    pub(crate) inner: S,
    pub(crate) activity: Arc<Activity>,
}

impl<S, B> Service<Request<Incoming>> for Counted<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<CountedBody<B>>;
    type Error = S::Error;
    type Future = CountedCall<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let in_flight = Some(InFlight::new(&self.activity));
        CountedCall { inner: self.inner.call(request), in_flight }
    }
}

pin_project_lite::pin_project! {
    /// A reply to come.
    pub(crate) struct CountedCall<F> {
        #[pin]
        inner: F,
        in_flight: Option<InFlight>,
    }
}

impl<F, B, E> Future for CountedCall<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<CountedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        // Nobody polls a future that has ended.
        let Some(mut in_flight) = this.in_flight.take() else { return Poll::Pending };
        in_flight.answered = result.as_ref().map_or(true, |response| response.body().is_end_stream());
        Poll::Ready(result.map(|response| response.map(|inner| CountedBody { inner, in_flight })))
    }
}

pin_project_lite::pin_project! {
    /// A reply's body on its way.
    pub(crate) struct CountedBody<B> {
        #[pin]
        inner: B,
        in_flight: InFlight,
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = Piece<B::Data>;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        this.in_flight.answered = !matches!(frame, Some(Ok(_))) || this.inner.is_end_stream();
        let activity = &this.in_flight.activity;
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|data| Piece::new(data, Arc::clone(activity))))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Puts the peer among a request's extensions.
#[derive(Debug, Clone)]
pub struct WithPeer<S> {
    inner: S,
    peer: Peer,
}

impl<S, B> ::tower::Service<Request<B>> for WithPeer<S>
where
    S: ::tower::Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.peer);
        self.inner.call(request)
    }
}

/// A tower service (an axum router, tonic's routes) as [`Server::serve`](crate::Server::serve) wants it.
pub fn tower<S: Clone>(service: S) -> impl Fn(Peer) -> TowerToHyperService<WithPeer<S>> {
    move |peer| TowerToHyperService::new(WithPeer { inner: service.clone(), peer })
}
