//! The door: permits and slots for calls that run, places for calls that wait. What a call holds goes back when it is
//! dropped, wherever it is cancelled (P8).
//!
//! A call that finds room takes it with a few atomic operations. Only where somebody waits, the lock of the queue is
//! taken, and then whatever becomes free goes to the one whose turn it is.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use onrush_invoke::{InvokeError, LoadReport};
use onrush_types::{Code, FunctionName};
use tokio::{sync::Notify, time::Instant};

use crate::{
    codel::Rules,
    config::Config,
    counts::{Counts, MOST, Room, Seen},
    estimate::Mean,
    lane::{Lane, Lanes},
    metrics::Metrics,
    permit::CallPermit,
    queue::{Ask, Bounds, Queue},
    refusal::{Refused, Why},
    turn::Turn,
};

/// What the door has to know of a call.
pub(crate) struct Visitor<'a> {
    pub(crate) lane: &'a Arc<Lane>,
    pub(crate) cap: usize,
    /// What its body weighs while it waits, and whether it has one at all.
    pub(crate) bytes: usize,
    pub(crate) has_body: bool,
    pub(crate) deadline: Instant,
    pub(crate) attempt: u8,
}

/// The door of this node.
pub(crate) struct Admission {
    bounds: Bounds,
    counts: Counts,
    /// Calls that wait for their version.
    held: AtomicUsize,
    /// As the queue said last.
    backlog: AtomicU64,
    draining: AtomicBool,
    /// Memory is short.
    pressed: AtomicBool,
    lanes: Mutex<Lanes>,
    queue: Mutex<Queue<Arc<Turn>>>,
    pub(crate) service: Mean,
    /// Refused callers so far: each is told another time to come again.
    lots: AtomicU64,
    empty: Notify,
    pub(crate) metrics: Arc<Metrics>,
}

impl Admission {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Arc<Self> {
        let permits = config.max_running.clamp(1, MOST);
        let percent = |percent: u8| usize::from(percent.clamp(1, 100));
        let bounds = Bounds {
            room: Room { slots: (config.slots as usize).clamp(1, MOST / 2), permits },
            spare: (config.spare_slots as usize).min(MOST / 2),
            tenant_most: (permits * percent(config.namespace_share) / 100).max(1),
            calls: config.queue_calls.min(MOST),
            bytes: usize::try_from(config.queue_bytes.as_u64()).unwrap_or(usize::MAX),
            function_percent: percent(config.function_share),
            tenant_percent: percent(config.namespace_share),
            rules: Rules {
                target: config.delay_target,
                interval: config.delay_interval,
                patience: config.overload_patience,
                longest: config.delay_limit,
            },
            overload_wait: config.overload_wait,
        };
        Arc::new(Self {
            bounds,
            counts: Counts::default(),
            held: AtomicUsize::new(0),
            backlog: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            pressed: AtomicBool::new(false),
            lanes: Mutex::default(),
            queue: Mutex::new(Queue::new(bounds)),
            service: Mean::default(),
            lots: AtomicU64::new(0),
            empty: Notify::new(),
            metrics,
        })
    }

    /// What is known of this function. Whoever keeps it keeps its history.
    pub(crate) fn lane(&self, function: &FunctionName) -> Arc<Lane> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).of(function)
    }

    /// Lets a call in, or refuses it now. The permit may have to wait for its turn.
    pub(crate) fn enter(self: &Arc<Self>, visitor: &Visitor<'_>) -> Result<CallPermit, InvokeError> {
        if self.is_draining() {
            return Err(self.refuse(Why::Draining, Duration::ZERO));
        }
        self.let_in(visitor, None)
    }

    fn let_in(self: &Arc<Self>, visitor: &Visitor<'_>, held: Option<Held>) -> Result<CallPermit, InvokeError> {
        let (now, lane) = (Instant::now(), visitor.lane);
        let cap = visitor.cap.min(part(self.bounds.room.permits, self.bounds.function_percent));
        if cap == 0 {
            return Err(self.refuse(Why::NoShare, Duration::ZERO));
        }
        if visitor.has_body && self.pressed.load(Ordering::Relaxed) {
            return Err(self.refuse(Why::Memory, Duration::ZERO));
        }
        lane.set_cap(cap);
        let seen = self.counts.see();
        if !seen.anyone_waits() && seen.has_room(self.bounds.room) && lane.try_take(self.bounds.tenant_most) {
            if self.counts.try_enter(self.bounds.room) {
                return Ok(CallPermit::computing(self, lane, now));
            }
            lane.give_back(true);
        }
        // From here on the lock is taken in any case, so that somebody who was held up by that short attempt is served.
        let ask = Ask {
            lane,
            bytes: visitor.bytes,
            deadline: visitor.deadline,
            second_try: visitor.attempt > 1,
            was_held: held.is_some(),
        };
        let turn = Arc::new(Turn::default());
        let mut queue = self.lock();
        if let Some(held) = held {
            held.end(&mut queue);
        }
        let entered = queue.enter(&ask, &self.counts, now, Arc::clone(&turn));
        self.give_turns(queue, lane, now);
        match entered {
            Ok(number) => Ok(CallPermit::waiting(self, lane, now, turn, number)),
            Err(refusal) => {
                let (why, wait) = Why::of(refusal);
                Err(self.refuse(why, wait))
            }
        }
    }

    /// Counts a call that waits for its version, within the bounds of the queue.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Result<Held, InvokeError> {
        if self.is_draining() {
            return Err(self.refuse(Why::Draining, Duration::ZERO));
        }
        let held = self.lock().hold(bytes);
        match held {
            Ok(()) => {
                self.held.fetch_add(1, Ordering::SeqCst);
                Ok(Held { admission: Some(Arc::clone(self)), bytes })
            }
            Err(refusal) => Err(self.refuse(Why::of(refusal).0, Duration::ZERO)),
        }
    }

    pub(crate) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::SeqCst);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// While memory is short, calls with a body are refused.
    pub(crate) fn set_pressed(&self, pressed: bool) {
        self.pressed.store(pressed, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> usize {
        let seen = self.counts.see();
        seen.inside() + seen.queued() + self.held.load(Ordering::SeqCst)
    }

    pub(crate) fn load(&self) -> LoadReport {
        let (seen, held) = (self.counts.see(), self.held.load(Ordering::Relaxed));
        let count = |calls: usize| u32::try_from(calls).unwrap_or(u32::MAX);
        LoadReport {
            in_flight: count(seen.inside() + seen.queued() + held),
            queued: count(seen.queued() + held),
            slots: count(self.bounds.room.slots),
            expected_wait: self.expected_wait(seen),
            busy: count(seen.computing() + seen.resuming() + seen.queued()),
        }
    }

    /// How long a call of any function would wait for a slot, taken on average.
    fn expected_wait(&self, seen: Seen) -> Duration {
        if seen.has_room(self.bounds.room) && !seen.anyone_waits() {
            return Duration::ZERO;
        }
        let resuming = u64::try_from(seen.resuming()).unwrap_or(u64::MAX);
        let work =
            self.backlog.load(Ordering::Relaxed).saturating_add(self.service.nanos().saturating_mul(resuming + 1));
        Duration::from_nanos(work / u64::try_from(self.bounds.room.slots).unwrap_or(1))
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

    /// What is done now and then: gauges, and queues that have been empty for a while.
    pub(crate) fn upkeep(&self) {
        let mut queue = self.lock();
        queue.sweep(Instant::now());
        let (bytes, overloads) = (queue.bytes(), queue.overloads());
        drop(queue);
        let (seen, held) = (self.counts.see(), self.held.load(Ordering::Relaxed));
        self.metrics.show(seen, held, bytes, overloads);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue<Arc<Turn>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn refuse(&self, why: Why, wait: Duration) -> InvokeError {
        self.metrics.refused(why);
        let lot = self.lots.fetch_add(1, Ordering::Relaxed);
        Refused { why, wait, lot }.error().with_load(self.load())
    }

    /// Slots and permits that are free go to those whose turn it is; if nothing of this function's namespace computes,
    /// one of its calls may have a spare slot.
    fn give_turns(&self, mut queue: MutexGuard<'_, Queue<Arc<Turn>>>, lane: &Lane, now: Instant) {
        let mut first: Option<Arc<Turn>> = None;
        let mut more = Vec::new();
        let next = |queue: &mut Queue<Arc<Turn>>| {
            queue.next(&self.counts, now).or_else(|| queue.next_spare(&lane.tenant, &self.counts, now))
        };
        while let Some(started) = next(&mut queue) {
            started.waker.start(started.charged);
            if let Some(turn) = first.replace(started.waker) {
                more.push(turn);
            }
        }
        let dropped = queue.take_dropped();
        for (turn, why) in &dropped {
            turn.drop_it(*why);
        }
        self.backlog.store(queue.backlog(), Ordering::Relaxed);
        drop(queue);
        // Woken after the lock is free, or they would only wait for it.
        first.iter().chain(&more).for_each(|turn| turn.wake());
        dropped.iter().for_each(|(turn, _)| turn.wake());
    }

    /// A slot has become free: a call paused, or left. `more` is what its function's account is to be corrected by.
    pub(crate) fn freed(&self, seen: Seen, lane: &Lane, more: i64, now: Instant) {
        if seen.anyone_waits() {
            let mut queue = self.lock();
            queue.charge(lane, more);
            queue.refresh(lane.id);
            self.give_turns(queue, lane, now);
        }
        self.tell_if_empty(seen);
    }

    pub(crate) fn tell_if_empty(&self, seen: Seen) {
        if seen.inside() == 0 && seen.queued() == 0 && self.held.load(Ordering::SeqCst) == 0 {
            self.empty.notify_waiters();
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn slots(&self) -> usize {
        self.bounds.room.slots
    }

    /// A call in the house waits for a slot again.
    pub(crate) fn wait_again(&self, lane: &Arc<Lane>, now: Instant) -> (Arc<Turn>, u64) {
        let turn = Arc::new(Turn::default());
        let mut queue = self.lock();
        let number = queue.resume(lane, &self.counts, now, Arc::clone(&turn));
        self.give_turns(queue, lane, now);
        (turn, number)
    }

    /// A waiting call is given up. False if something came of its wait before.
    pub(crate) fn cancel(&self, lane: &Lane, number: u64) -> bool {
        let mut queue = self.lock();
        let gone = queue.cancel(lane, number, &self.counts);
        self.backlog.store(queue.backlog(), Ordering::Relaxed);
        gone
    }
}

/// So many percent of it, at least one.
fn part(whole: usize, percent: usize) -> usize {
    (whole * percent / 100).max(1)
}

/// A call that waits for its version to be made ready.
pub(crate) struct Held {
    admission: Option<Arc<Admission>>,
    bytes: usize,
}

impl Held {
    /// Lets the call in, now that its version is ready: even if the node has begun to drain meanwhile.
    pub(crate) fn enter(self, visitor: &Visitor<'_>) -> Result<CallPermit, InvokeError> {
        match self.admission.clone() {
            Some(admission) => admission.let_in(visitor, Some(self)),
            None => Err(InvokeError::refused(Code::Internal, "a held call entered twice")),
        }
    }

    fn end(mut self, queue: &mut Queue<Arc<Turn>>) {
        if let Some(admission) = self.admission.take() {
            queue.unhold(self.bytes);
            admission.held.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            admission.lock().unhold(self.bytes);
            admission.held.fetch_sub(1, Ordering::SeqCst);
            admission.tell_if_empty(admission.counts.see());
        }
    }
}

#[cfg(test)]
mod tests;
