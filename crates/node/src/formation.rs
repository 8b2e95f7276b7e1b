//! When a node may call itself ready for the first time: min(wanted voters, seeds) nodes vote. Afterwards readiness
//! never needs a quorum again, restarts included: a marker in the data directory remembers.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use onrush_catalog::Catalog;
use onrush_consensus::formation_voters;
use onrush_types::NodeId;
use tokio::sync::watch;

use crate::health::Health;

/// The marker's name in the data directory.
const MARKER: &str = "formed";

/// What is still missing before the cluster counts as formed; none means that it is.
fn missing(catalog: &Catalog, voters: &BTreeSet<NodeId>, seeds: usize) -> Option<String> {
    let Some(cluster) = &catalog.cluster else { return Some("the cluster is not formed yet".to_owned()) };
    // Nodes that were removed again, or that may not vote, are not waited for.
    let able = catalog.nodes.values().filter(|node| node.roles.control).count();
    let all_came = usize::try_from(catalog.last_node.0).is_ok_and(|ever| ever >= seeds);
    let needed = formation_voters(cluster.voters, if all_came { seeds.min(able) } else { seeds });
    (voters.len() < needed).then(|| format!("{} of {needed} nodes vote; waiting for the others", voters.len()))
}

/// Waits until the cluster is formed, unless it was before, and remembers that.
///
/// # Errors
/// The marker cannot be written.
pub(crate) async fn formed(
    dir: &Path,
    seeds: usize,
    mut catalog: watch::Receiver<Arc<Catalog>>,
    mut voters: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    health: &Health,
) -> anyhow::Result<()> {
    let marker = dir.join(MARKER);
    if tokio::fs::try_exists(&marker).await? {
        return Ok(());
    }
    loop {
        let lacking = missing(&catalog.borrow_and_update(), &voters.borrow_and_update(), seeds);
        let Some(lacking) = lacking else { break };
        health.waiting_for(lacking);
        tokio::select! {
            changed = catalog.changed() => changed?,
            changed = voters.changed() => changed?,
        }
    }
    tokio::task::spawn_blocking(move || write(&marker)).await??;
    Ok(())
}

fn write(marker: &PathBuf) -> io::Result<()> {
    std::fs::File::create(marker)?.sync_all()?;
    marker.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use onrush_catalog::{Command, Proposal};
    use onrush_types::{ClusterId, RequestId, Roles};

    use super::*;

    fn catalog(voters: u8) -> Catalog {
        let mut catalog = Catalog::default();
        let command = Command::FormCluster {
            cluster: ClusterId::new(),
            voters,
            name: "a".parse().unwrap(),
            peer: "127.0.0.1:7071".into(),
            roles: Roles::default(),
        };
        catalog.apply(&Proposal { request: RequestId::new(), at_ms: 0, command });
        catalog
    }

    fn votes(count: u64) -> BTreeSet<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    #[test]
    fn as_many_must_vote_as_are_wanted_or_as_seeds_can_make_an_odd_number_of() {
        assert!(missing(&Catalog::default(), &votes(3), 3).is_some());
        assert!(missing(&catalog(3), &votes(2), 3).is_some());
        assert!(missing(&catalog(3), &votes(3), 5).is_none());
        assert!(missing(&catalog(3), &votes(1), 1).is_none(), "one seed forms a cluster alone");
        assert!(missing(&catalog(3), &votes(1), 0).is_none(), "no seed list: a node by itself");
        assert!(missing(&catalog(5), &votes(3), 5).is_some());
    }

    #[tokio::test]
    async fn a_cluster_that_was_formed_once_is_ready_without_a_quorum() {
        let dir = tempfile::tempdir().unwrap();
        let health = Health::new();
        let (catalogs, voters) = (watch::Sender::new(Arc::new(catalog(3))), watch::Sender::new(Arc::new(votes(1))));
        let wait = formed(dir.path(), 3, catalogs.subscribe(), voters.subscribe(), &health);
        let grow = async { voters.send_replace(Arc::new(votes(3))) };
        tokio::join!(async { wait.await.unwrap() }, grow);
        voters.send_replace(Arc::new(votes(0)));
        formed(dir.path(), 3, catalogs.subscribe(), voters.subscribe(), &health).await.unwrap();
    }
}
