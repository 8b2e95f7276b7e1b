//! What an instance may take, and what all of them may take together.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use wasmtime::ResourceLimiter;

use super::Config;

/// Linear memory of all instances of this node.
pub(super) struct Budget {
    most: u64,
    used: AtomicU64,
}

impl Budget {
    pub(super) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most, used: AtomicU64::new(0) })
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.most;
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Half of the memory that this process may use.
pub(super) fn half_of_the_machine() -> u64 {
    let of_cgroup = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let of_cgroup = of_cgroup.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(u64::MAX);
    let memory = rustix::system::sysinfo();
    let installed = memory.totalram.saturating_mul(u64::from(memory.mem_unit));
    (installed.min(of_cgroup) / 2).max(256 << 20)
}

/// A limit that a guest ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The function's own memory.
    Memory,
    /// The memory of all functions on this node.
    NodeMemory,
    /// Elements of a table.
    Table,
}

/// What one instance may take.
pub(super) struct Limits {
    memory: u64,
    used: u64,
    table_elements: usize,
    objects: usize,
    budget: Arc<Budget>,
    refused: Option<Refused>,
}

impl Limits {
    pub(super) fn new(memory: u64, config: &Config, budget: Arc<Budget>) -> Self {
        Self {
            memory,
            used: 0,
            table_elements: config.table_elements,
            objects: config.core_instances,
            budget,
            refused: None,
        }
    }

    /// The limit that was hit last, if one was.
    pub(super) const fn refused(&self) -> Option<Refused> {
        self.refused
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current) as u64;
        if self.used.saturating_add(growth) > self.memory {
            self.refused = Some(Refused::Memory);
            return Ok(false);
        }
        if !self.budget.take(growth) {
            self.refused = Some(Refused::NodeMemory);
            return Ok(false);
        }
        self.used += growth;
        Ok(true)
    }

    // `memory_grow_failed` gives nothing back: it is also called for growths that were never charged, and a guest could
    // use those to slip below its limit.

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.table_elements;
        if !fits {
            self.refused = Some(Refused::Table);
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        self.objects
    }

    fn tables(&self) -> usize {
        self.objects
    }

    fn memories(&self) -> usize {
        self.objects
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.budget.give_back(self.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_stays_within_its_memory_and_gives_it_back() {
        let budget = Budget::new(1000);
        let mut limits = Limits::new(300, &Config::default(), budget.clone());
        assert!(limits.memory_growing(0, 200, None).unwrap());
        assert!(!limits.memory_growing(200, 301, None).unwrap());
        assert_eq!(limits.refused(), Some(Refused::Memory));
        assert!(limits.memory_growing(0, 100, None).unwrap(), "a second memory counts too");
        assert_eq!(budget.used(), 300);
        drop(limits);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn all_instances_stay_within_the_nodes_memory() {
        let budget = Budget::new(500);
        let config = Config::default();
        let mut one = Limits::new(400, &config, budget.clone());
        let mut two = Limits::new(400, &config, budget);
        assert!(one.memory_growing(0, 400, None).unwrap());
        assert!(!two.memory_growing(0, 400, None).unwrap());
        assert_eq!(two.refused(), Some(Refused::NodeMemory));
        drop(one);
        assert!(two.memory_growing(0, 400, None).unwrap());
    }
}
