//! Who runs, who waits and who comes next: pure bookkeeping, without clock, lock or channel.
//!
//! First come, first served within a function; functions take turns, one call each (a deficit round robin whose calls
//! all cost one). CoDel and newest-first come into `Lane::pop` and nowhere else.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use onrush_types::FunctionName;
use tokio::time::Instant;

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Running calls of all functions.
    pub(crate) running: usize,
    /// Waiting calls of all functions.
    pub(crate) calls: usize,
    /// Bytes of waiting calls.
    pub(crate) bytes: usize,
    /// How much of running and waiting one function may hold, in percent.
    pub(crate) function_percent: usize,
}

/// A call that wants to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) function: &'a FunctionName,
    /// How many calls of the function may run here at once.
    pub(crate) cap: usize,
    /// What the body weighs while it waits.
    pub(crate) bytes: usize,
    pub(crate) deadline: Instant,
    /// A call that was refused elsewhere is refused here only at the hard bounds.
    pub(crate) second_try: bool,
    /// What a call of this function has taken lately.
    pub(crate) service: Duration,
}

/// What becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It runs and is counted as running.
    Run,
    /// It waits under this number.
    Wait(u64),
    /// It is not counted at all.
    Refuse(Refusal),
}

/// Why a call may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing new is taken.
    Draining,
    /// This node has no share of the function's cap.
    NoShare,
    /// Too many calls wait.
    Calls,
    /// Too many bytes wait.
    Bytes,
    /// It would wait this long, which is longer than it has.
    TooLate(Duration),
}

struct Lane<W> {
    running: usize,
    cap: usize,
    waiting: BTreeMap<u64, Waiting<W>>,
    in_turn: bool,
}

struct Waiting<W> {
    bytes: usize,
    deadline: Instant,
    waker: W,
}

impl<W> Lane<W> {
    /// The next call of this function: the oldest one.
    fn pop(&mut self) -> Option<Waiting<W>> {
        self.waiting.pop_first().map(|(_, waiting)| waiting)
    }

    fn may_start(&self) -> bool {
        self.running < self.cap && !self.waiting.is_empty()
    }
}

/// The books.
pub(crate) struct Queue<W> {
    bounds: Bounds,
    pub(crate) draining: bool,
    running: usize,
    waiting: usize,
    /// Calls that wait for their version to be made ready: they weigh like waiting ones, but are in nobody's turn yet.
    held: usize,
    bytes: usize,
    next: u64,
    lanes: HashMap<FunctionName, Lane<W>>,
    /// Functions with a waiting call that may start as soon as the node has room.
    turns: VecDeque<FunctionName>,
}

impl<W> Queue<W> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let (lanes, turns) = (HashMap::new(), VecDeque::new());
        Self { bounds, draining: false, running: 0, waiting: 0, held: 0, bytes: 0, next: 0, lanes, turns }
    }

    pub(crate) fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn queued(&self) -> usize {
        self.waiting + self.held
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.running + self.queued()
    }

    /// Bytes of waiting bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How long a call of a new function would wait for a permit, if calls take `service` each.
    pub(crate) fn expected_wait(&self, service: Duration) -> Duration {
        if self.running < self.bounds.running {
            Duration::ZERO
        } else {
            spread(service, self.waiting + 1, self.running)
        }
    }

    /// Takes a call in, which then runs or waits, or says why not. `inside` is a call that was held: it has passed the
    /// door already.
    pub(crate) fn enter(&mut self, ask: &Ask<'_>, now: Instant, inside: bool, waker: impl FnOnce() -> W) -> Verdict {
        if self.draining && !inside {
            return Verdict::Refuse(Refusal::Draining);
        }
        let cap = ask.cap.min(self.function_part(self.bounds.running));
        if cap == 0 {
            return Verdict::Refuse(Refusal::NoShare);
        }
        let room = self.running < self.bounds.running;
        match self.lanes.get_mut(ask.function) {
            Some(lane) => {
                lane.cap = cap;
                if room && lane.running < cap && lane.waiting.is_empty() {
                    lane.running += 1;
                    self.running += 1;
                    return Verdict::Run;
                }
            }
            None if room => {
                let lane = Lane { running: 1, cap, waiting: BTreeMap::new(), in_turn: false };
                self.lanes.insert(ask.function.clone(), lane);
                self.running += 1;
                return Verdict::Run;
            }
            None => {}
        }
        if let Some(refusal) = self.may_wait(ask, cap, now) {
            return Verdict::Refuse(refusal);
        }
        Verdict::Wait(self.wait(ask, cap, waker()))
    }

    fn wait(&mut self, ask: &Ask<'_>, cap: usize, waker: W) -> u64 {
        let number = self.next;
        self.next += 1;
        let new = || Lane { running: 0, cap, waiting: BTreeMap::new(), in_turn: false };
        let lane = self.lanes.entry(ask.function.clone()).or_insert_with(new);
        lane.waiting.insert(number, Waiting { bytes: ask.bytes, deadline: ask.deadline, waker });
        self.waiting += 1;
        self.bytes += ask.bytes;
        self.take_turn(ask.function);
        number
    }

    fn may_wait(&self, ask: &Ask<'_>, cap: usize, now: Instant) -> Option<Refusal> {
        let lane = self.lanes.get(ask.function);
        let ahead = lane.map_or(0, |lane| lane.waiting.len());
        let limit = if ask.second_try { self.bounds.calls } else { self.bounds.calls - self.bounds.calls / 10 };
        if self.queued() >= limit || ahead >= self.function_part(self.bounds.calls) {
            return Some(Refusal::Calls);
        }
        if self.bytes + ask.bytes > self.bounds.bytes {
            return Some(Refusal::Bytes);
        }
        // The function's own cap lets so many through at a time; where the node is full, functions take turns.
        let mut wait = spread(ask.service, ahead + 1, cap);
        if self.running >= self.bounds.running {
            let turns = self.turns.len() + usize::from(ahead == 0);
            wait = wait.max(spread(ask.service, ((ahead + 1) * turns).min(self.waiting + 1), self.bounds.running));
        }
        let left = ask.deadline.saturating_duration_since(now);
        (wait >= left && !ask.second_try || left.is_zero()).then_some(Refusal::TooLate(wait))
    }

    /// Takes a call in that cannot run yet because its version is not ready.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        if self.queued() >= self.bounds.calls {
            return Err(Refusal::Calls);
        }
        if self.bytes + bytes > self.bounds.bytes {
            return Err(Refusal::Bytes);
        }
        self.held += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// A held call is held no longer.
    pub(crate) fn unhold(&mut self, bytes: usize) {
        self.held -= 1;
        self.bytes -= bytes;
    }

    /// A running call is over.
    pub(crate) fn leave(&mut self, function: &FunctionName) {
        self.running -= 1;
        if let Some(lane) = self.lanes.get_mut(function) {
            lane.running -= 1;
        }
        self.take_turn(function);
        self.forget_if_empty(function);
    }

    /// A waiting call has gone. False if it was not waiting any more.
    pub(crate) fn cancel(&mut self, function: &FunctionName, number: u64) -> bool {
        let gone = self.lanes.get_mut(function).and_then(|lane| lane.waiting.remove(&number));
        let Some(gone) = gone else { return false };
        self.waiting -= 1;
        self.bytes -= gone.bytes;
        self.forget_if_empty(function);
        true
    }

    /// The next waiting call that may run; it is counted as running. Calls whose deadline has passed are let go: their
    /// wakers are dropped.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(FunctionName, W)> {
        while self.running < self.bounds.running {
            let function = self.turns.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&function) else { continue };
            lane.in_turn = false;
            let mut started = None;
            while lane.running < lane.cap
                && let Some(waiting) = lane.pop()
            {
                self.waiting -= 1;
                self.bytes -= waiting.bytes;
                if waiting.deadline > now {
                    lane.running += 1;
                    self.running += 1;
                    started = Some(waiting.waker);
                    break;
                }
            }
            self.take_turn(&function);
            self.forget_if_empty(&function);
            if let Some(waker) = started {
                return Some((function, waker));
            }
        }
        None
    }

    fn take_turn(&mut self, function: &FunctionName) {
        if let Some(lane) = self.lanes.get_mut(function)
            && !lane.in_turn
            && lane.may_start()
        {
            lane.in_turn = true;
            self.turns.push_back(function.clone());
        }
    }

    /// A function without calls leaves nothing behind, so the books are as long as the house is full.
    fn forget_if_empty(&mut self, function: &FunctionName) {
        if self.lanes.get(function).is_some_and(|lane| lane.running == 0 && lane.waiting.is_empty() && !lane.in_turn) {
            self.lanes.remove(function);
        }
    }

    /// One function's part of a bound: its percentage, at least one.
    fn function_part(&self, whole: usize) -> usize {
        (whole * self.bounds.function_percent / 100).max(1).min(whole)
    }
}

/// `calls` of `service` each, `at_once` at a time.
fn spread(service: Duration, calls: usize, at_once: usize) -> Duration {
    let calls = u32::try_from(calls).unwrap_or(u32::MAX);
    service.saturating_mul(calls) / u32::try_from(at_once.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
