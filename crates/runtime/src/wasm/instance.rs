//! One live instance and how it is called in either world.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use onrush_invoke::{Body, BodyError};
use onrush_types::InvocationId;
use tokio::{sync::oneshot, time::Instant};
use wasmtime::Store;
use wasmtime_wasi_http::{
    Error as HttpError, WasiBody, WasiHttpView,
    p2::bindings::{Proxy, ProxyPre, http::types::Scheme},
    p3::bindings::{Service, ServicePre},
};

use super::host::{Host, Template};

/// A version, linked: what is left to do for each instance.
pub(super) enum Linked {
    P2(ProxyPre<Host>),
    P3(ServicePre<Host>),
}

/// A live guest and its memory.
pub(super) struct Instance {
    pub(super) store: Store<Host>,
    guest: Guest,
    /// Calls that it has served.
    pub(super) served: u32,
    /// When it became idle last.
    pub(super) since: Instant,
}

enum Guest {
    P2(Proxy),
    P3(Service),
}

/// Where the guest's answer is left until the driver takes it: a head with its body, or the guest's own error.
#[derive(Clone, Default)]
pub(super) struct Answer(Arc<Mutex<Option<Answered>>>);

/// The error is the guest's own, as text.
pub(super) type Answered = Result<http::Response<WasiBody>, String>;

impl Answer {
    pub(super) fn take(&self) -> Option<Answered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, answer: Answered) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

impl Linked {
    pub(super) async fn instantiate(&self, template: &Template) -> wasmtime::Result<Instance> {
        let (store, guest) = match self {
            Self::P2(pre) => {
                let mut store = template.store(pre.engine());
                let proxy = pre.instantiate_async(&mut store).await?;
                (store, Guest::P2(proxy))
            }
            Self::P3(pre) => {
                let mut store = template.store(pre.engine());
                let service = pre.instantiate_async(&mut store).await?;
                (store, Guest::P3(service))
            }
        };
        Ok(Instance { store, guest, served: 0, since: Instant::now() })
    }
}

impl Instance {
    /// Serves one call; ends when the guest is done, which may be long after its answer.
    pub(super) async fn call(
        &mut self,
        id: InvocationId,
        request: http::Request<Body>,
        answer: Answer,
    ) -> wasmtime::Result<()> {
        self.served = self.served.saturating_add(1);
        self.store.set_epoch_deadline(1);
        self.store.data_mut().begin(id);
        let request = request.map(|body| body.map_err(request_error));
        match &self.guest {
            Guest::P2(proxy) => call_p2(&mut self.store, proxy, request, answer).await?,
            Guest::P3(service) => call_p3(&mut self.store, service, request, answer).await?,
        }
        self.store.data().end();
        Ok(())
    }
}

async fn call_p2(
    store: &mut Store<Host>,
    proxy: &Proxy,
    request: http::Request<impl HttpBody<Data = Bytes, Error = HttpError> + Send + 'static>,
    answer: Answer,
) -> wasmtime::Result<()> {
    let scheme = match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let out = http.new_response_outparam_from_callback(move |given| {
        answer.set(given.map_err(|code| format!("{code:?}")));
    })?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, out).await
}

async fn call_p3(
    store: &mut Store<Host>,
    service: &Service,
    request: http::Request<impl HttpBody<Data = Bytes, Error = HttpError> + Send + 'static>,
    answer: Answer,
) -> wasmtime::Result<()> {
    use wasmtime_wasi_http::p3::Request;
    let (request, sent) = Request::from_http(store.data_mut().http().hooks, request);
    store
        .run_concurrent(async move |accessor| {
            let response = match service.handle(accessor, request).await? {
                Ok(response) => response,
                Err(code) => {
                    answer.set(Err(format!("{code:?}")));
                    return Ok(());
                }
            };
            let response = accessor.with(|store| response.into_http(store, sent))?;
            let (read, was_read) = oneshot::channel();
            answer.set(Ok(response.map(|inner| Watched { inner, read: Some(read) }.boxed_unsync())));
            // The guest's writing is done by this store's own event loop: go on until the body is read or given up,
            // and then until the tasks that the guest has left behind are done.
            was_read.await.unwrap_or_default();
            std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            wasmtime::Result::Ok(())
        })
        .await?
}

/// Tells when the body has been read to its end or is gone.
struct Watched {
    inner: WasiBody,
    read: Option<oneshot::Sender<()>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.read = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

/// The caller's body broke off: the guest sees an error instead of an end.
fn request_error(error: BodyError) -> HttpError {
    match error.code {
        onrush_types::Code::TooLarge => HttpError::HttpRequestBodySize(None),
        _ => HttpError::InternalError(Some(error.message)),
    }
}
