//! `concurrency-limit`: so many calls at once.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use onrush_invoke::InvokeError;
use onrush_types::Code;
use serde::Deserialize;

use super::{Filter, Parameter, Wrong};
use crate::stack::Gateways;

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    limit: NonZeroU32,
}

/// The filter.
#[derive(Debug)]
pub(crate) struct ConcurrencyLimit {
    limit: u32,
    running: Arc<AtomicU32>,
}

/// A call's place; given back when it is dropped, which is after the reply's last byte.
#[derive(Debug)]
pub struct Permit(Arc<AtomicU32>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Filter for ConcurrencyLimit {
    const NAME: &'static str = "concurrency-limit";
    const SUMMARY: &'static str = "Lets so many calls run at once through one gateway, counted to the reply's last byte; \
        more get 503 and `Retry-After`.";
    const EXAMPLE: &'static str = r#"{ use = "concurrency-limit", limit = 500 }"#;
    const PARAMETERS: &'static [Parameter] =
        &[Parameter { name: "limit", form: "500", default: None, meaning: "calls at once; at least 1" }];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        Ok(Self { limit: settings.limit.get(), running: Arc::default() })
    }
}

impl ConcurrencyLimit {
    pub(crate) fn enter(&self) -> Result<Permit, InvokeError> {
        let more = |running| (running < self.limit).then_some(running + 1);
        if self.running.fetch_update(Relaxed, Relaxed, more).is_ok() {
            return Ok(Permit(Arc::clone(&self.running)));
        }
        let message = format!("{} calls run on this route already (filter concurrency-limit)", self.limit);
        Err(InvokeError::refused(Code::Overloaded, message).retry_after(Duration::from_secs(1)))
    }
}
