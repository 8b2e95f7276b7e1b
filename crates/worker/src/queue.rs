//! Who waits and who comes next: bookkeeping without clock, lock or channel. Whoever holds a permit or a slot is counted
//! in `Counts` and `Lane`, which calls that need not wait change without asking here.
//!
//! Namespaces take turns, within a namespace its functions do, by what they compute (`fair`). Within a function, calls
//! that are in the house go before new ones; new ones come in the order that `codel` says.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use self::limits::part;
use crate::{
    codel::{Delay, Mode, Rules},
    counts::{Counts, Room},
    fair::{Fair, Wish},
    lane::{Lane, Tenant},
};

mod limits; // who may wait

/// So many surplus calls are let go at once when a queue turns out to be an overload; the rest next time.
const SHED_AT_ONCE: usize = 64;

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) room: Room,
    /// Slots beyond those, for namespaces of which nothing computes.
    pub(crate) spare: usize,
    /// Permits that one namespace may hold.
    pub(crate) tenant_most: usize,
    /// Waiting calls of all functions.
    pub(crate) calls: usize,
    /// Bytes of waiting calls.
    pub(crate) bytes: usize,
    /// How much of both one function may hold, in percent, and one namespace.
    pub(crate) function_percent: usize,
    pub(crate) tenant_percent: usize,
    /// When a queue stands and when it is an overload.
    pub(crate) rules: Rules,
    /// How long calls may wait in a queue that is one.
    pub(crate) overload_wait: Duration,
}

/// A call that wants to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) lane: &'a Arc<Lane>,
    /// What the body weighs while it waits.
    pub(crate) bytes: usize,
    pub(crate) deadline: Instant,
    /// A call that was refused elsewhere is refused here only at the hard bounds.
    pub(crate) second_try: bool,
    /// It was counted as held until now and has passed the bounds already.
    pub(crate) was_held: bool,
}

/// Why a call may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many calls wait: here, or of its function or namespace.
    Calls,
    /// Too many bytes wait.
    Bytes,
    /// It would wait this long, which is longer than it has.
    TooLate(Duration),
    /// More calls of the function come than are served; those in its queue take this long.
    Overload(Duration),
}

/// Why a call that waited waits no longer without having been started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Its deadline has passed.
    Late,
    /// Its function's queue is an overload.
    Overload,
    /// A namespace that has less than its share of a full queue took its place.
    Displaced,
}

/// A call that may compute now; it is counted so.
#[derive(Debug)]
pub(crate) struct Started<W> {
    pub(crate) waker: W,
    /// What its function was charged ahead, in nanoseconds.
    pub(crate) charged: u64,
}

struct Waiting<W> {
    bytes: usize,
    since: Instant,
    deadline: Instant,
    cost: u64,
    waker: W,
}

/// One function's queue.
struct Waits<W> {
    lane: Arc<Lane>,
    resuming: BTreeMap<u64, W>,
    new: BTreeMap<u64, Waiting<W>>,
    bytes: usize,
    delay: Delay,
}

/// One namespace's queues.
#[derive(Default)]
struct Tenancy {
    lanes: Fair,
    calls: usize,
    bytes: usize,
}

/// The books.
pub(crate) struct Queue<W> {
    bounds: Bounds,
    calls: usize,
    /// Calls that wait for their version to be made ready: they weigh like waiting ones, but are in nobody's turn yet.
    held: usize,
    bytes: usize,
    /// What all waiting calls together will compute, in nanoseconds.
    backlog: u64,
    next: u64,
    waits: HashMap<u64, Waits<W>>,
    tenants: Fair,
    tenancies: HashMap<u64, Tenancy>,
    dropped: Vec<(W, Dropped)>,
}

impl<W> Queue<W> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            calls: 0,
            held: 0,
            bytes: 0,
            backlog: 0,
            next: 0,
            waits: HashMap::new(),
            tenants: Fair::default(),
            tenancies: HashMap::new(),
            dropped: Vec::new(),
        }
    }

    /// Bytes of waiting bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What all waiting calls together will compute, in nanoseconds.
    pub(crate) fn backlog(&self) -> u64 {
        self.backlog
    }

    /// Functions whose queue is an overload.
    pub(crate) fn overloads(&self) -> usize {
        self.waits.values().filter(|waits| waits.delay.mode() == Mode::Overload).count()
    }

    /// Those who were let go since the last time.
    pub(crate) fn take_dropped(&mut self) -> Vec<(W, Dropped)> {
        std::mem::take(&mut self.dropped)
    }

    /// Takes a call in that waits for a permit and a slot, under the number that comes back, or says why not.
    pub(crate) fn enter(&mut self, ask: &Ask<'_>, counts: &Counts, now: Instant, waker: W) -> Result<u64, Refusal> {
        if let Some(waits) = self.waits.get_mut(&ask.lane.id) {
            waits.delay.came();
            waits.look(&self.bounds.rules, now);
            // The function's cap may have grown since the others began to wait.
            self.refresh(ask.lane.id);
        }
        self.check_time(ask, counts, now)?;
        if !ask.was_held {
            self.check_bounds(ask, counts)?;
        }
        self.next += 1;
        let (number, cost) = (self.next, ask.lane.service.nanos());
        let waits = self.waits.entry(ask.lane.id).or_insert_with(|| Waits::new(ask.lane, now));
        let waiting = Waiting { bytes: ask.bytes, since: now, deadline: ask.deadline, cost, waker };
        waits.new.insert(number, waiting);
        waits.bytes += ask.bytes;
        let tenancy = self.tenancies.entry(ask.lane.tenant.id).or_default();
        tenancy.calls += 1;
        tenancy.bytes += ask.bytes;
        self.calls += 1;
        self.bytes += ask.bytes;
        self.backlog += cost;
        counts.wait(false);
        self.refresh(ask.lane.id);
        Ok(number)
    }

    /// A call in the house waits for a slot again.
    pub(crate) fn resume(&mut self, lane: &Arc<Lane>, counts: &Counts, now: Instant, waker: W) -> u64 {
        self.next += 1;
        let number = self.next;
        self.waits.entry(lane.id).or_insert_with(|| Waits::new(lane, now)).resuming.insert(number, waker);
        counts.wait(true);
        self.refresh(lane.id);
        number
    }

    /// Takes a call in that cannot run yet because its version is not ready.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        // Nobody can take the place of a held call, so they are not to fill the queue.
        let most = part(self.bounds.calls, self.bounds.function_percent);
        if self.held >= most || self.calls + self.held >= self.bounds.calls {
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

    /// What a call of this function has computed differs from what was charged.
    pub(crate) fn charge(&mut self, lane: &Lane, more: i64) {
        if let Some(tenancy) = self.tenancies.get_mut(&lane.tenant.id) {
            tenancy.lanes.charge(lane.id, more);
        }
        self.tenants.charge(lane.tenant.id, more);
    }

    /// A waiting call has gone. False if it was not waiting any more.
    pub(crate) fn cancel(&mut self, lane: &Lane, number: u64, counts: &Counts) -> bool {
        let resuming = self.waits.get_mut(&lane.id).is_some_and(|waits| waits.resuming.remove(&number).is_some());
        if resuming {
            counts.give_up(true);
            self.refresh(lane.id);
        }
        resuming
            || self.remove(lane.id, number).is_some_and(|_| {
                counts.give_up(false);
                self.refresh(lane.id);
                true
            })
    }

    /// The next waiting call that may compute.
    pub(crate) fn next(&mut self, counts: &Counts, now: Instant) -> Option<Started<W>> {
        let room = self.bounds.room;
        loop {
            let seen = counts.see();
            if !seen.anyone_waits() || seen.computing() >= room.slots {
                return None;
            }
            let id = self.choose(seen.inside() < room.permits)?;
            if let Some(started) = self.start(id, room, counts, now) {
                return Some(started);
            }
        }
    }

    /// A waiting call of a namespace of which nothing computes: it may have a spare slot.
    pub(crate) fn next_spare(&mut self, tenant: &Tenant, counts: &Counts, now: Instant) -> Option<Started<W>> {
        let room = Room { slots: self.bounds.room.slots + self.bounds.spare, ..self.bounds.room };
        let seen = counts.see();
        if !seen.anyone_waits() || tenant.computing() > 0 || seen.computing() >= room.slots {
            return None;
        }
        let entering = seen.inside() < room.permits && tenant.inside() < self.bounds.tenant_most;
        let id = self.tenancies.get(&tenant.id)?.lanes.order(entering).next()?;
        self.start(id, room, counts, now)
    }

    /// Starts a call of this function. None if there was none that could be served, or the room has just gone.
    fn start(&mut self, id: u64, room: Room, counts: &Counts, now: Instant) -> Option<Started<W>> {
        let waits = self.waits.get_mut(&id)?;
        let lane = Arc::clone(&waits.lane);
        let charged = lane.slice.nanos();
        let waker = if waits.resuming.is_empty() {
            self.start_new(id, room, counts, now)
        } else if counts.try_start_resuming(room.slots) {
            lane.tenant.resume();
            waits.resuming.pop_first().map(|(_, waker)| waker)
        } else {
            None
        };
        if waker.is_some() {
            if let Some(tenancy) = self.tenancies.get_mut(&lane.tenant.id) {
                tenancy.lanes.start(id, charged);
            }
            self.tenants.start(lane.tenant.id, charged);
        }
        self.refresh(id);
        waker.map(|waker| Started { waker, charged })
    }

    /// The function whose turn it is.
    fn choose(&self, entering: bool) -> Option<u64> {
        self.tenants.order(entering).find_map(|tenant| {
            let lanes = &self.tenancies.get(&tenant)?.lanes;
            let id = lanes.order(entering).next()?;
            let full =
                |id| self.waits.get(&id).is_some_and(|waits| waits.lane.tenant.inside() >= self.bounds.tenant_most);
            if entering && full(id) { lanes.order(false).next() } else { Some(id) }
        })
    }

    /// Starts a new call of this function, if one is still there that can be served and there is room.
    fn start_new(&mut self, id: u64, room: Room, counts: &Counts, now: Instant) -> Option<W> {
        let mode = self.waits.get_mut(&id)?.look(&self.bounds.rules, now);
        let surplus = if mode == Mode::Overload { self.surplus(id, counts) } else { 0 };
        for _ in 0..surplus.min(SHED_AT_ONCE) {
            let oldest = *self.waits.get(&id)?.new.keys().next()?;
            self.let_go(id, oldest, Dropped::Overload, counts);
            if let Some(waits) = self.waits.get_mut(&id) {
                waits.delay.refused(now);
            }
        }
        let newest = mode == Mode::Growing || surplus > SHED_AT_ONCE;
        loop {
            let waits = self.waits.get(&id)?;
            let first = if newest { waits.new.last_key_value() } else { waits.new.first_key_value() };
            let (number, late) = first.map(|(number, waiting)| (*number, waiting.deadline <= now))?;
            if late {
                self.let_go(id, number, Dropped::Late, counts);
                continue;
            }
            let lane = Arc::clone(&waits.lane);
            if !lane.try_take(self.bounds.tenant_most) {
                return None;
            }
            if !counts.try_start_queued(room) {
                lane.give_back(true);
                return None;
            }
            let started = self.remove(id, number);
            if let Some(waits) = self.waits.get_mut(&id) {
                waits.delay.started();
                waits.look(&self.bounds.rules, now);
            }
            return started.map(|waiting| waiting.waker);
        }
    }

    fn let_go(&mut self, id: u64, number: u64, why: Dropped, counts: &Counts) -> bool {
        let Some(waiting) = self.remove(id, number) else { return false };
        counts.give_up(false);
        self.dropped.push((waiting.waker, why));
        self.refresh(id);
        true
    }

    fn remove(&mut self, id: u64, number: u64) -> Option<Waiting<W>> {
        let waits = self.waits.get_mut(&id)?;
        let waiting = waits.new.remove(&number)?;
        waits.bytes -= waiting.bytes;
        self.calls -= 1;
        self.bytes -= waiting.bytes;
        self.backlog -= waiting.cost;
        if let Some(tenancy) = self.tenancies.get_mut(&waits.lane.tenant.id) {
            tenancy.calls -= 1;
            tenancy.bytes -= waiting.bytes;
        }
        Some(waiting)
    }

    /// Says anew what a function wants: something of its has come, gone or got room.
    pub(crate) fn refresh(&mut self, id: u64) {
        let Some(waits) = self.waits.get(&id) else { return };
        let wish = if !waits.resuming.is_empty() {
            Wish::Resume
        } else if !waits.new.is_empty() && waits.lane.inside.get() < waits.lane.cap() {
            Wish::Enter
        } else {
            Wish::Nothing
        };
        let tenant = waits.lane.tenant.id;
        let over = waits.is_empty() && waits.delay.is_calm();
        let tenancy = self.tenancies.entry(tenant).or_default();
        tenancy.lanes.set(id, wish);
        let all = tenancy.lanes.wish();
        self.tenants.set(tenant, all);
        if all == Wish::Nothing && tenancy.calls == 0 {
            self.tenancies.remove(&tenant);
        }
        if over {
            self.waits.remove(&id);
        }
    }

    /// Forgets queues that have been empty for a while.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let empty: Vec<_> = self.waits.iter().filter(|(_, waits)| waits.is_empty()).map(|(id, _)| *id).collect();
        for id in empty {
            if let Some(waits) = self.waits.get_mut(&id) {
                waits.look(&self.bounds.rules, now);
            }
            self.refresh(id);
        }
    }
}

impl<W> Waits<W> {
    fn new(lane: &Arc<Lane>, now: Instant) -> Self {
        let (resuming, new) = (BTreeMap::new(), BTreeMap::new());
        Self { lane: Arc::clone(lane), resuming, new, bytes: 0, delay: Delay::new(now) }
    }

    fn is_empty(&self) -> bool {
        self.resuming.is_empty() && self.new.is_empty()
    }

    fn look(&mut self, rules: &Rules, now: Instant) -> Mode {
        let oldest = self.new.first_key_value().map(|(_, waiting)| now.saturating_duration_since(waiting.since));
        self.delay.look(rules, oldest, self.lane.service.get(), now)
    }
}

#[cfg(test)]
mod tests;
