//! A version that is ready for calls.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use onrush_invoke::{Body, Invocation, InvokeError, Reached};
use onrush_types::{Code, InvocationId, LogStream};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
};

use super::{
    drive::{Driver, End, Given, Tell, content_length},
    failure::{self, Failure, no_room},
    host::Template,
    idle::{Idle, Idlers},
    instance::{Answer, Instance, Linked},
    pace::Pace,
    reply::{Leash, Streamed, Tail},
};
use crate::{Permit, Prepared};

/// See [`Prepared`].
pub(super) struct Version {
    pub(super) this: Weak<Self>,
    pub(super) linked: Linked,
    pub(super) template: Template,
    pub(super) guests: Handle,
    /// Shared by all versions of the function: none may hold the whole pool.
    pub(super) places: Arc<Semaphore>,
    pub(super) idle: Idle,
    pub(super) idlers: Arc<Idlers>,
    /// Calls per instance; 0 and 1 are the same.
    pub(super) reuse: u32,
    pub(super) stream_idle: Option<Duration>,
    pub(super) pace: Arc<Pace>,
}

/// What the guest's thread needs of a call.
struct Job {
    id: InvocationId,
    request: http::Request<Body>,
    driver: Driver,
    permit: Box<dyn Permit>,
}

#[async_trait]
impl Prepared for Version {
    async fn call(&self, call: Invocation, permit: Box<dyn Permit>) -> Result<http::Response<Body>, InvokeError> {
        if call.deadline.has_passed() {
            return Err(InvokeError::deadline(Reached::NotSent, "the call's time was over before it could start"));
        }
        let version = self.this.upgrade().ok_or_else(|| InvokeError::refused(Code::Internal, "the version is gone"))?;
        let (tell, told) = oneshot::channel();
        let tail = Tail::new();
        let driver = self.driver(&call, tell, tail.clone());
        let job = Job { id: call.id, request: with_authority(call.request), driver, permit };
        let task = self.pace.start(version.run(job), &self.guests).await;
        if task.is_none() {
            self.pace.let_others_compute().await;
        }
        let mut leash = Leash::new(task);
        let gone = |_| InvokeError::interrupted(Code::Internal, "the instance was lost: a defect, or this node stops");
        match told.await.map_err(gone)? {
            Ok(Given::Whole(response)) => {
                leash.let_go();
                Ok(response)
            }
            Ok(Given::Stream(response, first)) => {
                let (parts, rest) = response.into_parts();
                let remaining = content_length(&parts.headers);
                let body = Body::stream(Streamed { first, rest, tail, leash, remaining });
                Ok(http::Response::from_parts(parts, body))
            }
            Err(error) => {
                leash.let_go();
                Err(error)
            }
        }
    }

    fn capacity(&self) -> usize {
        self.template.config.function_capacity()
    }
}

impl Version {
    fn driver(&self, call: &Invocation, tell: Tell, tail: Arc<Tail>) -> Driver {
        Driver {
            answer: Answer::default(),
            tell: Some(tell),
            tail,
            deadline: call.deadline,
            stream_idle: self.stream_idle,
            whole: self.template.config.whole_reply,
        }
    }

    /// One call on the guest's threads. The task may be aborted at any point: everything it holds goes with it.
    async fn run(self: Arc<Self>, job: Job) {
        let Job { id, request, mut driver, mut permit } = job;
        let place = match self.enter(&mut *permit).await {
            Ok(place) => place,
            Err(error) => return driver.fail(error),
        };
        let answer = driver.answer.clone();
        let mut instance = None;
        let ended = {
            let guest = self.serve(&mut instance, id, request, answer);
            driver.run(pin!(guest), &mut *permit).await
        };
        let failure = match ended {
            End::Guest(Ok(())) => None,
            End::Guest(Err(error)) => Some(self.explain(id, &error, instance.as_ref())),
            End::Late(text) => Some(Failure::Deadline(text)),
        };
        self.report(id, driver, failure.clone());
        if let Some(instance) = instance
            && failure.is_none()
        {
            self.keep(instance);
        }
        // In this order: whoever gets the permit next needs a place at once.
        drop(place);
        drop(permit);
    }

    /// Waits for the call's turn; then it has a place among the function's instances.
    async fn enter(&self, permit: &mut dyn Permit) -> Result<OwnedSemaphorePermit, InvokeError> {
        poll_fn(|cx| permit.poll_compute(cx)).await?;
        let full = |_| no_room("the function holds its share of this node's instances");
        self.places.clone().try_acquire_owned().map_err(full)
    }

    /// Finds or makes an instance and lets it serve. The instance is left behind for whoever comes next.
    async fn serve(
        &self,
        place: &mut Option<Instance>,
        id: InvocationId,
        request: http::Request<Body>,
        answer: Answer,
    ) -> wasmtime::Result<()> {
        let instance = match self.idle.take() {
            Some(instance) => instance,
            None => self.instantiate().await?,
        };
        place.insert(instance).call(id, request, answer).await
    }

    /// A new instance; when the pool is empty, idle ones of any version make room.
    async fn instantiate(&self) -> wasmtime::Result<Instance> {
        loop {
            match self.linked.instantiate(&self.template).await {
                Err(error)
                    if error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>().is_some()
                        && self.idlers.give_up_one() => {}
                result => return result,
            }
        }
    }

    fn explain(&self, id: InvocationId, error: &wasmtime::Error, instance: Option<&Instance>) -> Failure {
        let refused = instance.and_then(|instance| instance.store.data().limits().refused());
        if let Some(trace) = failure::trace(error) {
            self.template.log.line(Some(id), LogStream::Platform, &format!("in {trace}"));
        }
        Failure::of(error, refused, self.template.memory)
    }

    /// Tells everyone how it ended: the caller, if it still waits; the reader of the body; the function's log.
    fn report(&self, id: InvocationId, mut driver: Driver, failure: Option<Failure>) {
        let silent = || Failure::Function("the function returned without an answer".to_owned());
        let failure = failure.or_else(|| driver.tell.is_some().then(silent));
        if let Some(Failure::Function(text) | Failure::Deadline(text)) = &failure {
            self.template.log.line(Some(id), LogStream::Platform, text);
        }
        if let Some(failure) = &failure {
            driver.fail(failure.error());
        }
        driver.tail.end(failure.map_or(Ok(()), Err));
    }

    fn keep(&self, instance: Instance) {
        if instance.served < self.reuse {
            self.idle.put(instance);
        }
    }
}

/// Guests ask for the authority of a call; a request that came without one still has an answer.
fn with_authority(mut request: http::Request<Body>) -> http::Request<Body> {
    let uri = request.uri();
    if uri.authority().is_some() && uri.scheme().is_some() && uri.path_and_query().is_some() {
        return request;
    }
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    let authority = uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or("localhost");
    let scheme = uri.scheme_str().unwrap_or("http");
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let whole = http::Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    if let Ok(whole) = whole {
        *request.uri_mut() = whole;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_an_authority() {
        let uri = |uri: &str, host: Option<&str>| {
            let mut request = http::Request::builder().uri(uri);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            with_authority(request.body(Body::empty()).unwrap()).uri().to_string()
        };
        assert_eq!(uri("https://a.example/x?y", Some("b.example")), "https://a.example/x?y");
        assert_eq!(uri("/x?y", Some("b.example:81")), "http://b.example:81/x?y");
        assert_eq!(uri("/x", None), "http://localhost/x");
    }
}
