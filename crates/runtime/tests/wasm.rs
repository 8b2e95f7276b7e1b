//! Real guests on the real runtime.
#![allow(missing_docs, reason = "tests")]
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
#[path = "wasm/streams.rs"]
mod streams;
