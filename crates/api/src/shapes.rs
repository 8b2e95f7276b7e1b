//! The JSON of functions, routes, nodes and log lines: what REST answers and what `onrush ... -o json` prints.

mod route;

use std::{collections::BTreeMap, time::Duration};

use onrush_proto::v1;
use serde::Serialize;

pub use self::route::{FilterShape, ParameterShape, RouteSetShape, RouteShape};

/// A function: its newest version at the top, all of them where they were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionShape {
    /// Its name.
    pub name: String,
    /// The tenant it belongs to.
    pub namespace: String,
    /// The revision that changed it last; send it as `expected_revision` to change only this state.
    pub changed_revision: u64,
    /// The newest version.
    #[serde(flatten)]
    pub latest: VersionShape,
    /// Ascending; only where one function was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionShape>,
}

/// A version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionShape {
    /// Its number.
    pub version: u64,
    /// The revision that made it.
    pub revision: u64,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
    /// `wasm` or `process`.
    pub runtime: String,
    /// sha256 of its code.
    pub digest: String,
    /// Bytes of its code.
    pub size: u64,
    /// Bounds the whole call, such as `30s`.
    pub timeout: String,
    /// Memory of one instance, such as `128MiB`.
    pub memory: String,
    /// Calls at once in the whole cluster.
    pub concurrency: Option<u32>,
    /// Calls per instance.
    pub reuse: u32,
    /// An idle limit takes the timeout's place after the reply's head.
    pub streaming: bool,
    /// Running a call twice is harmless.
    pub idempotent: bool,
    /// What it sees in its environment.
    pub environment: BTreeMap<String, String>,
    /// Names of the secrets it gets.
    pub secrets: Vec<String>,
    /// Hosts it may call.
    pub egress: Vec<String>,
}

impl From<v1::Function> for FunctionShape {
    fn from(function: v1::Function) -> Self {
        Self {
            name: function.name,
            namespace: function.namespace,
            changed_revision: function.changed_revision,
            latest: function.latest.unwrap_or_default().into(),
            versions: function.versions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::FunctionVersion> for VersionShape {
    fn from(version: v1::FunctionVersion) -> Self {
        let spec = version.spec.unwrap_or_default();
        Self {
            version: version.version,
            revision: version.revision,
            created_ms: version.created_ms,
            runtime: spec.runtime,
            digest: spec.digest,
            size: spec.size,
            timeout: humantime::format_duration(Duration::from_millis(spec.timeout_ms)).to_string(),
            memory: size(spec.memory_bytes),
            concurrency: Some(spec.concurrency).filter(|calls| *calls > 0),
            reuse: spec.reuse,
            streaming: spec.streaming,
            idempotent: spec.idempotent,
            environment: spec.environment,
            secrets: spec.secrets,
            egress: spec.egress,
        }
    }
}

/// Bytes in the largest unit that says them exactly: it reads back as the same number.
pub fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |shift: &u32| bytes != 0 && bytes.trailing_zeros() >= *shift;
    match units.into_iter().find(|(shift, _)| fits(shift)) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

/// How a deploy ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeployedShape {
    /// The function with its newest version.
    #[serde(flatten)]
    pub function: FunctionShape,
    /// The catalog's revision after it.
    pub catalog_revision: u64,
    /// False where the newest version was the same already.
    pub changed: bool,
    /// Live nodes that had not applied it in time.
    pub laggards: Vec<String>,
}

impl From<v1::DeployDone> for DeployedShape {
    fn from(done: v1::DeployDone) -> Self {
        Self {
            function: done.function.unwrap_or_default().into(),
            catalog_revision: done.revision,
            changed: done.changed,
            laggards: done.laggards,
        }
    }
}

/// The cluster as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusShape {
    /// Its id; none before it is formed.
    pub cluster: Option<String>,
    /// The leader's id, as far as the node knows.
    pub leader: Option<u64>,
    /// The revision of the node's catalog.
    pub revision: u64,
    /// Whether writes can succeed.
    pub quorum: bool,
    /// How many nodes shall vote.
    pub voters: u32,
    /// The id of the node that answered.
    pub answered_by: u64,
    /// Every node, by id.
    pub nodes: Vec<NodeShape>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeShape {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where it takes function traffic; none while gossip has not heard of it.
    pub gateway: Option<String>,
    /// Where its API listens.
    pub api: Option<String>,
    /// Where it listens for peers.
    pub peer: String,
    /// The failure detector hears from it.
    pub alive: bool,
    /// It serves.
    pub ready: bool,
    /// It votes.
    pub voter: bool,
    /// It leads.
    pub leader: bool,
    /// It takes nothing new.
    pub draining: bool,
    /// It shall not be used.
    pub cordoned: bool,
    /// What it does.
    pub roles: Vec<String>,
    /// Where it stands.
    pub zone: Option<String>,
    /// Its program's version.
    pub version: String,
}

impl From<v1::StatusReply> for StatusShape {
    fn from(status: v1::StatusReply) -> Self {
        Self {
            cluster: said(status.cluster),
            leader: Some(status.leader).filter(|id| *id != 0),
            revision: status.revision,
            quorum: status.quorum,
            voters: status.voters,
            answered_by: status.answered_by,
            nodes: status.nodes.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::Node> for NodeShape {
    fn from(node: v1::Node) -> Self {
        Self {
            id: node.id,
            name: node.name,
            gateway: said(node.gateway),
            api: said(node.api),
            peer: node.peer,
            alive: node.alive,
            ready: node.ready,
            voter: node.voter,
            leader: node.leader,
            draining: node.draining,
            cordoned: node.cordoned,
            roles: node.roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect(),
            zone: said(node.zone),
            version: node.version,
        }
    }
}

/// A log line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogShape {
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// The node that ran it.
    pub node: String,
    /// The function's version.
    pub version: u64,
    /// The call, where it is known.
    pub invocation: Option<String>,
    /// `stdout`, `stderr` or `platform`.
    pub stream: String,
    /// The text.
    pub text: String,
}

impl From<v1::LogLine> for LogShape {
    fn from(line: v1::LogLine) -> Self {
        Self {
            at_ms: line.at_ms,
            node: line.node,
            version: line.version,
            invocation: said(line.invocation),
            stream: line.stream,
            text: line.text,
        }
    }
}

/// Protobuf has no absent text; empty stands for it.
fn said(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_exactly() {
        for bytes in [1, 1023, 1024, 64 << 10, 128 << 20, (128 << 20) + 1, 4 << 30] {
            let text = size(bytes);
            assert_eq!(text.parse::<bytesize::ByteSize>().unwrap().as_u64(), bytes, "{text}");
        }
        assert_eq!(size(128 << 20), "128MiB");
    }

    #[test]
    fn a_listed_function_has_the_fields_that_are_promised() {
        let spec =
            v1::FunctionSpec { runtime: "wasm".into(), digest: "ab".into(), timeout_ms: 1500, ..Default::default() };
        let latest = v1::FunctionVersion { version: 3, spec: Some(spec), ..Default::default() };
        let function =
            v1::Function { name: "f".into(), namespace: "n".into(), latest: Some(latest), ..Default::default() };
        let json = serde_json::to_value(FunctionShape::from(function)).unwrap();
        for (field, value) in [("name", "f"), ("namespace", "n"), ("runtime", "wasm"), ("digest", "ab")] {
            assert_eq!(json[field], value);
        }
        assert_eq!(json["version"], 3);
        assert_eq!(json["timeout"], "1s 500ms");
        assert!(json.get("versions").is_none());
    }
}
