//! What calls cost and how long they would wait: moving means and the arithmetic on them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A refused caller is told to come again within these.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(30);

/// A moving mean over about eight values, in nanoseconds. 0: nothing is known.
#[derive(Debug, Default)]
pub(crate) struct Mean(AtomicU64);

impl Mean {
    pub(crate) fn nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    /// Two at the same moment may lose one; a mean does not mind.
    pub(crate) fn add(&self, value: Duration) {
        let value = nanos(value).max(1);
        let old = self.nanos();
        let new = if old == 0 { value } else { old - old / 8 + value / 8 };
        self.0.store(new.max(1), Ordering::Relaxed);
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What a wait is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// Calls of the function that wait already.
    pub(crate) ahead: usize,
    /// What one of its calls computes, and how long it is in the house.
    pub(crate) service: Duration,
    pub(crate) stay: Duration,
    /// How many of its calls may be in the house.
    pub(crate) cap: usize,
    /// How many functions and namespaces share the slots with it: 2 where it has half of them.
    pub(crate) sharers: usize,
    /// Everybody's waiting work.
    pub(crate) backlog: Duration,
    /// What computes at once.
    pub(crate) slots: usize,
    /// Whether a slot is free, and whether the function's cap has room.
    pub(crate) slot_free: bool,
    pub(crate) cap_free: bool,
}

impl Line {
    /// How long one more call would wait.
    pub(crate) fn wait(&self) -> Duration {
        let calls = count(self.ahead + 1);
        let for_slot = if self.slot_free && self.backlog.is_zero() {
            Duration::ZERO
        } else {
            // Its own turn comes when those ahead of it have had theirs, and at the latest when everybody has.
            let own = self.service.saturating_mul(calls).saturating_mul(count(self.sharers.max(1)));
            own.min(self.backlog.saturating_add(self.service)) / count(self.slots.max(1))
        };
        let for_cap = if self.cap_free && self.ahead == 0 {
            Duration::ZERO
        } else {
            self.stay.saturating_mul(calls) / count(self.cap.max(1))
        };
        for_slot.max(for_cap)
    }
}

fn count(calls: usize) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX)
}

/// When a refused caller should come again: when those who wait now are served, and not all at the same moment. `lot` is
/// any number that differs from caller to caller.
pub(crate) fn retry_after(drain: Duration, lot: u64) -> Duration {
    let base = drain.clamp(SOON, LATE);
    // The finaliser of splitmix64: neighbours come out far apart.
    let mut mixed = lot.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let part = u32::try_from((mixed ^ (mixed >> 31)) % 1_000).unwrap_or(0);
    (base + base * 2 * part / 1_000).min(LATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line = Line {
        ahead: 0,
        service: Duration::from_millis(10),
        stay: Duration::from_millis(40),
        cap: 100,
        sharers: 1,
        backlog: Duration::ZERO,
        slots: 2,
        slot_free: true,
        cap_free: true,
    };

    #[test]
    fn a_free_house_makes_nobody_wait() {
        assert_eq!(LINE.wait(), Duration::ZERO);
    }

    #[test]
    fn the_wait_is_that_of_the_function_and_never_longer_than_everybodys_work() {
        let full = Line { slot_free: false, ahead: 9, backlog: Duration::from_secs(1), ..LINE };
        assert_eq!(full.wait(), Duration::from_millis(50), "ten calls of 10 ms, two at a time");
        assert_eq!(Line { sharers: 2, ..full }.wait(), Duration::from_millis(100));
        assert_eq!(Line { sharers: 1_000, ..full }.wait(), Duration::from_millis(505));
    }

    #[test]
    fn a_cap_lets_so_many_through_as_calls_stay() {
        let capped = Line { cap: 1, cap_free: false, ahead: 2, ..LINE };
        assert_eq!(capped.wait(), Duration::from_millis(120));
    }

    #[test]
    fn callers_come_again_within_bounds_and_not_all_at_once() {
        let waits: Vec<_> = (0..100).map(|lot| retry_after(Duration::from_millis(20), lot)).collect();
        assert!(waits.iter().all(|wait| (SOON..=3 * SOON).contains(wait)));
        let late = waits.iter().filter(|wait| **wait > 2 * SOON).count();
        assert!((30..70).contains(&late), "{late}");
        assert_eq!(retry_after(Duration::from_secs(900), 1), LATE);
    }

    #[test]
    fn a_mean_follows_slowly() {
        let mean = Mean::default();
        mean.add(Duration::from_millis(8));
        assert_eq!(mean.get(), Duration::from_millis(8));
        mean.add(Duration::from_millis(16));
        assert_eq!(mean.get(), Duration::from_millis(9));
    }
}
