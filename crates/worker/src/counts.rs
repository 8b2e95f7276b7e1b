//! How many calls are in the house and what they do, in one word, so that a call enters an idle node with one atomic
//! operation and without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

const FIELD: u32 = 16;
const MASK: u64 = (1 << FIELD) - 1;
/// The most that one field can count. Settings are cut to it.
pub(crate) const MOST: usize = MASK as usize;

const COMPUTING: u64 = 1;
const INSIDE: u64 = 1 << FIELD;
const QUEUED: u64 = 1 << (2 * FIELD);
const RESUMING: u64 = 1 << (3 * FIELD);

/// The counts of one node.
#[derive(Debug, Default)]
pub(crate) struct Counts(AtomicU64);

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u64);

/// What may be taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Calls that compute at once.
    pub(crate) slots: usize,
    /// Calls in the house at once.
    pub(crate) permits: usize,
}

impl Seen {
    const fn field(self, one: u64) -> usize {
        ((self.0 >> one.trailing_zeros()) & MASK) as usize
    }

    /// Calls that hold a slot.
    pub(crate) const fn computing(self) -> usize {
        self.field(COMPUTING)
    }

    /// Calls that hold a permit.
    pub(crate) const fn inside(self) -> usize {
        self.field(INSIDE)
    }

    /// Calls that wait for a permit and a slot.
    pub(crate) const fn queued(self) -> usize {
        self.field(QUEUED)
    }

    /// Calls with a permit that wait for a slot again.
    pub(crate) const fn resuming(self) -> usize {
        self.field(RESUMING)
    }

    /// Whether somebody is to be given what becomes free.
    pub(crate) const fn anyone_waits(self) -> bool {
        self.0 >> (2 * FIELD) != 0
    }

    /// Whether a new call can start, were nobody waiting.
    pub(crate) const fn has_room(self, room: Room) -> bool {
        self.computing() < room.slots && self.inside() < room.permits
    }
}

impl Counts {
    pub(crate) fn see(&self) -> Seen {
        Seen(self.0.load(Ordering::SeqCst))
    }

    fn change_if(&self, plus: u64, minus: u64, allowed: impl Fn(Seen) -> bool) -> bool {
        let change = |now| allowed(Seen(now)).then_some(now + plus - minus);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).is_ok()
    }

    fn change(&self, plus: u64, minus: u64) -> Seen {
        let change = plus.wrapping_sub(minus);
        Seen(self.0.fetch_add(change, Ordering::SeqCst).wrapping_add(change))
    }

    /// A new call takes a permit and a slot, past nobody who waits.
    pub(crate) fn try_enter(&self, room: Room) -> bool {
        self.change_if(COMPUTING + INSIDE, 0, |seen| !seen.anyone_waits() && seen.has_room(room))
    }

    /// A call in the house takes a slot, past nobody who waits.
    pub(crate) fn try_resume(&self, slots: usize) -> bool {
        self.change_if(COMPUTING, 0, |seen| !seen.anyone_waits() && seen.computing() < slots)
    }

    /// A queued call starts.
    pub(crate) fn try_start_queued(&self, room: Room) -> bool {
        self.change_if(COMPUTING + INSIDE, QUEUED, |seen| seen.has_room(room))
    }

    /// A call in the house that waits for a slot gets one.
    pub(crate) fn try_start_resuming(&self, slots: usize) -> bool {
        self.change_if(COMPUTING, RESUMING, |seen| seen.computing() < slots)
    }

    /// A call gives its slot back and stays.
    pub(crate) fn pause(&self) -> Seen {
        self.change(0, COMPUTING)
    }

    /// A call goes; `computing` if it holds a slot.
    pub(crate) fn leave(&self, computing: bool) -> Seen {
        self.change(0, INSIDE + if computing { COMPUTING } else { 0 })
    }

    /// One more waits: `resuming` if it is in the house already.
    pub(crate) fn wait(&self, resuming: bool) {
        self.change(if resuming { RESUMING } else { QUEUED }, 0);
    }

    /// One of those who wait has gone.
    pub(crate) fn give_up(&self, resuming: bool) -> Seen {
        self.change(0, if resuming { RESUMING } else { QUEUED })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { slots: 2, permits: 3 };

    #[test]
    fn a_call_enters_while_there_is_room_and_nobody_waits() {
        let counts = Counts::default();
        assert!(counts.try_enter(ROOM) && counts.try_enter(ROOM));
        assert!(!counts.try_enter(ROOM), "no slot");
        counts.pause();
        assert!(counts.try_enter(ROOM));
        counts.pause();
        assert!(!counts.try_enter(ROOM), "no permit");
        assert!(counts.try_resume(2), "who is in the house needs none");
        counts.leave(true);
        counts.wait(false);
        assert!(!counts.try_enter(ROOM) && !counts.try_resume(2), "somebody waits");
        assert!(counts.try_start_queued(ROOM));
        let seen = counts.see();
        assert_eq!((seen.computing(), seen.inside(), seen.queued(), seen.resuming()), (2, 3, 0, 0));
    }

    #[test]
    fn who_waits_to_go_on_needs_a_slot_alone() {
        let counts = Counts::default();
        assert!(counts.try_enter(ROOM));
        counts.pause();
        counts.wait(true);
        assert!(counts.see().anyone_waits());
        assert!(counts.try_start_resuming(1));
        counts.wait(true);
        assert!(!counts.try_start_resuming(1));
        counts.give_up(true);
        counts.leave(true);
        assert_eq!(counts.see(), Counts::default().see());
    }
}
