//! Brings the copies to where they should be, and collects what nobody needs.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use onrush_catalog::ArtifactStore as _;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{plan, store::Store};

/// What one check did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) pulled: usize,
    pub(crate) failed: usize,
    pub(crate) removed: usize,
}

impl Store {
    /// Checks the copies at every change of the catalog and at intervals, until `stop`. Each node pulls what it should
    /// hold, so nobody has to push.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let config = &self.inner.config;
        let mut catalog = self.inner.links.catalog.clone();
        let mut tick = tokio::time::interval(config.repair_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut followed = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
                changed = catalog.changed(), if followed => followed = changed.is_ok(),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                checked = self.check() => {
                    if checked != Checked::default() {
                        info!(pulled = checked.pulled, failed = checked.failed, removed = checked.removed, "artifacts checked");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(config.repair_pause) => {}
            }
        }
    }

    /// One check.
    pub(crate) async fn check(&self) -> Checked {
        let inner = &self.inner;
        let catalog = Arc::clone(&inner.links.catalog.borrow());
        let view = Arc::clone(&inner.links.view.borrow());
        let may_collect = plan::may_collect(&catalog, &view, &self.voters());
        let (copies, prefetch) = (inner.config.copies, inner.config.prefetch);
        // Ten thousand functions times five hundred nodes are too many for an async thread.
        let planned = tokio::task::spawn_blocking(move || plan::plan(&catalog, &view, copies, prefetch)).await;
        let Ok(planned) = planned else { return Checked::default() };
        let mut checked = Checked::default();
        let wanted = planned.mine.iter().copied();
        let mut pulls = stream::iter(wanted)
            .map(|artifact| async move {
                let here = inner.blobs.touch(artifact.digest).is_some();
                (here, artifact, self.open(artifact).await)
            })
            .buffer_unordered(inner.config.max_pulls);
        while let Some((here, artifact, outcome)) = pulls.next().await {
            match outcome {
                Ok(_) => checked.pulled += usize::from(!here),
                Err(error) => {
                    checked.failed += 1;
                    debug!(digest = %artifact.digest, %error, "an artifact of this node's share is not here yet");
                }
            }
        }
        if may_collect {
            checked.removed = self.collect(&planned, inner.config.collect_after).await;
        }
        checked
    }

    async fn collect(&self, planned: &plan::Plan, grace: Duration) -> usize {
        let now = Instant::now();
        let Some(since) = now.checked_sub(grace) else { return 0 };
        let garbage = plan::garbage(&self.inner.blobs.all(), &planned.referenced, now, grace);
        if garbage.is_empty() {
            return 0;
        }
        let blobs = Arc::clone(&self.inner.blobs);
        let removed = tokio::task::spawn_blocking(move || {
            let remove = |digest| {
                blobs.remove_unused(digest, since).unwrap_or_else(|error| {
                    warn!(%digest, %error, "an artifact that nobody needs cannot be deleted");
                    false
                })
            };
            garbage.into_iter().filter(|digest| remove(*digest)).count()
        });
        removed.await.unwrap_or(0)
    }
}
