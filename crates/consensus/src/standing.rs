//! Who leads, and whether there is a quorum, as far as this node can tell.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use onrush_types::NodeId;
use tokio::{sync::watch, time::Instant};

use crate::{Consensus, types::Metrics};

/// Where this node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It leads and heard from a quorum lately.
    Leading,
    /// It holds itself for the leader, but no quorum has confirmed that for a while. A restarted leader starts like this.
    CutOff,
    /// It follows this node.
    Following(NodeId),
    /// It knows no leader.
    Leaderless,
    /// Raft has stopped here.
    Stopped(String),
}

/// Reads Raft's report.
pub(crate) fn read(metrics: &Metrics, quorum_silence: Duration) -> Standing {
    if let Err(fatal) = &metrics.running_state {
        return Standing::Stopped(fatal.to_string());
    }
    if metrics.state.is_leader() {
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let heard = metrics.millis_since_quorum_ack.is_some_and(|ms| u128::from(ms) < quorum_silence.as_millis());
        // A sole voter is its own quorum and asks nobody.
        return if heard || voters == [metrics.id] { Standing::Leading } else { Standing::CutOff };
    }
    match metrics.current_leader {
        Some(leader) if leader != metrics.id => Standing::Following(NodeId(leader)),
        Some(_) | None => Standing::Leaderless,
    }
}

impl Consensus {
    pub(crate) fn standing(&self) -> Standing {
        // The guard must not outlive the statement: Raft's core waits for it.
        read(&self.raft.metrics().borrow(), self.config.quorum_silence())
    }

    /// The leader, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        match self.standing() {
            Standing::Leading => Some(self.identity.node),
            Standing::Following(leader) => Some(leader),
            Standing::CutOff | Standing::Leaderless | Standing::Stopped(_) => None,
        }
    }

    /// Whether writes can succeed: this node leads and heard from a quorum lately, or heard from a leader lately.
    pub fn has_quorum(&self) -> bool {
        match self.standing() {
            Standing::Leading => true,
            Standing::Following(_) => self.heard_lately(),
            Standing::CutOff | Standing::Leaderless | Standing::Stopped(_) => false,
        }
    }

    /// Who votes now; while a change is under way, those who voted before it and will after it. Wakes on every change.
    pub fn voters(&self) -> watch::Receiver<Arc<BTreeSet<NodeId>>> {
        self.voters.subscribe()
    }

    /// A leader's message was accepted.
    pub(crate) fn heard(&self) {
        self.heard.send_replace(Some(Instant::now()));
    }

    pub(crate) fn heard_lately(&self) -> bool {
        let silence = self.config.leader_silence();
        self.heard.borrow().is_some_and(|last| last.elapsed() < silence)
    }

    /// What to tell a caller whose write finds no quorum.
    pub(crate) fn no_quorum(&self) -> String {
        let voters = self.voters.borrow().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self.standing() {
            Standing::Stopped(why) => format!("the catalog has stopped on this node: {why}"),
            Standing::Following(leader) => {
                format!("node {leader}, the leader, does not answer; a majority of the voters ({voters}) must be up")
            }
            Standing::Leading | Standing::CutOff | Standing::Leaderless => {
                format!(
                    "no quorum: a majority of the voters ({voters}) must be up and reach each other; try again then"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::ServerState;

    fn leader(voters: &[u64], acked: Option<u64>) -> Metrics {
        let mut metrics = Metrics::new_initial(1);
        metrics.state = ServerState::Leader;
        metrics.current_leader = Some(1);
        metrics.millis_since_quorum_ack = acked;
        let voters: BTreeSet<u64> = voters.iter().copied().collect();
        let membership = openraft::Membership::new(vec![voters], None);
        metrics.membership_config = Arc::new(openraft::StoredMembership::new(None, membership));
        metrics
    }

    #[test]
    fn a_leader_counts_only_while_a_quorum_confirms_it() {
        let silence = Duration::from_millis(800);
        assert_eq!(read(&leader(&[1, 2, 3], Some(700)), silence), Standing::Leading);
        assert_eq!(read(&leader(&[1, 2, 3], Some(900)), silence), Standing::CutOff);
        assert_eq!(read(&leader(&[1, 2, 3], None), silence), Standing::CutOff, "restarted");
        assert_eq!(read(&leader(&[1], None), silence), Standing::Leading, "its own quorum");
    }

    #[test]
    fn a_follower_names_its_leader_and_never_itself() {
        let mut metrics = Metrics::new_initial(1);
        assert_eq!(read(&metrics, Duration::ZERO), Standing::Leaderless);
        metrics.current_leader = Some(2);
        assert_eq!(read(&metrics, Duration::ZERO), Standing::Following(NodeId(2)));
        metrics.current_leader = Some(1);
        assert_eq!(read(&metrics, Duration::ZERO), Standing::Leaderless);
        metrics.running_state = Err(openraft::error::Fatal::Stopped);
        assert!(matches!(read(&metrics, Duration::ZERO), Standing::Stopped(_)));
    }
}
