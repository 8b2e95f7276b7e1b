//! Wire and disk formats, and their conversion to and from the words of `types`, `catalog` and `invoke`.
//!
//! Knows: every message that crosses a socket or lands on disk, and which version of it.
//! Does not know: openraft, RocksDB, how anything is decided.
//!
//! Generated types go no further than this crate, with two exceptions (`docs/adr/0003-where-prost-types-end.md`):
//! `consensus` converts Raft's records itself, because openraft must not enter here, and `api` answers the public
//! services itself.
pub mod artifacts;
pub mod catalog;
pub mod control;
mod error;

pub mod peers;
pub mod worker;

pub use self::error::{FormatError, call_status, code_status, status_code};

/// Generated from `proto/onrush/internal/v1`: what nodes say to each other and keep on disk.
#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod internal {
    tonic::include_proto!("onrush.internal.v1");
}

/// Generated from `proto/onrush/v1`: the public API.
#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("onrush.v1");
}

/// The public API's descriptors, for reflection and for the check against breaking changes.
pub const PUBLIC_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.bin"));
