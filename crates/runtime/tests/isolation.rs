//! Nothing that one call leaves behind is there for the next, with every reset of the pool in use.
//!
//! That these tests can fail is shown by `control.rs`, and by a kernel whose `madvise(MADV_DONTNEED)` does nothing (a
//! seccomp filter that answers 0 for it, and ENOSYS for `process_madvise`): then every test of `fresh.rs` fails.
#![cfg(feature = "wasm")]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests; clippy exempts only the bodies of test functions")]
#[allow(dead_code, reason = "shared with the other tests of the runtime, which use other parts of it")]
#[path = "wasm/bench.rs"]
mod bench;
#[path = "isolation/control.rs"]
mod control;
#[path = "isolation/fresh.rs"]
mod fresh;
#[path = "isolation/neighbours.rs"]
mod neighbours;
#[path = "isolation/probe.rs"]
mod probe;
#[path = "isolation/reused.rs"]
mod reused;
