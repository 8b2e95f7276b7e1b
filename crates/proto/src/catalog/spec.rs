//! Functions: names, artifacts, specs.

use std::time::Duration;

use onrush_types::{ArtifactRef, Digest, FunctionName, FunctionSpec, Limits, RuntimeKind};

use super::wrong;
use crate::{FormatError, internal};

impl From<&FunctionName> for internal::FunctionName {
    fn from(name: &FunctionName) -> Self {
        Self { namespace: name.namespace.to_string(), name: name.name.to_string() }
    }
}

impl TryFrom<internal::FunctionName> for FunctionName {
    type Error = FormatError;

    fn try_from(wire: internal::FunctionName) -> Result<Self, FormatError> {
        let namespace = wire.namespace.parse().map_err(|_| wrong("FunctionName", "namespace"))?;
        let name = wire.name.parse().map_err(|_| wrong("FunctionName", "name"))?;
        Ok(Self { namespace, name })
    }
}

impl From<ArtifactRef> for internal::ArtifactRef {
    fn from(artifact: ArtifactRef) -> Self {
        Self { digest: artifact.digest.0.to_vec().into(), size: artifact.size }
    }
}

impl TryFrom<internal::ArtifactRef> for ArtifactRef {
    type Error = FormatError;

    fn try_from(wire: internal::ArtifactRef) -> Result<Self, FormatError> {
        let digest = wire.digest.as_ref().try_into().map_err(|_| wrong("ArtifactRef", "digest"))?;
        Ok(Self { digest: Digest(digest), size: wire.size })
    }
}

impl From<&FunctionSpec> for internal::FunctionSpec {
    fn from(spec: &FunctionSpec) -> Self {
        let Limits { timeout, memory, concurrency, reuse, streaming } = spec.limits;
        Self {
            runtime: spec.runtime.name().to_owned(),
            artifact: Some(spec.artifact.into()),
            // The rules take at most 15 minutes; anything beyond saturates and is refused by them.
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            memory_bytes: memory,
            concurrency: concurrency.unwrap_or(0),
            reuse,
            streaming,
            idempotent: spec.idempotent,
            environment: spec.environment.clone(),
            secrets: spec.secrets.clone(),
            egress: spec.egress.clone(),
        }
    }
}

impl TryFrom<internal::FunctionSpec> for FunctionSpec {
    type Error = FormatError;

    fn try_from(wire: internal::FunctionSpec) -> Result<Self, FormatError> {
        const WHAT: &str = "FunctionSpec";
        let runtime = [RuntimeKind::Wasm, RuntimeKind::Process].into_iter().find(|kind| kind.name() == wire.runtime);
        Ok(Self {
            runtime: runtime.ok_or_else(|| wrong(WHAT, "runtime"))?,
            artifact: wire.artifact.ok_or_else(|| wrong(WHAT, "artifact"))?.try_into()?,
            limits: Limits {
                timeout: Duration::from_millis(wire.timeout_ms),
                memory: wire.memory_bytes,
                concurrency: (wire.concurrency > 0).then_some(wire.concurrency),
                reuse: wire.reuse,
                streaming: wire.streaming,
            },
            environment: wire.environment,
            secrets: wire.secrets,
            egress: wire.egress,
            idempotent: wire.idempotent,
        })
    }
}
