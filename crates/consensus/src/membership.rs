//! Who shall be a learner and who shall vote. The rule is pure; `keeper` carries it out, one change at a time.
//!
//! - Every node of the catalog is at least a learner, so that it holds the log and can be promoted.
//! - Votes are given to learners that are alive, may vote and have caught up, in steps that keep the number odd: with two
//!   voters one failure stops writes just as with one, only that there are two to fail.
//! - A vote is taken only from a node that was removed, that gave up the control role, that was dead for long and has
//!   somebody in its place, or that is one too many because fewer voters are wanted.
//! - No change is begun whose new voters lack a living majority: it could never be completed.

use std::{collections::BTreeSet, time::Duration};

use onrush_catalog::{Catalog, NodeRecord};
use onrush_types::NodeId;

pub(crate) mod keeper;

/// Everything the rule looks at.
#[derive(Debug, Clone)]
pub(crate) struct Situation<'a> {
    pub(crate) catalog: &'a Catalog,
    /// Raft's sets of voters: one, or two while a change is under way.
    pub(crate) voters: &'a [BTreeSet<NodeId>],
    /// Voters and learners.
    pub(crate) members: &'a BTreeSet<NodeId>,
    /// The leader, which is this node.
    pub(crate) me: NodeId,
    /// Who is alive, by gossip.
    pub(crate) alive: &'a BTreeSet<NodeId>,
    /// Who was dead for long enough to be replaced.
    pub(crate) long_dead: &'a BTreeSet<NodeId>,
    /// Whose log is nearly as long as the leader's.
    pub(crate) caught_up: &'a BTreeSet<NodeId>,
}

/// One step towards what shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// This node shall get the log.
    AddLearner(NodeId),
    /// These shall vote and no others; who loses the vote stays a learner.
    SetVoters(BTreeSet<NodeId>),
    /// These learners shall no longer get the log.
    Remove(BTreeSet<NodeId>),
}

/// How many of `seeds` nodes vote once a cluster is formed: as many as wanted, or the largest odd number below.
pub fn formation_voters(wanted: u8, seeds: usize) -> usize {
    odd(usize::from(wanted).min(seeds))
}

/// The next step, or nothing where all is as it should be or has to wait.
pub(crate) fn next_change(now: &Situation<'_>) -> Option<Change> {
    let [voters] = now.voters else {
        // A leader died between the two halves of a change. The second half goes where the first one meant to.
        return now.voters.last().cloned().map(Change::SetVoters);
    };
    let wanted = usize::from(now.catalog.cluster.as_ref()?.voters);
    let stranger = now.catalog.nodes.keys().find(|node| !now.members.contains(node));
    if let Some(node) = stranger {
        return Some(Change::AddLearner(*node));
    }
    if let Some(target) = better_voters(now, voters, wanted) {
        return Some(Change::SetVoters(target));
    }
    let gone: BTreeSet<_> =
        now.members.iter().filter(|node| !is_known(now, **node) && !voters.contains(node)).collect();
    (!gone.is_empty()).then(|| Change::Remove(gone.into_iter().copied().collect()))
}

/// Other voters than now, if that is an improvement that can be completed.
fn better_voters(now: &Situation<'_>, voters: &BTreeSet<NodeId>, wanted: usize) -> Option<BTreeSet<NodeId>> {
    let mut spare = now.catalog.nodes.values().filter(|node| may_be_promoted(now, node, voters)).map(|node| node.id);
    let mut target: BTreeSet<_> = voters.iter().copied().filter(|node| is_known(now, *node)).collect();
    let removed = voters.len() - target.len();
    // Whoever was removed is replaced in the same step where that is possible.
    target.extend(spare.by_ref().take(removed));
    while target.len() > wanted {
        let leaving = least_wanted(now, &target)?;
        target.remove(&leaving);
    }
    if removed == 0 && target.len() == voters.len() {
        let spare: Vec<_> = spare.collect();
        let unfit = voters.iter().find(|node| now.long_dead.contains(node) || !has_control(now, **node));
        match (unfit, spare.first()) {
            (Some(unfit), Some(substitute)) => {
                target.remove(unfit);
                target.insert(*substitute);
            }
            (Some(_), None) | (None, _) => grow(&mut target, &spare, wanted),
        }
    }
    let living = target.iter().filter(|node| **node == now.me || now.alive.contains(node)).count();
    (target != *voters && living * 2 > target.len()).then_some(target)
}

/// Adds voters up to an odd number.
fn grow(target: &mut BTreeSet<NodeId>, spare: &[NodeId], wanted: usize) {
    let size = odd(wanted.min(target.len() + spare.len()));
    let missing = size.saturating_sub(target.len());
    target.extend(spare.iter().take(missing));
}

/// Who leaves first where there are too many: the dead, then the newest; the leader last.
fn least_wanted(now: &Situation<'_>, voters: &BTreeSet<NodeId>) -> Option<NodeId> {
    let rank = |node: &NodeId| (*node != now.me, !now.alive.contains(node) && *node != now.me, *node);
    voters.iter().copied().max_by_key(rank)
}

fn may_be_promoted(now: &Situation<'_>, node: &NodeRecord, voters: &BTreeSet<NodeId>) -> bool {
    node.roles.control && !voters.contains(&node.id) && now.alive.contains(&node.id) && now.caught_up.contains(&node.id)
}

fn is_known(now: &Situation<'_>, node: NodeId) -> bool {
    now.catalog.nodes.contains_key(&node)
}

fn has_control(now: &Situation<'_>, node: NodeId) -> bool {
    now.catalog.nodes.get(&node).is_some_and(|record| record.roles.control)
}

const fn odd(count: usize) -> usize {
    if count == 0 { 1 } else { (count - 1) / 2 * 2 + 1 }
}

/// For how long each node has been dead, by this leader's own watch.
#[derive(Debug, Default)]
pub(crate) struct DeathWatch {
    since: std::collections::BTreeMap<NodeId, tokio::time::Instant>,
}

impl DeathWatch {
    /// Takes in who lives now.
    pub(crate) fn update(&mut self, members: &BTreeSet<NodeId>, alive: &BTreeSet<NodeId>, now: tokio::time::Instant) {
        self.since.retain(|node, _| members.contains(node) && !alive.contains(node));
        for node in members.iter().filter(|node| !alive.contains(node)) {
            self.since.entry(*node).or_insert(now);
        }
    }

    /// Who was dead for at least `limit`.
    pub(crate) fn dead_for(&self, limit: Duration, now: tokio::time::Instant) -> BTreeSet<NodeId> {
        let long = self.since.iter().filter(|(_, since)| now.saturating_duration_since(**since) >= limit);
        long.map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
mod tests;
