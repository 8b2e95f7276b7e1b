//! Who may wait: bounds of calls, bytes and time.

use std::time::Duration;

use tokio::time::Instant;

use super::{Ask, Dropped, Queue, Refusal};
use crate::{codel::Mode, counts::Counts, estimate::Line, lane::Lane};

impl<W> Queue<W> {
    pub(super) fn check_bounds(&mut self, ask: &Ask<'_>, counts: &Counts) -> Result<(), Refusal> {
        let bounds = self.bounds;
        let (function, tenant) = (self.waits.get(&ask.lane.id), self.tenancies.get(&ask.lane.tenant.id));
        let (own_calls, own_bytes) = function.map_or((0, 0), |waits| (waits.new.len(), waits.bytes));
        let (tenant_calls, tenant_bytes) = tenant.map_or((0, 0), |tenancy| (tenancy.calls, tenancy.bytes));
        if own_calls >= part(bounds.calls, bounds.function_percent)
            || tenant_calls >= part(bounds.calls, bounds.tenant_percent)
        {
            return Err(Refusal::Calls);
        }
        let weighs = |held: usize, percent| ask.bytes > 0 && held + ask.bytes > part(bounds.bytes, percent);
        if weighs(self.bytes, 100)
            || own_bytes > 0 && weighs(own_bytes, bounds.function_percent)
            || tenant_bytes > 0 && weighs(tenant_bytes, bounds.tenant_percent)
        {
            return Err(Refusal::Bytes);
        }
        let limit = if ask.second_try { bounds.calls } else { bounds.calls - bounds.calls / 10 };
        if self.calls + self.held < limit || self.displace(tenant_calls, counts) { Ok(()) } else { Err(Refusal::Calls) }
    }

    /// In a full queue, a namespace with less than its share takes a place of the one that has the most.
    fn displace(&mut self, asker: usize, counts: &Counts) -> bool {
        let share = self.calls / (self.tenancies.len() + usize::from(asker == 0)).max(1);
        let Some((most, tenancy)) = self.tenancies.iter().max_by_key(|(_, tenancy)| tenancy.calls) else {
            return false;
        };
        if asker >= share || tenancy.calls <= asker + 1 {
            return false;
        }
        let longest = self.waits.iter().filter(|(_, waits)| waits.lane.tenant.id == *most);
        let Some(id) = longest.max_by_key(|(_, waits)| waits.new.len()).map(|(id, _)| *id) else { return false };
        let oldest = self.waits.get(&id).and_then(|waits| waits.new.keys().next().copied());
        oldest.is_some_and(|number| self.let_go(id, number, Dropped::Displaced, counts))
    }

    pub(super) fn check_time(&mut self, ask: &Ask<'_>, counts: &Counts, now: Instant) -> Result<(), Refusal> {
        let line = self.line(ask.lane, counts);
        let wait = line.wait();
        if let Some(waits) = self.waits.get_mut(&ask.lane.id)
            && waits.delay.mode() == Mode::Overload
        {
            let most = if ask.second_try { self.bounds.overload_wait * 2 } else { self.bounds.overload_wait };
            if wait > most && line.ahead >= 2 * self.bounds.room.slots {
                waits.delay.refused(now);
                return Err(Refusal::Overload(wait));
            }
        }
        let left = ask.deadline.saturating_duration_since(now);
        if left.is_zero() || wait >= left && !ask.second_try { Err(Refusal::TooLate(wait)) } else { Ok(()) }
    }

    fn line(&self, lane: &Lane, counts: &Counts) -> Line {
        let (seen, room) = (counts.see(), self.bounds.room);
        let tenancy = self.tenancies.get(&lane.tenant.id);
        let (functions, tenants) = (tenancy.map_or(0, |tenancy| tenancy.lanes.waiting()), self.tenants.waiting());
        let cap = lane.cap().min(room.permits);
        let spare = lane.tenant.computing() == 0 && seen.computing() < room.slots + self.bounds.spare;
        Line {
            ahead: self.waits.get(&lane.id).map_or(0, |waits| waits.new.len()),
            service: lane.service.get(),
            stay: lane.stay.get(),
            cap,
            sharers: functions.max(1) * (tenants + usize::from(functions == 0)).max(1),
            backlog: if spare { Duration::ZERO } else { Duration::from_nanos(self.backlog) },
            slots: room.slots,
            slot_free: spare || seen.computing() < room.slots,
            cap_free: lane.inside.get() < cap && seen.inside() < room.permits,
        }
    }

    /// How many calls more than may wait there are in an overloaded queue.
    pub(super) fn surplus(&self, id: u64, counts: &Counts) -> usize {
        let Some(waits) = self.waits.get(&id) else { return 0 };
        let line = self.line(&waits.lane, counts);
        let each = Line { ahead: 0, slot_free: false, ..line }.wait().max(Duration::from_nanos(1));
        let most = self.bounds.overload_wait.as_nanos() / each.as_nanos();
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(2 * self.bounds.room.slots);
        waits.new.len().saturating_sub(most)
    }
}

/// So many percent of it, at least one.
pub(super) fn part(whole: usize, percent: usize) -> usize {
    (whole.saturating_mul(percent) / 100).max(1).min(whole)
}
