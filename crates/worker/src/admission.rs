//! The door: permits for calls that run, places for calls that wait. What a call holds goes back when it is dropped,
//! wherever it is cancelled (P8).

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use onrush_invoke::{InvokeError, LoadReport};
use onrush_types::{Code, FunctionName};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    config::Config,
    metrics::Metrics,
    queue::{Ask, Bounds, Queue, Refusal, Verdict},
};

/// How long calls take lately: a moving average over about eight of them.
#[derive(Debug, Default)]
pub(crate) struct Service(AtomicU64);

impl Service {
    pub(crate) fn average(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    /// Two at the same moment may lose one; an average does not mind.
    fn add(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let old = self.0.load(Ordering::Relaxed);
        let new = if old == 0 { took } else { old - old / 8 + took / 8 };
        self.0.store(new.max(1), Ordering::Relaxed);
    }
}

/// What the door has to know of a call.
pub(crate) struct Visitor<'a> {
    pub(crate) function: &'a FunctionName,
    pub(crate) cap: usize,
    pub(crate) bytes: usize,
    pub(crate) deadline: Instant,
    pub(crate) attempt: u8,
    pub(crate) service: &'a Arc<Service>,
}

/// The door of this node.
pub(crate) struct Admission {
    queue: Mutex<Queue<oneshot::Sender<Permit>>>,
    slots: u32,
    service: Service,
    empty: Notify,
    metrics: Arc<Metrics>,
}

/// A call that may run, or will.
pub(crate) enum Entrance {
    Run(Permit),
    Wait(Place),
}

impl Admission {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Arc<Self> {
        let bounds = Bounds {
            running: config.max_running.max(1),
            calls: config.queue_calls,
            bytes: usize::try_from(config.queue_bytes.as_u64()).unwrap_or(usize::MAX),
            function_percent: usize::from(config.function_share.clamp(1, 100)),
        };
        let queue = Mutex::new(Queue::new(bounds));
        Arc::new(Self { queue, slots: config.slots, service: Service::default(), empty: Notify::new(), metrics })
    }

    /// Lets a call in, or refuses it now.
    pub(crate) fn enter(self: &Arc<Self>, visitor: &Visitor<'_>) -> Result<Entrance, InvokeError> {
        self.enter_with(visitor, None)
    }

    fn enter_with(self: &Arc<Self>, visitor: &Visitor<'_>, held: Option<Held>) -> Result<Entrance, InvokeError> {
        let now = Instant::now();
        let ask = Ask {
            function: visitor.function,
            cap: visitor.cap,
            bytes: visitor.bytes,
            deadline: visitor.deadline,
            second_try: visitor.attempt > 1,
            service: visitor.service.average(),
        };
        let mut receiver = None;
        let mut queue = self.lock();
        let inside = held.is_some();
        if let Some(held) = held {
            held.end(&mut queue);
        }
        let verdict = queue.enter(&ask, now, inside, || {
            let (sender, waiting) = oneshot::channel();
            receiver = Some(waiting);
            sender
        });
        let refused = match verdict {
            Verdict::Run | Verdict::Wait(_) => None,
            Verdict::Refuse(refusal) => Some(self.refusal(refusal, &queue)),
        };
        self.watch(&queue);
        drop(queue);
        match (verdict, refused, receiver) {
            (_, Some(error), _) => Err(error),
            (Verdict::Wait(number), None, Some(turn)) => {
                let place = Place::new(self, visitor, number, turn, now);
                // The function's cap may have grown since the others began to wait.
                self.start_waiting();
                Ok(Entrance::Wait(place))
            }
            (Verdict::Run | Verdict::Wait(_) | Verdict::Refuse(_), None, _) => {
                Ok(Entrance::Run(Permit::new(self, visitor.function.clone(), Some(Arc::clone(visitor.service)), now)))
            }
        }
    }

    /// Counts a call that waits for its version, within the bounds of the queue.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Result<Held, InvokeError> {
        let mut queue = self.lock();
        let held = queue.hold(bytes).map_err(|refusal| self.refusal(refusal, &queue));
        self.watch(&queue);
        drop(queue);
        held.map(|()| Held { admission: Some(Arc::clone(self)), bytes })
    }

    pub(crate) fn set_draining(&self, draining: bool) {
        self.lock().draining = draining;
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lock().in_flight()
    }

    pub(crate) fn load(&self) -> LoadReport {
        self.load_of(&self.lock())
    }

    /// Returns when nothing is in flight.
    pub(crate) async fn idle(&self) {
        loop {
            let empty = self.empty.notified();
            tokio::pin!(empty);
            // Registered before the look, so that the last call cannot leave in between unheard.
            empty.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            empty.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Permit>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load_of(&self, queue: &Queue<oneshot::Sender<Permit>>) -> LoadReport {
        LoadReport {
            in_flight: u32::try_from(queue.in_flight()).unwrap_or(u32::MAX),
            queued: u32::try_from(queue.queued()).unwrap_or(u32::MAX),
            slots: self.slots,
            expected_wait: queue.expected_wait(self.service.average()),
        }
    }

    fn watch(&self, queue: &Queue<oneshot::Sender<Permit>>) {
        #[allow(clippy::cast_precision_loss, reason = "a gauge need not be exact beyond 2^52")]
        {
            self.metrics.running.set(queue.running() as f64);
            self.metrics.queued.set(queue.queued() as f64);
            self.metrics.queued_bytes.set(queue.bytes() as f64);
        }
        if queue.in_flight() == 0 {
            self.empty.notify_waiters();
        }
    }

    fn refusal(&self, refusal: Refusal, queue: &Queue<oneshot::Sender<Permit>>) -> InvokeError {
        const SOON: Duration = Duration::from_secs(1);
        const LATE: Duration = Duration::from_secs(30);
        let wait = queue.expected_wait(self.service.average());
        let (code, why, again) = match refusal {
            Refusal::Draining => (Code::Unavailable, "this node is draining and takes nothing new".to_owned(), SOON),
            Refusal::NoShare => {
                let why = "this node has no share of the function's concurrency: another node runs it".to_owned();
                (Code::Overloaded, why, SOON)
            }
            Refusal::Calls => (Code::Overloaded, "the queue of this node is full".to_owned(), wait),
            Refusal::Bytes => (Code::Overloaded, "too many bytes of bodies wait on this node".to_owned(), wait),
            Refusal::TooLate(wait) => {
                let why = format!("the call would wait about {} ms, longer than its deadline", wait.as_millis());
                (Code::Overloaded, why, wait)
            }
        };
        InvokeError::refused(code, why).retry_after(again.clamp(SOON, LATE)).with_load(self.load_of(queue))
    }

    /// Gives permits to waiting calls while there are both.
    fn start_waiting(self: &Arc<Self>) {
        loop {
            let now = Instant::now();
            let mut queue = self.lock();
            let next = queue.next(now);
            self.watch(&queue);
            drop(queue);
            let Some((function, waker)) = next else { return };
            // A caller that went at this very moment gives its permit back here, and the loop goes on with the next.
            if let Err(mut permit) = waker.send(Permit::new(self, function, None, now)) {
                permit.cancel();
            }
        }
    }
}

/// The right to run one call. Dropped when its guest is done.
pub(crate) struct Permit {
    admission: Option<Arc<Admission>>,
    function: FunctionName,
    service: Option<Arc<Service>>,
    since: Instant,
}

impl Permit {
    fn new(admission: &Arc<Admission>, function: FunctionName, service: Option<Arc<Service>>, since: Instant) -> Self {
        Self { admission: Some(Arc::clone(admission)), function, service, since }
    }

    /// Gives it back without looking for the next call: whoever calls this does that.
    fn cancel(&mut self) {
        if let Some(admission) = self.admission.take() {
            admission.lock().leave(&self.function);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(admission) = self.admission.take() else { return };
        if let Some(service) = &self.service {
            let took = self.since.elapsed();
            service.add(took);
            admission.service.add(took);
            admission.metrics.service.record(took);
        }
        admission.lock().leave(&self.function);
        admission.start_waiting();
    }
}

/// A place in the queue.
pub(crate) struct Place {
    admission: Arc<Admission>,
    function: FunctionName,
    service: Arc<Service>,
    number: Option<u64>,
    turn: oneshot::Receiver<Permit>,
    since: Instant,
}

impl Place {
    fn new(
        admission: &Arc<Admission>,
        visitor: &Visitor<'_>,
        number: u64,
        turn: oneshot::Receiver<Permit>,
        since: Instant,
    ) -> Self {
        let (function, service) = (visitor.function.clone(), Arc::clone(visitor.service));
        Self { admission: Arc::clone(admission), function, service, number: Some(number), turn, since }
    }

    /// Waits for the permit. None if the queue let the call go because its deadline has passed.
    pub(crate) async fn turn(mut self) -> Option<Permit> {
        let permit = (&mut self.turn).await.ok();
        self.number = None;
        self.admission.metrics.wait.record(self.since.elapsed());
        permit.map(|mut permit| {
            permit.service = Some(Arc::clone(&self.service));
            permit
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut queue = self.admission.lock();
        // Not there any more means that a permit is under way; it goes back when the channel is dropped.
        if queue.cancel(&self.function, number) {
            self.admission.watch(&queue);
        }
    }
}

/// A call that waits for its version to be made ready.
pub(crate) struct Held {
    admission: Option<Arc<Admission>>,
    bytes: usize,
}

impl Held {
    /// Lets the call in, now that its version is ready.
    pub(crate) fn enter(mut self, visitor: &Visitor<'_>) -> Result<Entrance, InvokeError> {
        match self.admission.take() {
            Some(admission) => {
                let again = Self { admission: Some(Arc::clone(&admission)), bytes: self.bytes };
                admission.enter_with(visitor, Some(again))
            }
            None => Err(InvokeError::refused(Code::Internal, "a held call entered twice")),
        }
    }

    fn end(mut self, queue: &mut Queue<oneshot::Sender<Permit>>) {
        self.admission = None;
        queue.unhold(self.bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            let mut queue = admission.lock();
            queue.unhold(self.bytes);
            admission.watch(&queue);
        }
    }
}

#[cfg(test)]
mod tests;
