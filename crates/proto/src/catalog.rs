//! Commands, outcomes and snapshots: their words to and from the messages of `onrush/internal/v1/catalog.proto`.
//!
//! Whatever is kept on disk is sealed with a format version, see [`encode_stored`]. Nothing here panics on any bytes.
mod command;
mod route;
mod rows;
mod spec;
mod stored;

pub use self::{
    rows::{decode_catalog, encode_catalog, fill_catalog, head_row, request_row, retired_row},
    stored::{FORMAT, decode_stored, encode_stored},
};

use crate::FormatError;

/// The error for a field that is missing or wrong.
pub(crate) const fn wrong(what: &'static str, field: &'static str) -> FormatError {
    FormatError::Field { what, field }
}
