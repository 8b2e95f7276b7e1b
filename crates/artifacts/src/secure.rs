//! Copies to a majority of the voters, so that a committed version's code cannot be lost with a minority.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use onrush_catalog::{ArtifactError, ArtifactStore as _};
use onrush_types::{ArtifactRef, NodeId};
use tokio::time::{Instant, sleep, timeout_at};

use crate::store::Store;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(1_600);

/// Why each voter does not have it yet.
type Reasons = Mutex<BTreeMap<NodeId, String>>;

/// Returns the voters that hold it once they are a majority. All are asked at once, those that gossip takes for dead as
/// well: gossip may be wrong.
pub(crate) async fn secure(
    store: &Store,
    artifact: ArtifactRef,
    timeout: Duration,
) -> Result<Vec<NodeId>, ArtifactError> {
    let deadline = Instant::now() + timeout;
    let voters = store.voters();
    let need = voters.len() / 2 + 1;
    if voters.is_empty() {
        return Err(ArtifactError::Unavailable("no voters are known yet; try again when the cluster is formed".into()));
    }
    let here = timeout_at(deadline, store.open(artifact)).await;
    here.map_err(|_| ArtifactError::Unavailable(format!("artifact {} came too late", artifact.digest.short())))??;
    let me = store.me();
    let mut holders: Vec<_> = voters.iter().copied().filter(|id| *id == me).collect();
    let reasons = Reasons::default();
    let others = voters.iter().copied().filter(|id| *id != me);
    let mut copies: FuturesUnordered<_> = others.map(|id| copy(store, artifact, id, &reasons)).collect();
    while holders.len() < need {
        match timeout_at(deadline, copies.next()).await {
            Ok(Some(holder)) => holders.extend(holder),
            Ok(None) | Err(_) => return Err(too_few(&voters.iter().copied().collect::<Vec<_>>(), &holders, &reasons)),
        }
    }
    holders.sort_unstable();
    Ok(holders)
}

/// Tries until that node holds it; gives up only where trying again is useless.
async fn copy(store: &Store, artifact: ArtifactRef, node: NodeId, reasons: &Reasons) -> Option<NodeId> {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match attempt(store, artifact, node).await {
            Ok(()) => return Some(node),
            Err(error) => error,
        };
        reasons.lock().unwrap_or_else(PoisonError::into_inner).insert(node, error.to_string());
        match error {
            ArtifactError::TooLarge(_) | ArtifactError::Internal(_) => return None,
            // A stream that broke off is rejected as well; the bytes themselves were verified here.
            ArtifactError::Rejected(_) | ArtifactError::Missing(_) | ArtifactError::Unavailable(_) => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn attempt(store: &Store, artifact: ArtifactRef, node: NodeId) -> Result<(), ArtifactError> {
    let _permit = store.push_permit().await?;
    let peers = store.peers();
    if peers.size_on(node, artifact.digest).await? == Some(artifact.size) {
        return Ok(());
    }
    let (artifact, bytes) = store.read(artifact.digest).await?;
    peers.push(node, artifact, bytes).await
}

fn too_few(voters: &[NodeId], holders: &[NodeId], reasons: &Reasons) -> ArtifactError {
    let reasons = reasons.lock().unwrap_or_else(PoisonError::into_inner);
    let why = |id: &NodeId| {
        let reason = reasons.get(id).map_or("no answer in time", String::as_str);
        format!("node {id} ({reason})")
    };
    let missing: Vec<_> = voters.iter().filter(|id| !holders.contains(id)).map(why).collect();
    ArtifactError::Unavailable(format!(
        "the artifact is on {} of {} voters and must be on {}; missing: {}",
        holders.len(),
        voters.len(),
        voters.len() / 2 + 1,
        missing.join(", ")
    ))
}
