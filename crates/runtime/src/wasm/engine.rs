//! The two engines, set up by the measured recipe.
//!
//! One is for 0.2 and has nothing of the asynchronous component model, which costs up to a third of a small call; one is for
//! 0.3. Each has a pool of its own.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmFeatures};

use super::{Config, Error};

/// Which version of WASI a component is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum World {
    /// `wasi:http/incoming-handler@0.2.x`.
    P2,
    /// `wasi:http/handler@0.3.x`.
    P3,
}

/// Both engines.
#[derive(Clone)]
pub(super) struct Engines {
    p2: Engine,
    p3: Engine,
}

impl Engines {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let scan = config.pagemap_scan && can_scan();
        let engine = |world| {
            let mut settings = code(world, false);
            settings.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config, world, scan)));
            Engine::new(&settings).map_err(|error| Error::Engine(format!("{error:#}")))
        };
        Ok(Self { p2: engine(World::P2)?, p3: engine(World::P3)? })
    }

    pub(super) const fn of(&self, world: World) -> &Engine {
        match world {
            World::P2 => &self.p2,
            World::P3 => &self.p3,
        }
    }

    /// Moves the epoch of both engines forward every `tick`, calling `each`. It goes on for as long as one of the
    /// engines is in use: a guest may outlive everything else of the runtime, and nothing else would ever stop it. A
    /// thread of its own: a busy scheduler must not stop the clock that keeps guests in bounds.
    pub(super) fn tick(&self, tick: Duration, mut each: impl FnMut() + Send + 'static) -> Result<(), Error> {
        let engines = [self.p2.weak(), self.p3.weak()];
        let clock = move || {
            loop {
                std::thread::sleep(tick);
                let alive = engines.iter().filter_map(wasmtime::EngineWeak::upgrade);
                if alive.map(|engine| engine.increment_epoch()).count() == 0 {
                    return;
                }
                each();
            }
        };
        let thread = std::thread::Builder::new().name("wasm-epoch".to_owned()).spawn(clock);
        thread.map(drop).map_err(|error| Error::Engine(format!("no thread for the clock of guests: {error}")))
    }
}

/// An engine that only compiles: same code, no pool.
pub(super) fn compiling(world: World) -> wasmtime::Result<Engine> {
    Engine::new(&code(world, true))
}

/// What code made by one engine needs of another to be loaded there.
pub(super) fn compatibility(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Everything that shapes the compiled code. Nothing of an operator's configuration may enter here: the compiling
/// process does not see it.
fn code(world: World, parallel: bool) -> wasmtime::Config {
    let asynchronous = world == World::P3;
    let mut config = wasmtime::Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(asynchronous)
        .wasm_component_model_async(asynchronous)
        .wasm_features(WasmFeatures::MEMORY64 | WasmFeatures::MULTI_MEMORY, false)
        // Four gigabytes of address space for each memory make bounds checks free.
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .parallel_compilation(parallel);
    config
}

fn pool(config: &Config, world: World, scan: bool) -> PoolingAllocationConfig {
    let instances = config.pool();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        // A guest built by rustc has four core instances and two tables; others share what is left.
        .total_core_instances(instances.saturating_mul(4))
        .total_tables(instances.saturating_mul(2))
        .total_memories(instances)
        // Each task of a 0.3 guest may need a stack.
        .total_stacks(if world == World::P3 { instances.saturating_mul(2) } else { instances })
        .max_component_instance_size(10 << 20)
        .max_core_instance_size(10 << 20)
        .max_tables_per_module(8)
        .max_memory_size(4 << 30)
        .table_elements(config.table_elements)
        .max_unused_warm_slots(config.warm_places())
        .decommit_batch_size(16);
    if scan {
        let kept = usize::try_from(config.keep_resident).unwrap_or(usize::MAX);
        pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(kept).table_keep_resident(16 << 10);
    } else {
        // Without the scan everything that is kept is cleared each time: keep little.
        pool.pagemap_scan(Enabled::No).linear_memory_keep_resident(16 << 10).table_keep_resident(4 << 10);
    }
    pool
}

/// The scan misses dirty pages that were swapped out (wasmtime#14357): only where the kernel has it and no swap is on.
fn can_scan() -> bool {
    let swaps = std::fs::read_to_string("/proc/swaps");
    PoolingAllocationConfig::is_pagemap_scan_available() && swaps.is_ok_and(|swaps| !swap_is_active(&swaps))
}

/// `/proc/swaps` is a head line and a line for each active swap.
fn swap_is_active(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_read_from_the_kernels_table() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!swap_is_active(head));
        assert!(swap_is_active(&format!("{head}/swapfile file 1048572 0 -2\n")));
    }

    #[test]
    fn code_of_the_compiling_engine_fits_the_serving_one() {
        let engines = Engines::new(&Config { instances: 4, ..Config::default() }).unwrap();
        for world in [World::P2, World::P3] {
            assert_eq!(compatibility(&compiling(world).unwrap()), compatibility(engines.of(world)));
        }
        assert_ne!(compatibility(engines.of(World::P2)), compatibility(engines.of(World::P3)));
    }
}
