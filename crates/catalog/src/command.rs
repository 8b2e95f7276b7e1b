//! Commands: the only way to change the catalog.

use onrush_types::{
    ClusterId, Code, FunctionName, FunctionSpec, Label, NodeId, RequestId, Revision, Roles, RouteName, RouteSpec,
    VersionNumber,
};

/// A change that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The very first entry: gives the cluster its identity and registers its founder as node 1.
    FormCluster {
        /// The new cluster's id.
        cluster: ClusterId,
        /// How many nodes shall vote: 1, 3, 5 or 7.
        voters: u8,
        /// The founder's name.
        name: Label,
        /// The founder's peer address, `host:port`.
        peer: String,
        /// The founder's roles.
        roles: Roles,
    },
    /// Registers a node and gives it an id that no other node ever had.
    AllocateNode {
        /// Its name; a name stands for one node at a time.
        name: Label,
        /// Its peer address, `host:port`.
        peer: String,
        /// What it does.
        roles: Roles,
    },
    /// A node says, by its own identity, where it is now and what it does.
    UpdateNode {
        /// Which node.
        node: NodeId,
        /// Its peer address, `host:port`.
        peer: String,
        /// What it does.
        roles: Roles,
    },
    /// Tells everyone not to use a node (or to use it again); survives restarts.
    SetCordoned {
        /// Which node.
        node: NodeId,
        /// Whether it is out of use.
        cordoned: bool,
    },
    /// Takes a node out of the cluster for good. Its id is never used again.
    RemoveNode {
        /// Which node.
        node: NodeId,
    },
    /// Changes how many nodes shall vote.
    SetVoters {
        /// 1, 3, 5 or 7.
        wanted: u8,
    },
    /// Adds a version to a function, which it creates where there is none. The same spec as the newest version changes
    /// nothing.
    PutFunction {
        /// Which function.
        name: FunctionName,
        /// The new version.
        spec: FunctionSpec,
        /// Refuse unless the function was last changed by this revision; 0 means that it must not exist.
        expected: Option<Revision>,
    },
    /// Removes a function with all its versions.
    RemoveFunction {
        /// Which function.
        name: FunctionName,
        /// Remove the routes that point to it as well, instead of refusing.
        with_routes: bool,
    },
    /// Adds a route, or replaces the one of this name. The same route again changes nothing.
    SetRoute {
        /// Which route.
        name: RouteName,
        /// What it shall be.
        spec: RouteSpec,
        /// Its filters need a function that may be called twice. The proposer says so, because these rules do not know
        /// what filters mean.
        needs_idempotence: bool,
        /// Refuse unless the route was last changed by this revision; 0 means that it must not exist.
        expected: Option<Revision>,
    },
    /// Removes a route.
    RemoveRoute {
        /// Which route.
        name: RouteName,
    },
}

/// A command with its sender's name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The same id again returns the first outcome and changes nothing.
    pub request: RequestId,
    /// The proposer's wall clock, in milliseconds since the epoch: the rules themselves know no clock.
    pub at_ms: u64,
    /// What is asked for.
    pub command: Command,
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect, or what it asks for held already.
    Done,
    /// A node has this id now.
    NodeAllocated(NodeId),
    /// The function has this version; `changed` is false where it was the newest one already.
    FunctionPut {
        /// The version's number.
        version: VersionNumber,
        /// Whether the command made it.
        changed: bool,
    },
    /// The route is what was asked for; `changed` is false where it was that already.
    RoutePut {
        /// Whether the command made it so.
        changed: bool,
    },
    /// It broke a rule; nothing changed.
    Refused(Refusal),
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// In the words that clients see.
    pub code: Code,
    /// What is wrong and what to do about it.
    pub why: String,
}

/// The answer to a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The catalog's revision after it.
    pub revision: Revision,
    /// What it did.
    pub outcome: Outcome,
}

impl Committed {
    /// Splits refusals off.
    ///
    /// # Errors
    /// The refusal, if it was one.
    pub fn accepted(self) -> Result<(Revision, Outcome), Refusal> {
        match self.outcome {
            Outcome::Refused(refusal) => Err(refusal),
            outcome @ (Outcome::Done
            | Outcome::NodeAllocated(_)
            | Outcome::FunctionPut { .. }
            | Outcome::RoutePut { .. }) => Ok((self.revision, outcome)),
        }
    }
}
