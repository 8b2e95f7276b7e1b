//! Every long-lived task has an owner, a name and a stage here. The first one to end early brings the node down, in
//! order; a stop request does the same, calmly.

use std::{collections::BTreeMap, time::Duration};

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// When a task is stopped. Earlier stages may still use the later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Takes traffic in: gateway and API listeners.
    Ingress,
    /// Runs calls and answers peers.
    Work,
    /// Agrees with the others.
    Agreement,
    /// Tells the others that we are here.
    Membership,
}

impl Stage {
    const IN_ORDER: [Self; 4] = [Self::Ingress, Self::Work, Self::Agreement, Self::Membership];
}

/// The name under which a task is reported, and when it stops.
type Named = (Stage, &'static str);

/// Owns the tasks of one node.
pub(crate) struct Supervisor {
    tasks: JoinSet<(Named, anyhow::Result<()>)>,
    running: BTreeMap<Stage, Vec<&'static str>>,
    stops: BTreeMap<Stage, CancellationToken>,
    grace: Duration,
}

impl Supervisor {
    /// With nothing to do yet. A stage that takes longer than `grace` to stop is aborted.
    pub(crate) fn new(grace: Duration) -> Self {
        let stops = Stage::IN_ORDER.map(|stage| (stage, CancellationToken::new())).into();
        Self { tasks: JoinSet::new(), running: BTreeMap::new(), stops, grace }
    }

    /// The token that tells the tasks of a stage to stop.
    pub(crate) fn stop_of(&self, stage: Stage) -> CancellationToken {
        self.stops.get(&stage).cloned().unwrap_or_default()
    }

    /// Starts a task. It must end soon after its stage's token is cancelled, and not before.
    pub(crate) fn spawn<F>(&mut self, stage: Stage, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.running.entry(stage).or_default().push(name);
        self.tasks.spawn(async move { ((stage, name), task.await) });
    }

    /// Waits until `stop` is cancelled or a task ends by itself. The latter is an error, whatever the task says.
    pub(crate) async fn watch(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            Some(ended) = self.tasks.join_next() => Err(self.ended_early(ended)),
        }
    }

    /// Stops one stage: cancels, waits for the usual grace, then names what is left.
    pub(crate) async fn stop(&mut self, stage: Stage) {
        self.stop_within(stage, self.grace).await;
    }

    /// The same with another grace.
    pub(crate) async fn stop_within(&mut self, stage: Stage, grace: Duration) {
        if self.running.get(&stage).is_none_or(Vec::is_empty) {
            return;
        }
        self.stop_of(stage).cancel();
        let patience = tokio::time::Instant::now() + grace;
        while self.running.get(&stage).is_some_and(|names| !names.is_empty()) {
            match tokio::time::timeout_at(patience, self.tasks.join_next()).await {
                Ok(Some(Ok(((stage, name), result)))) => {
                    self.forget(stage, name);
                    if let Err(error) = result {
                        warn!(task = name, error = %format!("{error:#}"), "a task failed while it was stopping");
                    }
                }
                // Its name is lost with it; the others of its stage still get their time.
                Ok(Some(Err(error))) => warn!(%error, "a task was lost while it was stopping"),
                Ok(None) => break,
                Err(_) => {
                    warn!(?stage, tasks = ?self.running.get(&stage), "tasks did not stop in time");
                    break;
                }
            }
        }
        info!(?stage, "stopped");
    }

    /// Stops every stage in order.
    pub(crate) async fn stop_all(&mut self) {
        for stage in Stage::IN_ORDER {
            self.stop(stage).await;
        }
        self.tasks.shutdown().await;
    }

    fn ended_early(&mut self, ended: Result<(Named, anyhow::Result<()>), JoinError>) -> anyhow::Error {
        match ended {
            Ok(((stage, name), result)) => {
                self.forget(stage, name);
                let error = result.err().unwrap_or_else(|| anyhow::anyhow!("it ended without being told to"));
                error.context(format!("the node cannot go on: its task {name:?} failed"))
            }
            Err(error) => anyhow::Error::new(error).context("the node cannot go on: a task panicked"),
        }
    }

    fn forget(&mut self, stage: Stage, name: &'static str) {
        if let Some(names) = self.running.get_mut(&stage)
            && let Some(at) = names.iter().position(|known| *known == name)
        {
            names.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stages_stop_in_order() {
        let mut supervisor = Supervisor::new(Duration::from_secs(1));
        let order = Arc::new(Mutex::new(Vec::new()));
        for stage in Stage::IN_ORDER.into_iter().rev() {
            let (stop, order) = (supervisor.stop_of(stage), Arc::clone(&order));
            supervisor.spawn(stage, "task", async move {
                stop.cancelled().await;
                order.lock().unwrap().push(stage);
                Ok(())
            });
        }
        supervisor.stop_all().await;
        assert_eq!(*order.lock().unwrap(), Stage::IN_ORDER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_by_itself_is_an_error_with_its_name() {
        let mut supervisor = Supervisor::new(Duration::from_secs(1));
        supervisor.spawn(Stage::Membership, "gossip", async { Ok(()) });
        let error = supervisor.watch(&CancellationToken::new()).await.unwrap_err();
        assert!(format!("{error:#}").contains("gossip"), "{error:#}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_is_aborted_after_its_grace() {
        let mut supervisor = Supervisor::new(Duration::from_secs(1));
        supervisor.spawn(Stage::Work, "stuck", std::future::pending());
        let began = tokio::time::Instant::now();
        supervisor.stop_all().await;
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }
}
