//! What the node knows of one function and of one namespace while calls of theirs may come.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use onrush_types::{FunctionName, Label};

use crate::estimate::Mean;

/// One function: all its versions share it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) id: u64,
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) inside: Taken,
    /// How many may be inside, as of the newest call.
    cap: AtomicUsize,
    /// What a call computes in all, what it computes until it pauses, and how long it is in the house.
    pub(crate) service: Mean,
    pub(crate) slice: Mean,
    pub(crate) stay: Mean,
}

/// One namespace.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) id: u64,
    /// Calls inside, and above them those that compute: both change with one operation.
    calls: AtomicU64,
}

const COMPUTES: u64 = 1 << 32;

impl Tenant {
    /// Calls that hold a permit.
    pub(crate) fn inside(&self) -> usize {
        (self.calls.load(Ordering::SeqCst) % COMPUTES) as usize
    }

    /// Calls that hold a slot.
    pub(crate) fn computing(&self) -> usize {
        (self.calls.load(Ordering::SeqCst) / COMPUTES) as usize
    }

    /// A call gives its slot back and stays.
    pub(crate) fn pause(&self) {
        self.calls.fetch_sub(COMPUTES, Ordering::SeqCst);
    }

    /// A call that is inside has a slot again.
    pub(crate) fn resume(&self) {
        self.calls.fetch_add(COMPUTES, Ordering::SeqCst);
    }

    fn try_take(&self, most: usize) -> bool {
        let change = |now| ((now % COMPUTES) < most as u64).then_some(now + 1 + COMPUTES);
        self.calls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).is_ok()
    }

    fn give_back(&self, computing: bool) {
        self.calls.fetch_sub(1 + if computing { COMPUTES } else { 0 }, Ordering::SeqCst);
    }
}

/// How many calls hold a permit.
#[derive(Debug, Default)]
pub(crate) struct Taken(AtomicUsize);

impl Taken {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn try_take(&self, most: usize) -> bool {
        let change = |now| (now < most).then_some(now + 1);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).is_ok()
    }

    pub(crate) fn give_back(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Lane {
    pub(crate) fn cap(&self) -> usize {
        self.cap.load(Ordering::Relaxed)
    }

    pub(crate) fn set_cap(&self, cap: usize) {
        if self.cap() != cap {
            self.cap.store(cap, Ordering::Relaxed);
        }
    }

    /// One more call is inside and computes, if function and namespace have room.
    pub(crate) fn try_take(&self, tenant_most: usize) -> bool {
        if !self.tenant.try_take(tenant_most) {
            return false;
        }
        let taken = self.inside.try_take(self.cap());
        if !taken {
            self.tenant.give_back(true);
        }
        taken
    }

    /// A call is inside no longer; `computing` if it was until now.
    pub(crate) fn give_back(&self, computing: bool) {
        self.inside.give_back();
        self.tenant.give_back(computing);
    }
}

/// Everybody by name. Who is not needed any more is forgotten in time.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    next: u64,
    lanes: HashMap<FunctionName, Weak<Lane>>,
    tenants: HashMap<Label, Weak<Tenant>>,
}

impl Lanes {
    pub(crate) fn of(&mut self, function: &FunctionName) -> Arc<Lane> {
        if let Some(lane) = self.lanes.get(function).and_then(Weak::upgrade) {
            return lane;
        }
        self.next += 2;
        let tenant = self.tenants.get(&function.namespace).and_then(Weak::upgrade).unwrap_or_else(|| {
            forget_some(&mut self.tenants);
            let tenant = Arc::new(Tenant { id: self.next, calls: AtomicU64::new(0) });
            self.tenants.insert(function.namespace.clone(), Arc::downgrade(&tenant));
            tenant
        });
        let lane = Arc::new(Lane {
            id: self.next + 1,
            tenant,
            inside: Taken::default(),
            cap: AtomicUsize::new(usize::MAX),
            service: Mean::default(),
            slice: Mean::default(),
            stay: Mean::default(),
        });
        forget_some(&mut self.lanes);
        self.lanes.insert(function.clone(), Arc::downgrade(&lane));
        lane
    }
}

/// Now and then: when the table has grown to twice what it was.
fn forget_some<K: Eq + Hash, V>(table: &mut HashMap<K, Weak<V>>) {
    if table.len().is_power_of_two() {
        table.retain(|_, known| known.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(namespace: &str, name: &str) -> FunctionName {
        FunctionName::new(namespace.parse().unwrap(), name.parse().unwrap())
    }

    #[test]
    fn functions_of_a_namespace_share_it_and_nothing_is_kept_for_ever() {
        let mut lanes = Lanes::default();
        let (a, b, c) = (lanes.of(&function("x", "a")), lanes.of(&function("x", "b")), lanes.of(&function("y", "a")));
        assert!(Arc::ptr_eq(&a.tenant, &b.tenant) && !Arc::ptr_eq(&a.tenant, &c.tenant));
        assert!(Arc::ptr_eq(&a, &lanes.of(&function("x", "a"))));
        for number in 0..1_000 {
            lanes.of(&function("z", &format!("f-{number}")));
        }
        assert!(lanes.lanes.len() < 10, "{}", lanes.lanes.len());
    }

    #[test]
    fn a_permit_needs_room_in_the_function_and_in_the_namespace() {
        let mut lanes = Lanes::default();
        let (a, b) = (lanes.of(&function("x", "a")), lanes.of(&function("x", "b")));
        a.set_cap(1);
        assert!(a.try_take(2) && !a.try_take(2));
        assert!(b.try_take(2) && !b.try_take(2), "the namespace is full");
        a.give_back(true);
        assert!(b.try_take(2));
        assert_eq!((a.inside.get(), b.inside.get(), a.tenant.inside(), a.tenant.computing()), (0, 2, 2, 2));
        b.tenant.pause();
        b.give_back(false);
        assert_eq!((b.tenant.inside(), b.tenant.computing()), (1, 1));
    }
}
