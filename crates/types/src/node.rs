//! What nodes say of themselves, and the picture that gossip makes of all of them.

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Label, NodeId};

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes function traffic.
    Gateway,
    /// Runs functions.
    Worker,
    /// May vote in the control plane.
    Control,
}

/// A set of roles; written `gateway,worker,control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Roles {
    /// Takes function traffic.
    pub gateway: bool,
    /// Runs functions.
    pub worker: bool,
    /// May vote.
    pub control: bool,
}

impl Default for Roles {
    fn default() -> Self {
        Self { gateway: true, worker: true, control: true }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.gateway, "gateway"), (self.worker, "worker"), (self.control, "control")];
        let held: Vec<_> = names.iter().filter(|(held, _)| *held).map(|(_, name)| *name).collect();
        f.write_str(&held.join(","))
    }
}

impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut roles = Self { gateway: false, worker: false, control: false };
        for name in text.split(',').map(str::trim) {
            match name {
                "gateway" => roles.gateway = true,
                "worker" => roles.worker = true,
                "control" => roles.control = true,
                other => return Err(format!("no role {other:?}; roles are gateway, worker and control")),
            }
        }
        Ok(roles)
    }
}

impl TryFrom<String> for Roles {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Roles> for String {
    fn from(roles: Roles) -> Self {
        roles.to_string()
    }
}

/// Where a node listens, as others reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeAddresses {
    /// Function traffic.
    pub gateway: SocketAddr,
    /// gRPC and REST for people and tools.
    pub api: SocketAddr,
    /// gRPC (TCP) and gossip (UDP) between nodes.
    pub peer: SocketAddr,
}

/// One node as gossip shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its id in the catalog.
    pub id: NodeId,
    /// Its name, for people.
    pub name: Label,
    /// Where it listens.
    pub addresses: NodeAddresses,
    /// What it does.
    pub roles: Roles,
    /// Calls that compute at once: cores for wasm.
    pub slots: u32,
    /// Relative speed of one slot in percent; 100 is a usual core.
    pub speed: u32,
    /// Where it stands, if its operator said so.
    pub zone: Option<String>,
    /// Grows with every start of the node; a smaller one is an echo of the past.
    pub generation: u64,
    /// It finishes what it has and takes nothing new.
    pub draining: bool,
    /// It serves: its catalog is loaded and its listeners are open.
    pub ready: bool,
    /// The failure detector hears from it.
    pub alive: bool,
    /// The version of its program.
    pub version: String,
}

/// Every node that gossip knows, as one picture; replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// The node whose picture this is.
    pub me: NodeId,
    /// By id. The own node is always among them.
    pub nodes: BTreeMap<NodeId, Arc<NodeInfo>>,
}

impl ClusterView {
    /// A picture with nobody in it.
    pub fn empty(me: NodeId) -> Self {
        Self { me, nodes: BTreeMap::new() }
    }

    /// The nodes that the failure detector hears from.
    pub fn alive(&self) -> impl Iterator<Item = &Arc<NodeInfo>> {
        self.nodes.values().filter(|node| node.alive)
    }

    /// One node, dead or alive.
    pub fn get(&self, id: NodeId) -> Option<&Arc<NodeInfo>> {
        self.nodes.get(&id)
    }

    /// Whether the failure detector hears from this node.
    pub fn is_alive(&self, id: NodeId) -> bool {
        self.get(id).is_some_and(|node| node.alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_back_and_strangers_are_named() {
        for text in ["gateway,worker,control", "worker", "gateway,control"] {
            assert_eq!(text.parse::<Roles>().unwrap().to_string(), text);
        }
        assert!("gateway,king".parse::<Roles>().unwrap_err().contains("king"));
    }
}
