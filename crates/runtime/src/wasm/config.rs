//! What an operator can set.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// Settings of the wasm runtime. Limits of one function (time, memory, reuse) are part of its version, not of this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Instances that can live at once, per world (0.2 and 0.3 each have a pool). 0: 64 for each core, between 256
    /// and 2,048.
    pub instances: u32,
    /// How much of the pool one function may hold, in percent.
    pub function_share: u8,
    /// How often a computing guest gives way to others, and how late a limit of time can strike.
    #[serde(with = "humantime_serde")]
    pub tick: Duration,
    /// Functions whose calls usually compute for at most this long do so on the thread that took the request: handing a
    /// call over costs as much as a tiny function itself. A call that takes longer after all moves to the guests'
    /// threads. Zero: every call is handed over.
    #[serde(with = "humantime_serde")]
    pub quick: Duration,
    /// Linear memory of all instances together, in bytes. 0: half of the machine's memory.
    pub memory_total: u64,
    /// Elements of one table.
    pub table_elements: usize,
    /// Core instances, tables and memories that one instance of a component may have, each.
    pub core_instances: usize,
    /// Handles that a guest may hold at once.
    pub handles: usize,
    /// Bytes that a guest may hand over in one call of the host.
    pub host_call_bytes: usize,
    /// Random bytes that a guest may ask for at once.
    pub random_bytes: u64,
    /// Bytes of one header list as the host holds it; about twice as many as on the wire.
    pub header_bytes: usize,
    /// The largest piece of a reply's body, in bytes. Two of them are buffered for each call.
    pub reply_chunk: usize,
    /// Replies that are complete at once and have at most this many bytes travel whole.
    pub whole_reply: usize,
    /// The longest line of a guest's output, in bytes; longer ones are cut.
    pub log_line: usize,
    /// Idle instances kept for each version with `reuse`.
    pub idle_instances: usize,
    /// How long such an instance is kept.
    #[serde(with = "humantime_serde")]
    pub idle_time: Duration,
    /// With `streaming`: how long a reply may make no progress once its head is sent.
    #[serde(with = "humantime_serde")]
    pub stream_idle: Duration,
    /// Whether dirty pages may be found with `PAGEMAP_SCAN`. Only used where the kernel has it and no swap is active.
    pub pagemap_scan: bool,
    /// Memory that a place in the pool keeps from one instance to the next, in bytes: what the one before wrote is
    /// cleared, which costs a fifth of giving it back to the system and having it faulted in again. Only where dirty pages
    /// can be found; without that little is kept.
    pub keep_resident: u64,
    /// What all places together keep so, per world, in bytes.
    pub keep_resident_total: u64,
    /// The largest component, in bytes.
    pub component_bytes: u64,
    /// How long compiling one component may take.
    #[serde(with = "humantime_serde")]
    pub compile_time: Duration,
    /// Address space of the compiling process, in bytes.
    pub compile_memory: u64,
    /// Components that may wait to be compiled.
    pub compile_queue: usize,
    /// Compiled code kept on disk, in bytes. The least recently used goes first.
    pub compiled_bytes: u64,
    /// Who compiles. Set by the binary, not by a file.
    #[serde(skip)]
    pub compiler: Compiler,
}

/// Who compiles components.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Compiler {
    /// A thread of this process, at low priority. Nobody can stop it: for tests and for components one trusts.
    #[default]
    InProcess,
    /// `EXE compile-component IN OUT`, at low priority, killed when it takes too long. See
    /// [`crate::wasm::compile_component`].
    Child(PathBuf),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            instances: 0,
            function_share: 90,
            tick: Duration::from_millis(5),
            quick: Duration::from_micros(500),
            memory_total: 0,
            table_elements: 100_000,
            core_instances: 256,
            handles: 1024,
            host_call_bytes: 16 << 20,
            random_bytes: 64 << 10,
            header_bytes: 128 << 10,
            reply_chunk: 128 << 10,
            whole_reply: 64 << 10,
            log_line: 8 << 10,
            idle_instances: 64,
            idle_time: Duration::from_secs(10),
            stream_idle: Duration::from_secs(60),
            pagemap_scan: true,
            keep_resident: 4 << 20,
            keep_resident_total: 256 << 20,
            component_bytes: 64 << 20,
            compile_time: Duration::from_secs(120),
            compile_memory: 4 << 30,
            compile_queue: 64,
            compiled_bytes: 2 << 30,
            compiler: Compiler::InProcess,
        }
    }
}

impl Config {
    /// Instances of one pool on this machine.
    pub(super) fn pool(&self) -> u32 {
        if self.instances > 0 {
            return self.instances;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        u32::try_from(cores * 64).unwrap_or(u32::MAX).clamp(256, 2048)
    }

    /// Places that keep the memory of their last instance.
    pub(super) fn warm_places(&self) -> u32 {
        let most = self.keep_resident_total / self.keep_resident.max(1);
        u32::try_from(most).unwrap_or(u32::MAX).clamp(1, 256).min(self.pool())
    }

    /// Calls of one function that can be inside at once.
    pub(super) fn function_capacity(&self) -> usize {
        let share = u64::from(self.pool()) * u64::from(self.function_share.min(100)) / 100;
        usize::try_from(share).unwrap_or(usize::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_places_keep_is_bounded_in_all() {
        let config = Config { instances: 512, keep_resident: 4 << 20, ..Config::default() };
        assert_eq!(Config { keep_resident_total: 256 << 20, ..config.clone() }.warm_places(), 64);
        assert_eq!(Config { keep_resident_total: 0, ..config.clone() }.warm_places(), 1);
        assert_eq!(Config { keep_resident: 0, ..config }.warm_places(), 256);
    }

    #[test]
    fn no_function_may_hold_the_whole_pool() {
        let config = Config { instances: 100, ..Config::default() };
        assert_eq!((config.pool(), config.function_capacity()), (100, 90));
        let tiny = Config { instances: 1, ..Config::default() };
        assert_eq!(tiny.function_capacity(), 1, "a pool of one still serves");
        assert!((256..=2048).contains(&Config::default().pool()));
    }
}
