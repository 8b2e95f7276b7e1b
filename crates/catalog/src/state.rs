//! The catalog itself: persistent maps, so that publishing a snapshot of ten thousand functions copies a pointer.

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use onrush_types::{
    ClusterId, FunctionName, FunctionRef, FunctionSpec, Label, NodeId, Qualifier, RequestId, Revision, Roles,
    RouteName, RouteSpec, VersionNumber,
};

use crate::Committed;

/// How many requests the catalog remembers, so that a repeated one returns its first outcome. More than a cluster
/// commits in the time in which a request is repeated (9 s), at several thousand writes a second.
pub const REQUESTS_REMEMBERED: usize = 65_536;

/// How many versions of a function are kept; the oldest goes when another comes.
pub const VERSIONS_KEPT: usize = 64;

/// How many routes a namespace may have.
pub const ROUTES_PER_NAMESPACE: usize = 1_000;

/// How many routes the cluster may have: each gateway keeps all of them, ready to match.
pub const ROUTES_IN_ALL: usize = 10_000;

/// Who this cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// Its id.
    pub id: ClusterId,
    /// How many nodes shall vote.
    pub voters: u8,
}

/// A node as the cluster agreed on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: Label,
    /// Where it last said that it listens for peers, `host:port`.
    pub peer: String,
    /// What it does.
    pub roles: Roles,
    /// Not to be used.
    pub cordoned: bool,
}

/// A function with its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: FunctionName,
    /// The revision that changed it last.
    pub changed: Revision,
    /// By number; never empty.
    pub versions: OrdMap<VersionNumber, Arc<FunctionVersion>>,
    /// The newest one.
    pub latest: Arc<FunctionVersion>,
}

/// A version: immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionVersion {
    /// Of which function.
    pub function: FunctionName,
    /// Its number: 1, 2, 3...
    pub number: VersionNumber,
    /// The revision that made it.
    pub revision: Revision,
    /// When, in milliseconds since the epoch by its proposer's clock.
    pub created_ms: u64,
    /// What it is.
    pub spec: FunctionSpec,
}

/// A route as the cluster agreed on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// The revision that changed it last.
    pub changed: Revision,
    /// What it is.
    pub spec: RouteSpec,
    /// Its filters need a function that may be called twice, as whoever proposed it said.
    pub needs_idempotence: bool,
}

impl Function {
    /// The version that a qualifier means.
    pub fn resolve(&self, qualifier: &Qualifier) -> Option<&Arc<FunctionVersion>> {
        match qualifier {
            Qualifier::Latest => Some(&self.latest),
            Qualifier::Version(number) => self.versions.get(number),
            Qualifier::Alias(_) => None,
        }
    }
}

/// Everything the cluster agrees on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    /// Who this cluster is; none before it is formed.
    pub cluster: Option<ClusterIdentity>,
    /// Raised by one with every accepted change.
    pub revision: Revision,
    /// The highest node id ever handed out.
    pub last_node: NodeId,
    /// By id.
    pub nodes: OrdMap<NodeId, Arc<NodeRecord>>,
    /// By name.
    pub functions: OrdMap<FunctionName, Arc<Function>>,
    /// The highest version numbers of removed functions, so that a number never means two different things.
    pub retired: OrdMap<FunctionName, VersionNumber>,
    /// Which requests go to which function, by name.
    pub routes: OrdMap<RouteName, Arc<Route>>,
    /// First outcomes by request.
    pub requests: OrdMap<RequestId, Committed>,
    /// The requests in the order of their coming; the oldest is forgotten first.
    pub request_order: Vector<RequestId>,
}

impl Catalog {
    /// The version that a caller means.
    pub fn resolve(&self, wanted: &FunctionRef) -> Option<&Arc<FunctionVersion>> {
        self.functions.get(&wanted.function)?.resolve(&wanted.qualifier)
    }

    /// One version of one function.
    pub fn version(&self, function: &FunctionName, number: VersionNumber) -> Option<&Arc<FunctionVersion>> {
        self.functions.get(function)?.versions.get(&number)
    }

    /// The node of this name.
    pub fn node_named(&self, name: &Label) -> Option<&Arc<NodeRecord>> {
        self.nodes.values().find(|node| node.name == *name)
    }

    /// Functions of one namespace, by name.
    pub fn functions_in(&self, namespace: &Label) -> impl Iterator<Item = &Arc<Function>> {
        self.functions.values().filter(move |function| function.name.namespace == *namespace)
    }

    /// Routes of one namespace, by name.
    pub fn routes_in(&self, namespace: &Label) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values().filter(move |route| route.name.namespace == *namespace)
    }

    /// Routes that point to a function, by name.
    pub fn routes_to(&self, function: &FunctionName) -> impl Iterator<Item = &Arc<Route>> {
        self.routes_in(&function.namespace).filter(move |route| route.spec.function == function.name)
    }
}
