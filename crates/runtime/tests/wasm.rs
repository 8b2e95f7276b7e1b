//! Real guests on the real runtime.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests; clippy exempts only the bodies of test functions")]
#[allow(dead_code, reason = "shared with the tests of isolation, which use other parts of it")]
#[path = "wasm/bench.rs"]
mod bench;
#[path = "wasm/bounds.rs"]
mod bounds;
#[path = "wasm/calls.rs"]
mod calls;
#[path = "wasm/compiling.rs"]
mod compiling;
#[path = "wasm/reuse.rs"]
mod reuse;
#[path = "wasm/slots.rs"]
mod slots;
#[path = "wasm/streams.rs"]
mod streams;
