//! A node's own record in the catalog: the founder's first command, a changed address, and the news of one's removal.

use std::time::Duration;

use onrush_catalog::{Command, Outcome, Proposal};
use onrush_types::{Code, RequestId};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use crate::{Consensus, Founding, RunError};

/// How long a node that leads or votes goes on after its removal, so that its vote is handed over first.
const FAREWELL: Duration = Duration::from_secs(10);
/// After so long without a leader a node asks whether it is still a member.
const DOUBT: Duration = Duration::from_secs(5);

/// Returns the reason for which this node can go on no longer, if there ever is one.
pub(crate) async fn run(consensus: &Consensus) -> RunError {
    match consensus.stay_registered().await {
        Err(why) => why,
        Ok(never) => match never {},
    }
}

impl Consensus {
    async fn stay_registered(&self) -> Result<std::convert::Infallible, RunError> {
        if let Some(founding) = &self.identity.founding {
            self.form(founding).await?;
        }
        let mut catalog = self.catalog.clone();
        loop {
            let removed = self.is_removed(self.identity.node);
            if removed {
                return Err(self.leave().await);
            }
            let registered = catalog.borrow_and_update().nodes.get(&self.identity.node).cloned();
            let current = registered.is_some_and(|known| known.peer == self.me.peer && known.roles == self.me.roles);
            let doubt = !self.has_quorum();
            if !current && !catalog.borrow().nodes.is_empty() {
                info!(peer = %self.me.peer, roles = %self.me.roles, "this node registers its address and roles");
                self.register().await?;
            } else if doubt && timeout(DOUBT, self.hear()).await.is_err() {
                // A removed node hears nothing, and an old log does not tell it why.
                self.register().await?;
            } else {
                let _changed_or_time_to_look = timeout(DOUBT, catalog.changed()).await.is_ok();
            }
        }
    }

    /// The first command. Its id is on disk, so that an interrupted founder repeats the same one.
    async fn form(&self, founding: &Founding) -> Result<(), RunError> {
        let command = Command::FormCluster {
            cluster: self.identity.cluster,
            voters: founding.voters,
            name: self.identity.name.clone(),
            peer: self.me.peer.clone(),
            roles: self.me.roles,
        };
        while self.catalog.borrow().cluster.is_none() {
            self.propose_own(founding.request, command.clone()).await?;
        }
        Ok(())
    }

    async fn register(&self) -> Result<(), RunError> {
        let Consensus { identity, me, .. } = self;
        let command = Command::UpdateNode { node: identity.node, peer: me.peer.clone(), roles: me.roles };
        self.propose_own(RequestId::new(), command).await
    }

    /// One attempt; whoever calls it looks at the catalog and comes again.
    async fn propose_own(&self, request: RequestId, command: Command) -> Result<(), RunError> {
        let proposal = Proposal { request, at_ms: self.clock.now_ms(), command };
        let deadline = Instant::now() + self.config.longest_wait;
        match self.submit(vec![proposal], deadline, false).await {
            Ok(decided) => match decided.committed.into_iter().next().map(|committed| committed.outcome) {
                // A removed node gets the log no more: it must not wait until it has applied the answer.
                Some(Outcome::Refused(refusal)) if refusal.code == Code::NotFound => Err(self.leave().await),
                Some(Outcome::Refused(refusal)) => Err(RunError::Refused(refusal.why)),
                Some(
                    Outcome::Done | Outcome::NodeAllocated(_) | Outcome::FunctionPut { .. } | Outcome::RoutePut { .. },
                )
                | None => {
                    // Late or not, the caller looks again.
                    let _applied = self.await_applied(decided.index, deadline).await;
                    Ok(())
                }
            },
            Err(undecided) => {
                debug!(error = %undecided.error, "this node could not register yet");
                sleep(self.config.retry_pause).await;
                Ok(())
            }
        }
    }

    /// Waits until a leader is there.
    async fn hear(&self) {
        let (mut heard, mut metrics) = (self.heard.subscribe(), self.raft.metrics());
        while !self.has_quorum() {
            tokio::select! {
                changed = heard.changed() => if changed.is_err() { return },
                changed = metrics.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Stays until the vote is handed over, but not for ever.
    async fn leave(&self) -> RunError {
        let me = self.identity.node;
        let mut metrics = self.raft.metrics();
        // Half-way through a change the old voters are still needed.
        let gone = metrics.wait_for(|metrics| metrics.membership_config.voter_ids().all(|voter| voter != me.0));
        let _handed_over = timeout(FAREWELL, gone).await.is_ok();
        RunError::Removed(me)
    }
}
