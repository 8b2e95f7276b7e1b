//! What a function is: its code, how it runs and what it may use.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Digest;

/// What runs a function's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// A WebAssembly component.
    Wasm,
    /// A program started as a process.
    Process,
}

impl RuntimeKind {
    /// As written in manifests and replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Process => "process",
        }
    }
}

/// Bytes in the artifact store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// sha256 of the bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
}

/// What one call, and one function, may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bounds the whole call, queueing included. 1 ms to 15 min.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Linear memory of one instance, in bytes. 64 KiB to 4 GiB.
    pub memory: u64,
    /// Calls at once in the whole cluster; none means no cap of its own.
    pub concurrency: Option<u32>,
    /// Calls per instance before it is dropped; 0 means a fresh instance for each call.
    pub reuse: u32,
    /// With streaming an idle limit takes the timeout's place once the reply's head is sent.
    pub streaming: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), memory: 128 << 20, concurrency: None, reuse: 0, streaming: false }
    }
}

/// A function version's immutable description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSpec {
    /// What runs it.
    pub runtime: RuntimeKind,
    /// Its code.
    pub artifact: ArtifactRef,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Environment variables the code sees.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Names of the secrets given to it.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Hosts it may call; empty means none.
    #[serde(default)]
    pub egress: Vec<String>,
    /// Whether running a call twice is harmless, so that it may be retried after it may have run.
    #[serde(default)]
    pub idempotent: bool,
}

/// One thing that is wrong with a spec: which field, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct SpecProblem {
    /// The field as the manifest spells it.
    pub field: &'static str,
    /// What is wrong and what is allowed.
    pub why: String,
}

impl FunctionSpec {
    /// A spec with every default.
    pub fn new(runtime: RuntimeKind, artifact: ArtifactRef) -> Self {
        Self {
            runtime,
            artifact,
            limits: Limits::default(),
            environment: BTreeMap::new(),
            secrets: Vec::new(),
            egress: Vec::new(),
            idempotent: false,
        }
    }

    /// Everything that is wrong with it; empty means that it may be committed.
    ///
    /// Checked before a command is proposed *and* inside `apply`, so that no replica ever holds a spec that its worker
    /// cannot run.
    pub fn problems(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let mut check = |ok: bool, field, why: String| {
            if !ok {
                problems.push(SpecProblem { field, why });
            }
        };
        let Limits { timeout, memory, concurrency, .. } = &self.limits;
        let in_range = (Duration::from_millis(1)..=Duration::from_secs(900)).contains(timeout);
        check(in_range, "timeout", format!("must be between 1ms and 15m, not {timeout:?}"));
        let in_range = (64 << 10..=4 << 30).contains(memory);
        check(in_range, "memory", format!("must be between 64KiB and 4GiB, not {memory} bytes"));
        let positive = concurrency.is_none_or(|calls| calls > 0);
        check(positive, "concurrency", "must be at least 1; leave it out for no cap".to_owned());
        check(self.artifact.size > 0, "source", "the artifact is empty".to_owned());
        for (key, value) in &self.environment {
            let plain = !key.is_empty() && !key.contains(['=', '\0']) && !value.contains('\0');
            check(plain, "environment", format!("{key:?}: a name is not empty and has no '=' or NUL, a value no NUL"));
        }
        let bytes: usize = self.environment.iter().map(|(key, value)| key.len() + value.len()).sum();
        check(bytes <= 64 << 10, "environment", format!("at most 64KiB in all, not {bytes} bytes"));
        check(self.egress.len() <= 256, "egress", format!("at most 256 entries, not {}", self.egress.len()));
        check(self.secrets.len() <= 256, "secrets", format!("at most 256 entries, not {}", self.secrets.len()));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> FunctionSpec {
        FunctionSpec::new(RuntimeKind::Wasm, ArtifactRef { digest: Digest([7; 32]), size: 1 })
    }

    #[test]
    fn defaults_have_no_problems() {
        assert_eq!(spec().problems(), []);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let mut bad = spec();
        bad.limits.timeout = Duration::ZERO;
        bad.limits.memory = 1;
        bad.limits.concurrency = Some(0);
        bad.artifact.size = 0;
        bad.environment.insert("A=B".into(), String::new());
        let fields: Vec<_> = bad.problems().iter().map(|p| p.field).collect();
        assert_eq!(fields, ["timeout", "memory", "concurrency", "source", "environment"]);
    }
}
