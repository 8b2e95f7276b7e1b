//! Proposals and their outcomes.

use onrush_catalog::{Command, Committed, Outcome, Proposal, Refusal};
use onrush_types::{ClusterId, Code, Label, NodeId, RequestId, Revision, Roles, VersionNumber};

use super::wrong;
use crate::{
    FormatError,
    internal::{self, committed::Outcome as WireOutcome, proposal::Command as WireCommand},
};

impl From<&Proposal> for internal::Proposal {
    fn from(proposal: &Proposal) -> Self {
        let request = proposal.request.0.as_bytes().to_vec().into();
        Self { request, at_ms: proposal.at_ms, command: Some((&proposal.command).into()) }
    }
}

impl TryFrom<internal::Proposal> for Proposal {
    type Error = FormatError;

    fn try_from(wire: internal::Proposal) -> Result<Self, FormatError> {
        let request = request_id(&wire.request).ok_or_else(|| wrong("Proposal", "request"))?;
        // A command that this program does not know arrives as none at all.
        let command = wire.command.ok_or_else(|| wrong("Proposal", "command"))?.try_into()?;
        Ok(Self { request, at_ms: wire.at_ms, command })
    }
}

impl From<&Command> for WireCommand {
    fn from(command: &Command) -> Self {
        match command {
            Command::FormCluster { cluster, voters, name, peer, roles } => Self::FormCluster(internal::FormCluster {
                cluster: cluster.0.as_bytes().to_vec().into(),
                voters: u32::from(*voters),
                name: name.to_string(),
                peer: peer.clone(),
                roles: roles.to_string(),
            }),
            Command::AllocateNode { name, peer, roles } => Self::AllocateNode(internal::AllocateNode {
                name: name.to_string(),
                peer: peer.clone(),
                roles: roles.to_string(),
            }),
            Command::UpdateNode { node, peer, roles } => {
                Self::UpdateNode(internal::UpdateNode { node: node.0, peer: peer.clone(), roles: roles.to_string() })
            }
            Command::SetCordoned { node, cordoned } => {
                Self::SetCordoned(internal::SetCordoned { node: node.0, cordoned: *cordoned })
            }
            Command::RemoveNode { node } => Self::RemoveNode(internal::RemoveNode { node: node.0 }),
            Command::SetVoters { wanted } => Self::SetVoters(internal::SetVoters { wanted: u32::from(*wanted) }),
            Command::PutFunction { name, spec, expected } => Self::PutFunction(internal::PutFunction {
                name: Some(name.into()),
                spec: Some(spec.into()),
                expected: expected.map(|revision| revision.0),
            }),
            Command::RemoveFunction { name, with_routes } => {
                let (name, with_routes) = (Some(name.into()), *with_routes);
                Self::RemoveFunction(internal::RemoveFunction { name, with_routes })
            }
            Command::SetRoute { name, spec, needs_idempotence, expected } => Self::SetRoute(internal::SetRoute {
                name: Some(name.into()),
                spec: Some(spec.into()),
                needs_idempotence: *needs_idempotence,
                expected: expected.map(|revision| revision.0),
            }),
            Command::RemoveRoute { name } => Self::RemoveRoute(internal::RemoveRoute { name: Some(name.into()) }),
        }
    }
}

impl TryFrom<WireCommand> for Command {
    type Error = FormatError;

    fn try_from(wire: WireCommand) -> Result<Self, FormatError> {
        Ok(match wire {
            WireCommand::FormCluster(form) => Self::FormCluster {
                cluster: cluster_id(&form.cluster).ok_or_else(|| wrong("FormCluster", "cluster"))?,
                voters: voters("FormCluster", form.voters)?,
                name: label("FormCluster", &form.name)?,
                peer: form.peer,
                roles: roles("FormCluster", &form.roles)?,
            },
            WireCommand::AllocateNode(node) => Self::AllocateNode {
                name: label("AllocateNode", &node.name)?,
                peer: node.peer,
                roles: roles("AllocateNode", &node.roles)?,
            },
            WireCommand::UpdateNode(node) => {
                Self::UpdateNode { node: NodeId(node.node), peer: node.peer, roles: roles("UpdateNode", &node.roles)? }
            }
            WireCommand::SetCordoned(set) => Self::SetCordoned { node: NodeId(set.node), cordoned: set.cordoned },
            WireCommand::RemoveNode(node) => Self::RemoveNode { node: NodeId(node.node) },
            WireCommand::SetVoters(set) => Self::SetVoters { wanted: voters("SetVoters", set.wanted)? },
            WireCommand::PutFunction(put) => Self::PutFunction {
                name: put.name.ok_or_else(|| wrong("PutFunction", "name"))?.try_into()?,
                spec: put.spec.ok_or_else(|| wrong("PutFunction", "spec"))?.try_into()?,
                expected: put.expected.map(Revision),
            },
            WireCommand::RemoveFunction(remove) => Self::RemoveFunction {
                name: remove.name.ok_or_else(|| wrong("RemoveFunction", "name"))?.try_into()?,
                with_routes: remove.with_routes,
            },
            WireCommand::SetRoute(set) => Self::SetRoute {
                name: set.name.ok_or_else(|| wrong("SetRoute", "name"))?.try_into()?,
                spec: set.spec.ok_or_else(|| wrong("SetRoute", "spec"))?.try_into()?,
                needs_idempotence: set.needs_idempotence,
                expected: set.expected.map(Revision),
            },
            WireCommand::RemoveRoute(remove) => {
                Self::RemoveRoute { name: remove.name.ok_or_else(|| wrong("RemoveRoute", "name"))?.try_into()? }
            }
        })
    }
}

impl From<&Committed> for internal::Committed {
    fn from(committed: &Committed) -> Self {
        let outcome = match &committed.outcome {
            Outcome::Done => WireOutcome::Done(internal::Nothing {}),
            Outcome::NodeAllocated(node) => WireOutcome::NodeAllocated(node.0),
            Outcome::FunctionPut { version, changed } => {
                WireOutcome::FunctionPut(internal::FunctionPut { version: version.0, changed: *changed })
            }
            Outcome::RoutePut { changed } => WireOutcome::RoutePut(internal::RoutePut { changed: *changed }),
            Outcome::Refused(refusal) => WireOutcome::Refused(refusal.into()),
        };
        Self { revision: committed.revision.0, outcome: Some(outcome) }
    }
}

impl TryFrom<internal::Committed> for Committed {
    type Error = FormatError;

    fn try_from(wire: internal::Committed) -> Result<Self, FormatError> {
        let outcome = match wire.outcome.ok_or_else(|| wrong("Committed", "outcome"))? {
            WireOutcome::Done(internal::Nothing {}) => Outcome::Done,
            WireOutcome::NodeAllocated(node) => Outcome::NodeAllocated(NodeId(node)),
            WireOutcome::FunctionPut(put) => {
                Outcome::FunctionPut { version: VersionNumber(put.version), changed: put.changed }
            }
            WireOutcome::RoutePut(put) => Outcome::RoutePut { changed: put.changed },
            WireOutcome::Refused(refusal) => Outcome::Refused(refusal.try_into()?),
        };
        Ok(Self { revision: Revision(wire.revision), outcome })
    }
}

impl From<&Refusal> for internal::Refusal {
    fn from(refusal: &Refusal) -> Self {
        Self { code: refusal.code.name().to_owned(), why: refusal.why.clone() }
    }
}

impl TryFrom<internal::Refusal> for Refusal {
    type Error = FormatError;

    fn try_from(wire: internal::Refusal) -> Result<Self, FormatError> {
        let code = Code::from_name(&wire.code).ok_or_else(|| wrong("Refusal", "code"))?;
        Ok(Self { code, why: wire.why })
    }
}

pub(super) fn request_id(bytes: &[u8]) -> Option<RequestId> {
    uuid::Uuid::from_slice(bytes).ok().map(RequestId)
}

pub(super) fn cluster_id(bytes: &[u8]) -> Option<ClusterId> {
    uuid::Uuid::from_slice(bytes).ok().map(ClusterId)
}

pub(super) fn label(what: &'static str, text: &str) -> Result<Label, FormatError> {
    text.parse().map_err(|_| wrong(what, "name"))
}

pub(super) fn voters(what: &'static str, wanted: u32) -> Result<u8, FormatError> {
    u8::try_from(wanted).map_err(|_| wrong(what, "voters"))
}

/// A node without any role writes nothing; `Roles` itself reads no such text.
pub(super) fn roles(what: &'static str, text: &str) -> Result<Roles, FormatError> {
    if text.is_empty() {
        return Ok(Roles { gateway: false, worker: false, control: false });
    }
    text.parse().map_err(|_| wrong(what, "roles"))
}
