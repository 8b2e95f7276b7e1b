//! Between the public messages and our own words. Zero values of the wire are the defaults; nothing is guessed.

mod route;

use std::{str::FromStr, time::Duration};

use onrush_catalog::{ClusterStatus, Function, FunctionVersion, NodeStatus};
use onrush_proto::v1;
use onrush_types::{
    ArtifactRef, Code, DEFAULT_NAMESPACE, FunctionName, FunctionSpec, Label, Limits, LogLine, LogStream, RequestId,
    RuntimeKind,
};

pub(crate) use self::route::{RouteText, filters_to, route_name, route_set, route_spec, route_to, route_wish};
use crate::ApiError;

/// Parses one field and names it where it is wrong.
pub(crate) fn field<T: FromStr>(name: &str, text: &str) -> Result<T, ApiError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| ApiError::bad_request(format!("{name}: {error}")))
}

/// A namespace; an empty one is the default.
pub(crate) fn namespace(text: &str) -> Result<Label, ApiError> {
    field("namespace", if text.is_empty() { DEFAULT_NAMESPACE } else { text })
}

/// A function's name.
pub(crate) fn function_name(namespace_text: &str, name: &str) -> Result<FunctionName, ApiError> {
    Ok(FunctionName::new(namespace(namespace_text)?, field("name", name)?))
}

/// A request's id; made up where there is none.
pub(crate) fn request_id(text: &str) -> Result<RequestId, ApiError> {
    if text.is_empty() { Ok(RequestId::new()) } else { field("request_id", text) }
}

/// What runs a function; an empty text means wasm.
pub(crate) fn runtime(text: &str) -> Result<RuntimeKind, ApiError> {
    match text {
        "" | "wasm" => Ok(RuntimeKind::Wasm),
        "process" => Ok(RuntimeKind::Process),
        other => Err(ApiError::bad_request(format!("runtime: must be \"wasm\" or \"process\", not {other:?}"))),
    }
}

/// A spec from the wire, with its defaults filled in.
pub(crate) fn spec_from(wire: v1::FunctionSpec) -> Result<FunctionSpec, ApiError> {
    let defaults = Limits::default();
    let artifact = ArtifactRef { digest: field("digest", &wire.digest)?, size: wire.size };
    let timeout = if wire.timeout_ms == 0 { defaults.timeout } else { Duration::from_millis(wire.timeout_ms) };
    let limits = Limits {
        timeout,
        memory: if wire.memory_bytes == 0 { defaults.memory } else { wire.memory_bytes },
        concurrency: Some(wire.concurrency).filter(|calls| *calls > 0),
        reuse: wire.reuse,
        streaming: wire.streaming,
    };
    Ok(FunctionSpec {
        runtime: runtime(&wire.runtime)?,
        artifact,
        limits,
        environment: wire.environment,
        secrets: wire.secrets,
        egress: wire.egress,
        idempotent: wire.idempotent,
    })
}

fn spec_to(spec: &FunctionSpec) -> v1::FunctionSpec {
    v1::FunctionSpec {
        runtime: spec.runtime.name().to_owned(),
        digest: spec.artifact.digest.to_string(),
        size: spec.artifact.size,
        timeout_ms: u64::try_from(spec.limits.timeout.as_millis()).unwrap_or(u64::MAX),
        memory_bytes: spec.limits.memory,
        concurrency: spec.limits.concurrency.unwrap_or(0),
        reuse: spec.limits.reuse,
        streaming: spec.limits.streaming,
        idempotent: spec.idempotent,
        environment: spec.environment.clone(),
        secrets: spec.secrets.clone(),
        egress: spec.egress.clone(),
    }
}

fn version_to(version: &FunctionVersion) -> v1::FunctionVersion {
    v1::FunctionVersion {
        version: version.number.0,
        revision: version.revision.0,
        created_ms: version.created_ms,
        spec: Some(spec_to(&version.spec)),
    }
}

/// A function without its older versions.
pub(crate) fn function_to(function: &Function) -> v1::Function {
    v1::Function {
        namespace: function.name.namespace.to_string(),
        name: function.name.name.to_string(),
        changed_revision: function.changed.0,
        latest: Some(version_to(&function.latest)),
        versions: Vec::new(),
    }
}

/// A function with all its versions.
pub(crate) fn described(function: &Function) -> v1::Function {
    let versions = function.versions.values().map(|version| version_to(version)).collect();
    v1::Function { versions, ..function_to(function) }
}

/// The cluster's picture.
pub(crate) fn status_to(status: &ClusterStatus) -> v1::StatusReply {
    v1::StatusReply {
        cluster: status.cluster.map(|id| id.to_string()).unwrap_or_default(),
        leader: status.leader.map_or(0, |id| id.0),
        revision: status.revision.0,
        quorum: status.quorum,
        voters: status.voters.into(),
        answered_by: status.answered_by.0,
        nodes: status.nodes.iter().map(node_to).collect(),
    }
}

fn node_to(node: &NodeStatus) -> v1::Node {
    v1::Node {
        id: node.id.0,
        name: node.name.to_string(),
        gateway: node.gateway.map(|address| address.to_string()).unwrap_or_default(),
        api: node.api.map(|address| address.to_string()).unwrap_or_default(),
        peer: node.peer.clone(),
        alive: node.alive,
        ready: node.ready,
        voter: node.voter,
        leader: node.leader,
        draining: node.draining,
        cordoned: node.cordoned,
        roles: node.roles.to_string(),
        zone: node.zone.clone().unwrap_or_default(),
        version: node.version.clone(),
    }
}

/// A log line. A node whose lines cannot be had says so in a line of its own, so that the others' still come.
pub(crate) fn log_line(line: Result<LogLine, onrush_catalog::ControlError>, now_ms: u64) -> v1::LogLine {
    match line {
        Ok(line) => v1::LogLine {
            at_ms: line.at_ms,
            node: line.node,
            version: line.version.0,
            invocation: line.invocation.map(|id| id.to_string()).unwrap_or_default(),
            stream: stream_name(line.stream).to_owned(),
            text: line.text,
        },
        Err(error) => v1::LogLine {
            at_ms: now_ms,
            stream: stream_name(LogStream::Platform).to_owned(),
            text: error.to_string(),
            ..v1::LogLine::default()
        },
    }
}

const fn stream_name(stream: LogStream) -> &'static str {
    match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
        LogStream::Platform => "platform",
    }
}

/// A message without a part that it must have.
pub(crate) fn missing(what: &str) -> ApiError {
    ApiError::new(Code::BadRequest, format!("{what}: missing"))
}
