//! The leader's task that brings Raft's membership to where the catalog wants it. The only place that changes it: two
//! changes at once can leave a joint configuration behind while both callers see success.

use std::{collections::BTreeSet, sync::Arc};

use onrush_types::NodeId;
use openraft::{ChangeMembers, EmptyNode};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Change, DeathWatch, Situation, next_change};
use crate::{Consensus, standing::Standing};

/// Runs until `stop`.
pub(crate) async fn run(consensus: Arc<Consensus>, stop: CancellationToken) {
    let mut watch = DeathWatch::default();
    let mut leader = None;
    let mut ticks = interval(consensus.config.membership_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let leads = consensus.leader();
        if leads != leader {
            leader = leads;
            match leads {
                Some(node) => info!(leader = %node, "this node knows a leader"),
                None => warn!("this node knows no leader: deploys wait, calls go on"),
            }
        }
        if consensus.standing() != Standing::Leading {
            // Whoever leads next watches for itself: what this node saw before it was cut off proves nothing.
            watch = DeathWatch::default();
            continue;
        }
        let Some(change) = consensus.next_change(&mut watch) else { continue };
        info!(?change, "membership changes");
        // Giving up half-way is safe: the next look, here or on another leader, completes what was begun.
        let changed = timeout(consensus.config.longest_wait, consensus.carry_out(change));
        let changed = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = changed => changed,
        };
        match changed {
            Ok(Ok(())) => {}
            Ok(Err(why)) => debug!(why, "a membership change was not completed and is looked at again"),
            Err(_) => debug!("a membership change takes long and is looked at again"),
        }
    }
}

impl Consensus {
    fn next_change(&self, watch: &mut DeathWatch) -> Option<Change> {
        let catalog = self.catalog.borrow().clone();
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let voters: Vec<BTreeSet<NodeId>> =
            membership.get_joint_config().iter().map(|set| set.iter().copied().map(NodeId).collect()).collect();
        let members: BTreeSet<NodeId> = membership.nodes().map(|(id, _)| NodeId(*id)).collect();
        let me = self.identity.node;
        let alive: BTreeSet<NodeId> = self.view.borrow().alive().map(|node| node.id).chain([me]).collect();
        let now = Instant::now();
        watch.update(&members, &alive, now);
        let last = metrics.last_log_index.unwrap_or(0);
        let near =
            |matched: Option<u64>| matched.is_some_and(|index| last.saturating_sub(index) <= self.config.caught_up_lag);
        let replication = metrics.replication.unwrap_or_default();
        let caught_up = replication.iter().filter(|(_, matched)| near(matched.as_ref().map(|id| id.index)));
        next_change(&Situation {
            catalog: &catalog,
            voters: &voters,
            members: &members,
            me,
            alive: &alive,
            long_dead: &watch.dead_for(self.config.voter_dead_after, now),
            caught_up: &caught_up.map(|(node, _)| NodeId(*node)).collect(),
        })
    }

    async fn carry_out(&self, change: Change) -> Result<(), String> {
        let done = match change {
            Change::AddLearner(node) => self.raft.add_learner(node.0, EmptyNode {}, false).await,
            Change::SetVoters(voters) => {
                let voters: BTreeSet<u64> = voters.into_iter().map(|node| node.0).collect();
                self.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), true).await
            }
            Change::Remove(nodes) => {
                let nodes: BTreeSet<u64> = nodes.into_iter().map(|node| node.0).collect();
                self.raft.change_membership(ChangeMembers::RemoveNodes(nodes), false).await
            }
        };
        done.map(|_| ()).map_err(|error| error.to_string())
    }
}
