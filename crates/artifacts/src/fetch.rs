//! Pulls a blob from peers: once, however many ask.

use std::{collections::BTreeMap, sync::Arc};

use futures::{
    FutureExt as _,
    future::{BoxFuture, WeakShared},
};
use onrush_catalog::ArtifactError;
use onrush_types::{ArtifactRef, Digest, NodeId};
use tokio::time::timeout;
use tracing::{debug, info};

use crate::{intake, plan, store::Inner};

/// Pulls on their way. A pull that nobody waits for any more is dropped.
pub(crate) type Flights = BTreeMap<Digest, WeakShared<BoxFuture<'static, Result<(), ArtifactError>>>>;

/// Returns when the blob is here, verified.
pub(crate) async fn pull(inner: &Arc<Inner>, artifact: ArtifactRef) -> Result<(), ArtifactError> {
    let flight = {
        let mut flights = inner.flights();
        let running = flights.get(&artifact.digest).and_then(WeakShared::upgrade);
        running.unwrap_or_else(|| {
            flights.retain(|_, flight| flight.upgrade().is_some());
            let flight = one(Arc::clone(inner), artifact).boxed().shared();
            flights.extend(flight.downgrade().map(|weak| (artifact.digest, weak)));
            flight
        })
    };
    flight.await
}

async fn one(inner: Arc<Inner>, artifact: ArtifactRef) -> Result<(), ArtifactError> {
    let all = async {
        let _permit = inner.pulls.acquire().await.map_err(|_| ArtifactError::Missing(artifact.digest))?;
        // It may have been put here while this pull waited for its turn.
        if inner.blobs.touch(artifact.digest).is_some_and(|blob| blob.verified) {
            return Ok(());
        }
        from_any(&inner, artifact).await
    };
    let outcome = timeout(inner.config.pull_timeout, all).await;
    outcome.unwrap_or_else(|_| {
        let short = artifact.digest.short();
        Err(ArtifactError::Unavailable(format!("pulling artifact {short} took over {:?}", inner.config.pull_timeout)))
    })
}

async fn from_any(inner: &Arc<Inner>, artifact: ArtifactRef) -> Result<(), ArtifactError> {
    let view = Arc::clone(&inner.links.view.borrow());
    let voters = Arc::clone(&inner.links.voters.borrow());
    let sources = plan::sources(artifact.digest, &view, &voters, inner.config.copies);
    for node in sources.into_iter().take(inner.config.pull_attempts) {
        match from(inner, artifact, node).await {
            Ok(()) => {
                info!(digest = %artifact.digest.short(), size = artifact.size, %node, "artifact pulled");
                return Ok(());
            }
            // This node's own trouble; another peer does not help.
            Err(error @ (ArtifactError::Internal(_) | ArtifactError::TooLarge(_))) => return Err(error),
            Err(error) => debug!(digest = %artifact.digest.short(), %node, %error, "no artifact from this node"),
        }
    }
    Err(ArtifactError::Missing(artifact.digest))
}

async fn from(inner: &Arc<Inner>, artifact: ArtifactRef, node: NodeId) -> Result<(), ArtifactError> {
    let bounds = inner.bounds();
    let answer = timeout(bounds.idle, inner.links.peers.pull(node, artifact.digest)).await;
    // A peer's inner troubles are not this node's: all its errors mean "ask another".
    let answer = answer.map_err(|_| ArtifactError::Unavailable(format!("node {node} does not answer")))?;
    let (said, bytes) = answer.map_err(|error| ArtifactError::Unavailable(error.to_string()))?;
    if said != artifact {
        return Err(ArtifactError::Rejected(format!("node {node} sends {said:?} for {artifact:?}")));
    }
    intake::take(&inner.blobs, bytes, Some(artifact), bounds).await.map(drop)
}
