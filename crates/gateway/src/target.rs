//! Which version of which function a request means.

use std::{sync::Arc, time::Duration};

use onrush_catalog::{Catalog, FunctionVersion};
use onrush_invoke::{InvokeError, Target};
use onrush_types::{Code, Digest, FunctionRef, Label, Limits, Qualifier};

/// A call's target with the limits that the gateway watches.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) target: Target,
    pub(crate) timeout: Duration,
    pub(crate) streaming: bool,
    /// Whether calling it twice is harmless.
    pub(crate) idempotent: bool,
    /// Its code.
    pub(crate) digest: Digest,
}

impl Resolved {
    pub(crate) fn new(target: Target, limits: &Limits) -> Self {
        let (idempotent, digest) = (false, Digest([0; 32]));
        Self { target, timeout: limits.timeout, streaming: limits.streaming, idempotent, digest }
    }
}

/// The version that `reference` means in this catalog.
pub(crate) fn resolve(catalog: &Catalog, reference: &str, namespace: &Label) -> Result<Resolved, InvokeError> {
    let wanted = FunctionRef::parse_in(reference, namespace)
        .map_err(|error| InvokeError::refused(Code::BadRequest, error.to_string()))?;
    find(catalog, &wanted)
}

/// The version that is meant.
pub(crate) fn find(catalog: &Catalog, wanted: &FunctionRef) -> Result<Resolved, InvokeError> {
    catalog.resolve(wanted).map(of).ok_or_else(|| missing(catalog, wanted))
}

fn of(version: &Arc<FunctionVersion>) -> Resolved {
    // A worker needs no newer catalog than the one that made the version: later changes elsewhere must not hold it up.
    let target = Target { function: version.function.clone(), version: version.number, revision: version.revision };
    let resolved = Resolved::new(target, &version.spec.limits);
    Resolved { idempotent: version.spec.idempotent, digest: version.spec.artifact.digest, ..resolved }
}

fn missing(catalog: &Catalog, wanted: &FunctionRef) -> InvokeError {
    let name = &wanted.function;
    if catalog.cluster.is_none() {
        let wait = "this node has no catalog yet: it is still joining its cluster; see /readyz";
        return InvokeError::refused(Code::Unavailable, wait).retry_after(Duration::from_secs(1));
    }
    let message = match (catalog.functions.get(name), &wanted.qualifier) {
        (None, _) => format!(
            "there is no function {name}; `onrush list` shows those that exist, `onrush deploy {} -n {}` adds one",
            name.name, name.namespace
        ),
        (Some(function), Qualifier::Alias(alias)) => {
            format!("function {name} has no alias {alias}; its newest version is {}", function.latest.number)
        }
        (Some(function), qualifier) => {
            format!("function {name} has no version {qualifier}; its newest one is {}", function.latest.number)
        }
    };
    InvokeError::refused(Code::NotFound, message)
}
