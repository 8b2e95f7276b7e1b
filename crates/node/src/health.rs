//! Whether this node serves, and if not, why.

use std::sync::Arc;

use tokio::sync::watch;

/// Where the node is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not serving yet; says what it waits for.
    Starting(String),
    /// Serving.
    Serving,
    /// Told to take nothing new.
    Draining,
    /// On its way out; nothing brings it back.
    Stopping,
}

/// The node's phase, shared with every listener.
#[derive(Clone)]
pub(crate) struct Health {
    phase: Arc<watch::Sender<Phase>>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { phase: Arc::new(watch::Sender::new(Phase::Starting("the node is starting".to_owned()))) }
    }

    pub(crate) fn set(&self, phase: Phase) {
        self.phase.send_if_modified(|known| {
            let changed = *known != phase;
            if changed {
                *known = phase;
            }
            changed
        });
    }

    /// Says what a starting node waits for; a node that serves already stays as it is.
    pub(crate) fn waiting_for(&self, why: String) {
        self.phase.send_if_modified(|known| {
            let changed = matches!(known, Phase::Starting(before) if *before != why);
            if changed {
                *known = Phase::Starting(why);
            }
            changed
        });
    }

    /// Between serving and draining, when an operator says so. A node that starts or stops goes its own way.
    pub(crate) fn change_draining(&self, draining: bool) -> bool {
        let (from, to) = if draining { (Phase::Serving, Phase::Draining) } else { (Phase::Draining, Phase::Serving) };
        self.phase.send_if_modified(|known| {
            let changes = *known == from;
            if changes {
                *known = to;
            }
            changes
        })
    }

    /// Whether the node is in this phase.
    pub(crate) fn is(&self, phase: &Phase) -> bool {
        *self.phase.borrow() == *phase
    }

    /// Serving, or why not.
    pub(crate) fn ready(&self) -> Result<(), String> {
        match &*self.phase.borrow() {
            Phase::Serving => Ok(()),
            Phase::Starting(why) => Err(why.clone()),
            Phase::Draining => Err("the node is draining".to_owned()),
            Phase::Stopping => Err("the node is stopping".to_owned()),
        }
    }

    /// Waits until the node serves.
    pub(crate) async fn serving(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives as long as `self`, so this ends only when the phase is reached.
        let _closed = phase.wait_for(|phase| *phase == Phase::Serving).await.is_err();
    }
}

impl onrush_gateway::Health for Health {
    fn ready(&self) -> Result<(), String> {
        Self::ready(self)
    }

    fn live(&self) -> Result<(), String> {
        // A part that fails ends the process, so a node that can answer is alive.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_says_why_it_does_not_serve() {
        let health = Health::new();
        health.waiting_for("two seeds are missing".to_owned());
        assert_eq!(health.ready().unwrap_err(), "two seeds are missing");
        health.set(Phase::Serving);
        health.serving().await;
        health.waiting_for("late news".to_owned());
        assert_eq!(health.ready(), Ok(()), "a serving node is not set back by its own formation");
        assert!(health.change_draining(true));
        assert!(health.ready().unwrap_err().contains("draining"));
        assert!(!health.change_draining(true), "it drains already");
        assert!(health.change_draining(false));
        health.set(Phase::Stopping);
        assert!(!health.change_draining(false), "nobody brings a stopping node back");
        assert!(health.ready().unwrap_err().contains("stopping"));
        let starting = Health::new();
        assert!(!starting.change_draining(false), "a starting node is not ready because somebody says undrain");
    }
}
