//! `body-limit`: how large a request may be.

use bytesize::ByteSize;
use serde::Deserialize;

use super::{Filter, Parameter, Wrong};
use crate::stack::Gateways;

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    size: ByteSize,
}

/// The filter.
#[derive(Debug)]
pub(crate) struct BodyLimit {
    /// In bytes.
    pub(crate) size: u64,
}

impl Filter for BodyLimit {
    const NAME: &'static str = "body-limit";
    const SUMMARY: &'static str = "Refuses larger requests with 413: before a byte is read where a length is declared, \
        else as soon as the limit is passed. Only ever lowers the gateway's own limit.";
    const EXAMPLE: &'static str = r#"{ use = "body-limit", size = "1MiB" }"#;
    const PARAMETERS: &'static [Parameter] = &[Parameter {
        name: "size",
        form: r#""1MiB""#,
        default: None,
        meaning: "the largest body; a number is bytes, 0 allows none at all",
    }];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        Ok(Self { size: settings.size.as_u64() })
    }
}
