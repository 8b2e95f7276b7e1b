//! One run of a function whose reply others may share. It is a task of its own, so that a client who leaves takes
//! nothing from the others; it ends early when nobody is left who wants its reply.

use std::sync::Arc;

use http::{Method, StatusCode, header};
use onrush_invoke::{Deadline, Invocation, InvokeError, Reached, Reply, Sharing, SharingKey};
use onrush_types::Code;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use crate::{
    answer::{Answer, Asked, Kept},
    condition::ANSWERED,
    directives::Directives,
    flight::{Flight, Progress},
    freshness::{Arrived, Life},
    shared::Core,
    storage::Head,
    tape::Tape,
};

mod collect; // a body's bytes, or why they cannot be shared
mod deliver; // a reply to all who wait, and to the cache

/// What the leader is told.
pub(crate) enum Led {
    /// A reply of its own.
    Own(Box<Reply>),
    /// One that it shares.
    Answered(Arc<Answer>),
    /// None.
    Failed(InvokeError),
}

/// What a run is about.
pub(crate) struct Job {
    pub(crate) key: SharingKey,
    /// The key, or that of the variant that is known so far.
    pub(crate) place: SharingKey,
    pub(crate) sharing: Box<Sharing>,
    pub(crate) asked: Arc<Asked>,
    /// What the request says about caches, if the route obeys it.
    pub(crate) wants: Directives,
    /// What is kept, stale.
    pub(crate) stale: Option<Arc<Kept>>,
    /// When the run must be over, whatever its calls' own deadlines are.
    pub(crate) deadline: Deadline,
    /// Set for a refresh that nobody waits for.
    pub(crate) refresh: Option<Refresh>,
}

/// A refresh in the background. Whatever becomes of it, the next one may come.
pub(crate) struct Refresh {
    pub(crate) kept: Arc<Kept>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Drop for Refresh {
    fn drop(&mut self) {
        self.kept.end_refresh();
    }
}

/// One run.
pub(crate) struct Execution {
    pub(crate) core: Arc<Core>,
    pub(crate) flight: Arc<Flight>,
    pub(crate) job: Job,
    /// Who started it, unless that was nobody.
    pub(crate) leader: Option<oneshot::Sender<Led>>,
    pub(crate) began: Instant,
}

/// Whatever happens to the task, nobody waits for it in vain.
struct Ending<'a>(&'a Core, &'a Arc<Flight>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.flights.leave(self.1);
        if self.1.is_running() {
            let why = "the execution that this call waited for ended without an answer";
            self.1.publish(Progress::Failed(InvokeError::refused(Code::Unavailable, why)));
        }
    }
}

impl Execution {
    /// Runs until everybody has what there is. Lives as long as somebody watches the flight.
    pub(crate) async fn run(mut self, mut call: Invocation) {
        let (core, flight) = (Arc::clone(&self.core), Arc::clone(&self.flight));
        let _ending = Ending(&core, &flight);
        self.ask_for_everybody(&mut call);
        let refreshes = self.job.refresh.is_some();
        let work = async {
            let called = self.job.deadline.bound(core.inner.invoke(call));
            let outcome = tokio::select! {
                biased;
                () = nobody(&core, &flight, None) => return,
                outcome = called => outcome,
            };
            let late = || InvokeError::deadline(Reached::MaybeRan, "the function did not answer in time");
            self.ended(outcome.unwrap_or_else(|_| Err(late()))).await;
        };
        tokio::select! {
            biased;
            // Whoever came to wait for a refresh that ends early starts a run of their own.
            () = core.stop.cancelled(), if refreshes => {}
            () = work => {}
        }
    }

    /// The function is asked for the whole reply, or whether the one that is kept is still right.
    fn ask_for_everybody(&self, call: &mut Invocation) {
        call.sharing = None;
        let request = &mut call.request;
        if *request.method() == Method::HEAD {
            *request.method_mut() = Method::GET;
        }
        if *request.method() != Method::GET {
            return;
        }
        let headers = request.headers_mut();
        for condition in ANSWERED {
            headers.remove(condition);
        }
        let Some(stale) = &self.job.stale else { return };
        for (validator, condition) in [header::ETAG, header::LAST_MODIFIED].iter().zip(ANSWERED) {
            if let Some(value) = stale.head.headers.get(validator) {
                headers.insert(condition, value.clone());
            }
        }
    }

    async fn ended(&mut self, outcome: Result<Reply, InvokeError>) {
        let status = match &outcome {
            Ok(reply) => reply.response.status(),
            // Every code has a status that there is.
            Err(error) => StatusCode::from_u16(error.code.meaning().http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        let failed = outcome.is_err() || status.is_server_error();
        if self.job.refresh.is_some() {
            let metrics = &self.core.metrics;
            if failed { metrics.not_refreshed.increment(1) } else { metrics.refreshed.increment(1) }
        }
        if failed && self.covers(status) {
            return;
        }
        match outcome {
            Err(error) => self.failed(error),
            Ok(reply) if failed && !self.shares_errors() => self.failed_with(reply),
            Ok(reply) if status == StatusCode::NOT_MODIFIED && self.job.stale.is_some() => self.renewed(&reply),
            Ok(reply) => self.deliver(reply).await,
        }
    }

    fn shares_errors(&self) -> bool {
        self.job.sharing.coalesce.as_ref().is_some_and(|coalesce| coalesce.share_errors)
    }

    /// Whether what is kept stands in for this failure; if so, it does.
    fn covers(&mut self, status: StatusCode) -> bool {
        let Some(stale) = self.job.stale.clone() else { return false };
        let now = Instant::now();
        stale.rest(now, self.core.config.retry_pause);
        // RFC 5861, 4: what counts as an error.
        if !matches!(status.as_u16(), 500 | 502..=504) || !stale.life.covers_error(stale.age(now)) {
            return false;
        }
        self.core.metrics.covered.increment(1);
        self.core.flights.leave(&self.flight);
        self.answer(stale.answer(Arc::clone(&self.job.asked), now, status, false));
        true
    }

    /// What is kept is still right, if this `304` is about it.
    fn renewed(&mut self, reply: &Reply) {
        let stale = self.job.stale.clone().filter(|stale| stale.head.is_meant_by(reply.response.headers()));
        let Some(stale) = stale else {
            // It is about something that is not here: the next run asks without a condition.
            self.core.store.forget(self.job.place);
            let why = "the function answered 304, but with another entity tag than it was asked about";
            return self.failed(InvokeError::function(Code::FunctionFailed, why));
        };
        let head = Arc::new(stale.head.freshened(reply.response.headers().clone()));
        let life = self.life(&head);
        let kept = stale.freshened(Arc::clone(&head), reply.node.clone(), life.unwrap_or(Life::OVER));
        let kept = Arc::new(kept);
        match life.filter(|_| head.shareable().is_some()) {
            Some(life) => self.core.keep(self.job.place, Arc::clone(&kept), self.worth(&head, &life)),
            None => self.core.store.forget(self.job.place),
        }
        self.core.flights.leave(&self.flight);
        let stored = life.is_some();
        self.answer(kept.answer(Arc::clone(&self.job.asked), Instant::now(), StatusCode::NOT_MODIFIED, stored));
    }

    fn failed(&mut self, error: InvokeError) {
        self.release(&error);
        self.tell(Led::Failed(error));
    }

    /// The leader gets the function's own words.
    fn failed_with(&mut self, reply: Reply) {
        let status = reply.response.status().as_u16();
        let why = format!("the function answered {status} to several identical calls, one after the other");
        self.release(&InvokeError::function(Code::FunctionFailed, why));
        self.tell(Led::Own(Box::new(reply)));
    }

    /// Those who wait hear of a failure. The table is left first, so that the first of them leads.
    fn release(&self, error: &InvokeError) {
        if self.flight.has_waiters() {
            self.core.metrics.failed.increment(1);
        }
        self.core.flights.leave(&self.flight);
        let error = error.clone();
        self.flight.publish(if self.shares_errors() { Progress::Refused(error) } else { Progress::Failed(error) });
    }

    /// Everybody gets this.
    fn answer(&mut self, answer: Answer) {
        let answer = Arc::new(answer);
        self.flight.publish(Progress::Answered(Arc::clone(&answer)));
        self.tell(Led::Answered(answer));
    }

    fn tell(&mut self, led: Led) {
        if let Some(leader) = self.leader.take() {
            // It may have gone.
            let _gone = leader.send(led);
        }
    }

    /// How long this reply lives, if it may be kept.
    fn life(&self, head: &Head) -> Option<Life> {
        let caching = self.job.sharing.cache.as_ref()?;
        if !head.keepable(&self.job.asked.headers, &self.job.wants) {
            return None;
        }
        let arrived = Arrived {
            status: head.status,
            headers: &head.headers,
            directives: &head.directives,
            now: self.core.now(),
            delay: self.began.elapsed(),
            jitter: self.core.entropy.next_u64(),
        };
        Life::of(&arrived, caching).filter(|life| !self.worth(head, life).is_zero())
    }

    fn worth(&self, head: &Head, life: &Life) -> std::time::Duration {
        life.worth(head.has_validator(), self.core.config.keep_stale)
    }
}

/// Resolves when nobody waits for the flight or reads its tape, and nobody can any more.
async fn nobody(core: &Core, flight: &Arc<Flight>, tape: Option<&Tape>) {
    loop {
        flight.unwatched().await;
        if let Some(tape) = tape {
            tape.unread().await;
        }
        // Somebody may have come meanwhile.
        if core.flights.leave_if(flight, || tape.is_none_or(|tape| !tape.is_read())) {
            return;
        }
    }
}
