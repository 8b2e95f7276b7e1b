//! Turns an artifact into answers.
//!
//! Knows: how an artifact is checked, made ready and called.
//! Does not know: which node, which catalog, who calls.
mod contract;
#[cfg(feature = "test-util")]
pub mod fake;
#[cfg(feature = "wasm")]
pub mod wasm;

pub use self::contract::{Artifact, GuestLog, Inspection, Permit, PrepareError, Prepared, Runtime};
