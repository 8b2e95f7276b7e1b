//! One call's accounting, from the door to the end of its guest: in the house until it is dropped, on a slot while it
//! computes.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use onrush_invoke::InvokeError;
use onrush_runtime::Permit;
use tokio::time::Instant;

use crate::{admission::Admission, estimate::nanos, lane::Lane, refusal::Why, turn::Turn};

/// The right to be in the house, or a place in the queue for it.
pub(crate) struct CallPermit {
    admission: Arc<Admission>,
    lane: Arc<Lane>,
    state: State,
    /// Since when the call is inside; before that, since when it waits.
    since: Instant,
    computed: Duration,
}

enum State {
    /// Until its turn: for a permit and a slot, or, `inside`, for a slot alone.
    Waiting { turn: Arc<Turn>, number: u64, inside: bool },
    /// Holds a slot since then. Its function was charged so much for it ahead.
    Computing { began: Instant, charged: u64 },
    /// In the house, without a slot.
    Paused,
    /// Was never inside, and never will be.
    Refused,
}

impl CallPermit {
    pub(crate) fn computing(admission: &Arc<Admission>, lane: &Arc<Lane>, now: Instant) -> Self {
        let state = State::Computing { began: now, charged: 0 };
        let (admission, lane) = (Arc::clone(admission), Arc::clone(lane));
        Self { admission, lane, state, since: now, computed: Duration::ZERO }
    }

    pub(crate) fn waiting(
        admission: &Arc<Admission>,
        lane: &Arc<Lane>,
        now: Instant,
        turn: Arc<Turn>,
        number: u64,
    ) -> Self {
        let state = State::Waiting { turn, number, inside: false };
        let (admission, lane) = (Arc::clone(admission), Arc::clone(lane));
        Self { admission, lane, state, since: now, computed: Duration::ZERO }
    }

    /// What tells later whether the call ever started; none if it has.
    pub(crate) fn turn(&self) -> Option<Arc<Turn>> {
        match &self.state {
            State::Waiting { turn, inside: false, .. } => Some(Arc::clone(turn)),
            State::Waiting { .. } | State::Computing { .. } | State::Paused | State::Refused => None,
        }
    }

    /// Ends a stretch of computing in the books, and says what its function is still to be charged.
    fn end_slice(&mut self, began: Instant, charged: u64, now: Instant) -> i64 {
        let took = now.saturating_duration_since(began);
        self.computed += took;
        self.lane.slice.add(took);
        let clamp = |nanos: u64| i64::try_from(nanos).unwrap_or(i64::MAX);
        clamp(nanos(took)).saturating_sub(clamp(charged))
    }

    /// The call is over after having been inside.
    fn end(&self, now: Instant) {
        let stay = now.saturating_duration_since(self.since);
        self.lane.service.add(self.computed);
        self.lane.stay.add(stay);
        self.admission.service.add(self.computed);
        self.admission.metrics.service.record(stay);
    }
}

impl Permit for CallPermit {
    fn poll_compute(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), InvokeError>> {
        loop {
            match &self.state {
                State::Computing { .. } => return Poll::Ready(Ok(())),
                State::Paused => {
                    let now = Instant::now();
                    self.state = if self.admission.counts().try_resume(self.admission.slots()) {
                        self.lane.tenant.resume();
                        State::Computing { began: now, charged: 0 }
                    } else {
                        let (turn, number) = self.admission.wait_again(&self.lane, now);
                        State::Waiting { turn, number, inside: true }
                    };
                }
                State::Waiting { turn, inside, .. } => {
                    let Poll::Ready(outcome) = turn.poll(cx) else { return Poll::Pending };
                    let (inside, now) = (*inside, Instant::now());
                    match outcome {
                        Ok(charged) => {
                            if !inside {
                                self.admission.metrics.wait.record(now.saturating_duration_since(self.since));
                                self.since = now;
                            }
                            self.state = State::Computing { began: now, charged };
                        }
                        Err(dropped) => {
                            self.state = State::Refused;
                            let why = Why::dropped(dropped);
                            return Poll::Ready(Err(self.admission.refuse(why, self.since.elapsed())));
                        }
                    }
                }
                State::Refused => {
                    return Poll::Ready(Err(self.admission.refuse(Why::Late, Duration::ZERO)));
                }
            }
        }
    }

    fn pause(&mut self) {
        if let State::Computing { began, charged } = self.state {
            let now = Instant::now();
            let more = self.end_slice(began, charged, now);
            self.state = State::Paused;
            self.lane.tenant.pause();
            let seen = self.admission.counts().pause();
            self.admission.freed(seen, &self.lane, more, now);
        }
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let now = Instant::now();
        let (computing, more) = match std::mem::replace(&mut self.state, State::Refused) {
            State::Refused => {
                self.admission.tell_if_empty(self.admission.counts().see());
                return;
            }
            State::Paused => (false, 0),
            State::Computing { began, charged } => (true, self.end_slice(began, charged, now)),
            State::Waiting { turn, number, inside } => {
                let gave_up = self.admission.cancel(&self.lane, number);
                match (turn.outcome(), inside) {
                    _ if gave_up && inside => (false, 0),
                    // It was never inside, and what it waited for has not become free by its going.
                    (None | Some(Err(_)), false) => {
                        self.admission.tell_if_empty(self.admission.counts().see());
                        return;
                    }
                    (None | Some(Err(_)), true) => (false, 0),
                    // Its turn came and it never looked.
                    (Some(Ok(charged)), _) => (true, 0_i64.saturating_sub_unsigned(charged)),
                }
            }
        };
        if !self.computed.is_zero() {
            self.end(now);
        }
        self.lane.give_back(computing);
        let seen = self.admission.counts().leave(computing);
        self.admission.freed(seen, &self.lane, more, now);
    }
}
