//! Words that both planes share: ids, the function spec, what a node says of itself, limits, the closed list of codes.
//!
//! Knows: how these are written, parsed and bounded.
//! Does not know: tokio, the network, the disk, protobuf.
mod code;
mod digest;
mod function;
mod id;
mod label;
mod log;
mod name;
mod node;
mod route;

pub use self::{
    code::{Code, Meaning, Origin},
    digest::{Digest, ParseDigestError},
    function::{ArtifactRef, FunctionSpec, Limits, RuntimeKind, SpecProblem},
    id::{ClusterId, InvocationId, NodeId, RequestId, Revision, VersionNumber},
    label::{Label, LabelError},
    log::{LogLine, LogStream},
    name::{FunctionName, FunctionRef, Qualifier, RefError},
    node::{ClusterView, NodeAddresses, NodeInfo, Role, Roles},
    route::{
        FilterUse, RESERVED_PATHS, ROUTE_METHODS, RouteClash, RouteName, RouteProblem, RouteSpec, Segment, segments,
    },
};

/// The namespace that names without one belong to.
pub const DEFAULT_NAMESPACE: &str = "default";
