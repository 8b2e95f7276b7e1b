//! How a command changes the catalog. Pure, total and the same on every node: no clock, no randomness, no order of a
//! hash map; a broken rule is an outcome, never an error (P10).

use std::{collections::BTreeSet, sync::Arc};

use imbl::OrdMap;
use onrush_types::{
    ClusterId, Code, FunctionName, FunctionSpec, Label, NodeId, Qualifier, Revision, Roles, VersionNumber,
};

use crate::{
    Catalog, ClusterIdentity, Command, Committed, Function, FunctionVersion, NodeRecord, Outcome, Proposal,
    REQUESTS_REMEMBERED, Refusal, VERSIONS_KEPT,
};

mod routes;

/// Longest peer address that is taken: a DNS name and a port.
const LONGEST_ADDRESS: usize = 262;

impl Catalog {
    /// Applies a proposal and returns what it did. A request that was seen before returns its first outcome.
    pub fn apply(&mut self, proposal: &Proposal) -> Committed {
        if let Some(first) = self.requests.get(&proposal.request) {
            return first.clone();
        }
        let outcome = match self.carry_out(proposal) {
            Ok(Effect::Changed(outcome)) => {
                self.revision = self.revision.next();
                outcome
            }
            Ok(Effect::Nothing(outcome)) => outcome,
            Err(refusal) => Outcome::Refused(refusal),
        };
        let committed = Committed { revision: self.revision, outcome };
        self.remember(proposal, committed.clone());
        committed
    }

    /// What `proposal` would do, without doing it: the check before a command is proposed.
    pub fn preview(&self, proposal: &Proposal) -> Committed {
        self.clone().apply(proposal)
    }

    fn remember(&mut self, proposal: &Proposal, committed: Committed) {
        self.requests.insert(proposal.request, committed);
        self.request_order.push_back(proposal.request);
        while self.request_order.len() > REQUESTS_REMEMBERED {
            if let Some(oldest) = self.request_order.pop_front() {
                self.requests.remove(&oldest);
            }
        }
    }

    fn carry_out(&mut self, proposal: &Proposal) -> Result<Effect, Refusal> {
        if self.cluster.is_none() && !matches!(proposal.command, Command::FormCluster { .. }) {
            return Err(refuse(Code::Unavailable, "the cluster is not formed yet; wait for its first node"));
        }
        match &proposal.command {
            Command::FormCluster { cluster, voters, name, peer, roles } => {
                self.form(*cluster, *voters, (name, peer, *roles))
            }
            Command::AllocateNode { name, peer, roles } => self.allocate(name, peer, *roles),
            Command::UpdateNode { node, peer, roles } => {
                check_address(peer)?;
                self.edit_node(*node, |record| {
                    record.peer.clone_from(peer);
                    record.roles = *roles;
                })
            }
            Command::SetCordoned { node, cordoned } => self.edit_node(*node, |record| record.cordoned = *cordoned),
            Command::RemoveNode { node } => self.remove_node(*node),
            Command::SetVoters { wanted } => self.set_voters(*wanted),
            Command::PutFunction { name, spec, expected } => self.put(name, spec, *expected, proposal.at_ms),
            Command::RemoveFunction { name, with_routes } => self.remove(name, *with_routes),
            Command::SetRoute { name, spec, needs_idempotence, expected } => {
                self.set_route(name, spec, *needs_idempotence, *expected)
            }
            Command::RemoveRoute { name } => self.remove_route(name),
        }
    }

    fn form(&mut self, id: ClusterId, voters: u8, founder: (&Label, &str, Roles)) -> Result<Effect, Refusal> {
        if let Some(cluster) = &self.cluster {
            return Err(refuse(Code::Conflict, format!("this cluster is formed already, as {}", cluster.id)));
        }
        check_voters(voters)?;
        check_address(founder.1)?;
        self.cluster = Some(ClusterIdentity { id, voters });
        Ok(Effect::Changed(Outcome::NodeAllocated(self.add_node(founder))))
    }

    fn allocate(&mut self, name: &Label, peer: &str, roles: Roles) -> Result<Effect, Refusal> {
        check_address(peer)?;
        if let Some(known) = self.node_named(name) {
            return Err(refuse(
                Code::Conflict,
                format!(
                    "the cluster has a node named {name} already (id {id}, at {peer}). If that node lost its data \
                     directory, run `onrush node remove {name}` and start it again: it gets a new id. If it is another \
                     machine, start this one with a --name of its own",
                    id = known.id,
                    peer = known.peer,
                ),
            ));
        }
        Ok(Effect::Changed(Outcome::NodeAllocated(self.add_node((name, peer, roles)))))
    }

    fn add_node(&mut self, (name, peer, roles): (&Label, &str, Roles)) -> NodeId {
        let id = self.last_node.next();
        self.last_node = id;
        let record = NodeRecord { id, name: name.clone(), peer: peer.to_owned(), roles, cordoned: false };
        self.nodes.insert(id, Arc::new(record));
        id
    }

    fn edit_node(&mut self, id: NodeId, edit: impl FnOnce(&mut NodeRecord)) -> Result<Effect, Refusal> {
        let known = self.nodes.get(&id).ok_or_else(|| no_node(id))?;
        let mut record = NodeRecord::clone(known);
        edit(&mut record);
        if record == **known {
            return Ok(Effect::Nothing(Outcome::Done));
        }
        self.nodes.insert(id, Arc::new(record));
        Ok(Effect::Changed(Outcome::Done))
    }

    fn remove_node(&mut self, id: NodeId) -> Result<Effect, Refusal> {
        if self.nodes.len() == 1 && self.nodes.contains_key(&id) {
            return Err(refuse(Code::Conflict, "the last node of a cluster cannot be removed; stop it instead"));
        }
        self.nodes.remove(&id).ok_or_else(|| no_node(id))?;
        Ok(Effect::Changed(Outcome::Done))
    }

    fn set_voters(&mut self, wanted: u8) -> Result<Effect, Refusal> {
        check_voters(wanted)?;
        match &mut self.cluster {
            Some(cluster) if cluster.voters != wanted => {
                cluster.voters = wanted;
                Ok(Effect::Changed(Outcome::Done))
            }
            Some(_) | None => Ok(Effect::Nothing(Outcome::Done)),
        }
    }

    fn put(
        &mut self,
        name: &FunctionName,
        spec: &FunctionSpec,
        expected: Option<Revision>,
        at_ms: u64,
    ) -> Result<Effect, Refusal> {
        let problems: Vec<_> = spec.problems().iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(refuse(Code::BadRequest, format!("{name} cannot be deployed: {}", problems.join("; "))));
        }
        let known = self.functions.get(name).cloned();
        let changed = known.as_ref().map_or(Revision(0), |function| function.changed);
        if expected.is_some_and(|expected| expected != changed) {
            let why = format!("{name} was changed by revision {changed} in the meantime; look at it and try again");
            return Err(refuse(Code::Conflict, why));
        }
        if let Some(function) = known.as_ref().filter(|function| function.latest.spec == *spec) {
            let version = function.latest.number;
            return Ok(Effect::Nothing(Outcome::FunctionPut { version, changed: false }));
        }
        self.check_idempotence(name, spec.idempotent)?;
        let newest = known.as_ref().map(|function| function.latest.number);
        let before = newest.or_else(|| self.retired.get(name).copied()).unwrap_or_default();
        let revision = self.revision.next();
        let version = Arc::new(FunctionVersion {
            function: name.clone(),
            number: before.next(),
            revision,
            created_ms: at_ms,
            spec: spec.clone(),
        });
        let mut versions = known.map(|function| function.versions.clone()).unwrap_or_default();
        versions.insert(version.number, Arc::clone(&version));
        self.forget_versions(name, &mut versions)?;
        let number = version.number;
        let function = Function { name: name.clone(), changed: revision, versions, latest: version };
        self.functions.insert(name.clone(), Arc::new(function));
        Ok(Effect::Changed(Outcome::FunctionPut { version: number, changed: true }))
    }

    /// Lets the oldest versions go until there are as many as are kept. Those that routes name stay, and the newest.
    fn forget_versions(&self, name: &FunctionName, versions: &mut Versions) -> Result<(), Refusal> {
        if versions.len() <= VERSIONS_KEPT {
            return Ok(());
        }
        let named: BTreeSet<_> = self.routes_to(name).filter_map(|route| pinned(&route.spec.qualifier)).collect();
        while versions.len() > VERSIONS_KEPT {
            let newest = versions.get_max().map(|(number, _)| *number);
            let oldest = versions.keys().find(|number| !named.contains(number) && Some(**number) != newest).copied();
            let Some(oldest) = oldest else {
                let why = format!(
                    "{name} cannot be deployed: routes name each of its {VERSIONS_KEPT} versions, as many as are kept; \
                     set or remove one of those routes first"
                );
                return Err(refuse(Code::Conflict, why));
            };
            versions.remove(&oldest);
        }
        Ok(())
    }

    fn remove(&mut self, name: &FunctionName, with_routes: bool) -> Result<Effect, Refusal> {
        let newest = self.functions.get(name).map(|function| function.latest.number).ok_or_else(|| {
            refuse(Code::NotFound, format!("there is no function {name}; `onrush list` shows those there are"))
        })?;
        self.release_routes(name, with_routes)?;
        self.functions.remove(name);
        self.retired.insert(name.clone(), newest);
        Ok(Effect::Changed(Outcome::Done))
    }
}

type Versions = OrdMap<VersionNumber, Arc<FunctionVersion>>;

fn pinned(qualifier: &Qualifier) -> Option<VersionNumber> {
    match qualifier {
        Qualifier::Version(number) => Some(*number),
        Qualifier::Latest | Qualifier::Alias(_) => None,
    }
}

/// Whether a command that was accepted changed anything.
enum Effect {
    Changed(Outcome),
    Nothing(Outcome),
}

fn refuse(code: Code, why: impl Into<String>) -> Refusal {
    Refusal { code, why: why.into() }
}

fn no_node(id: NodeId) -> Refusal {
    refuse(Code::NotFound, format!("there is no node {id}; `onrush node list` shows those there are"))
}

fn check_voters(wanted: u8) -> Result<(), Refusal> {
    if matches!(wanted, 1 | 3 | 5 | 7) {
        return Ok(());
    }
    Err(refuse(Code::BadRequest, format!("voters: must be 1, 3, 5 or 7, not {wanted}")))
}

fn check_address(peer: &str) -> Result<(), Refusal> {
    let port = peer.rsplit_once(':').and_then(|(host, port)| port.parse::<u16>().ok().filter(|_| !host.is_empty()));
    if port.is_some() && peer.len() <= LONGEST_ADDRESS {
        return Ok(());
    }
    Err(refuse(Code::BadRequest, format!("a peer address is HOST:PORT, not {peer:?}")))
}

#[cfg(test)]
mod tests;
