//! The agreement as a whole: several nodes, their deaths and returns.
#![cfg(feature = "rocksdb")]
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs, reason = "a test")]

use std::{sync::Arc, time::Duration};

use harness::{TestNode, WAIT, World, proposal, until};
use onrush_catalog::{CatalogStore, Command, CommitError, Outcome};
use onrush_consensus::{BootstrapError, RunError};
use onrush_types::{Code, NodeId, Roles};
use tokio::time::{Instant, timeout};

#[path = "cluster/harness.rs"]
mod harness;

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// Three nodes that vote, in the order of their ids.
async fn three(world: &mut World) -> Vec<TestNode> {
    let mut nodes = world.start_all(&[0, 1, 2]).await;
    nodes.sort_by_key(TestNode::id);
    for node in &nodes {
        node.await_voters(&[1, 2, 3]).await;
    }
    nodes
}

fn leader_of(nodes: &[TestNode]) -> Option<usize> {
    nodes.iter().position(|node| node.consensus.leader() == Some(node.id()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_seeds_form_one_cluster_and_each_node_takes_writes_and_reads_them() {
    let mut world = World::new(3, 3).await;
    let nodes = three(&mut world).await;
    assert_eq!(nodes[0].data_dir().path(), world.dir(0), "the lowest seed founds");
    assert!(nodes.iter().all(|node| node.identity().cluster == nodes[0].identity().cluster));
    for (i, node) in nodes.iter().enumerate() {
        let committed = node.cordon(node.id(), true).await.unwrap();
        assert_eq!(committed.outcome, Outcome::Done);
        assert!(node.is_cordoned(node.id()), "a node reads its own write at once");
        let other = &nodes[(i + 1) % 3];
        let fresh = other.consensus.fresh(SECONDS(9)).await.unwrap();
        assert!(fresh.nodes[&node.id()].cordoned, "a fresh read elsewhere shows it");
        assert!(node.consensus.has_quorum());
    }
    let repeated = proposal(Command::SetVoters { wanted: 5 });
    let first = nodes[1].consensus.commit(repeated.clone(), SECONDS(9)).await.unwrap();
    nodes[0].cordon(NodeId(1), false).await.unwrap();
    let again = nodes[2].consensus.commit(repeated, SECONDS(9)).await.unwrap();
    assert_eq!(first, again, "the same request has one outcome");
    let refused = nodes[2].commit(Command::RemoveNode { node: NodeId(99) }).await.unwrap();
    assert!(matches!(refused.outcome, Outcome::Refused(refusal) if refusal.code == Code::NotFound));
    let invalid = nodes[2].commit(Command::SetVoters { wanted: 4 }).await.unwrap();
    assert!(matches!(invalid.outcome, Outcome::Refused(refusal) if refusal.code == Code::BadRequest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_at_once_share_entries_and_all_take_effect() {
    let mut world = World::new(3, 3).await;
    let nodes = three(&mut world).await;
    let before = nodes[0].consensus.fresh(SECONDS(9)).await.unwrap().revision;
    let writers = (0..60).map(|i| {
        let name = format!("writer-{i}").parse().unwrap();
        let command = Command::AllocateNode { name, peer: "nowhere:1".to_owned(), roles: "worker".parse().unwrap() };
        nodes[i % 3].commit(command)
    });
    let ids: std::collections::BTreeSet<_> = futures::future::join_all(writers)
        .await
        .into_iter()
        .map(|committed| match committed.unwrap().outcome {
            Outcome::NodeAllocated(id) => id,
            outcome => panic!("{outcome:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 60);
    let after = nodes[1].consensus.fresh(SECONDS(9)).await.unwrap().revision;
    assert_eq!(after.0 - before.0, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_after_the_leaders_death_and_are_refused_without_a_quorum() {
    let mut world = World::new(3, 3).await;
    let mut nodes = three(&mut world).await;
    let leader = until("a leader", || async { leader_of(&nodes) }).await;
    world.kill(nodes.remove(leader)).await;
    let start = Instant::now();
    nodes[0].cordon(NodeId(1), true).await.unwrap();
    assert!(start.elapsed() < SECONDS(5), "{:?}", start.elapsed());
    let second = leader_of(&nodes).unwrap_or(0);
    world.kill(nodes.remove(second)).await;
    let last = &nodes[0];
    let start = Instant::now();
    let error = last.cordon(NodeId(2), true).await.unwrap_err();
    assert!(start.elapsed() < SECONDS(10), "{:?}", start.elapsed());
    // A leader that has just lost its quorum may have appended the write before it could know.
    assert!(matches!(error, CommitError::Unavailable(_) | CommitError::OutcomeUnknown(_)), "{error:?}");
    let error = last.cordon(NodeId(2), true).await.unwrap_err();
    assert!(matches!(error, CommitError::Unavailable(_)), "refused before it is appended: {error:?}");
    assert!(last.consensus.fresh(SECONDS(2)).await.is_err());
    assert!(!last.consensus.has_quorum());
    assert_eq!(last.consensus.leader(), None);
    assert!(last.is_cordoned(NodeId(1)), "local reads go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_after_all_nodes_restart() {
    let mut world = World::new(3, 3).await;
    let nodes = three(&mut world).await;
    nodes[1].cordon(NodeId(2), true).await.unwrap();
    let before = nodes[1].consensus.watch().borrow().clone();
    let identities: Vec<_> = nodes.iter().map(|node| node.identity().clone()).collect();
    for node in nodes {
        world.kill(node).await;
    }
    let mut nodes = world.start_all(&[0, 1, 2]).await;
    nodes.sort_by_key(TestNode::id);
    assert_eq!(nodes.iter().map(|node| node.identity().clone()).collect::<Vec<_>>(), identities);
    for node in &nodes {
        let fresh = until("a fresh read", || async { node.consensus.fresh(SECONDS(9)).await.ok() }).await;
        assert_eq!(fresh.nodes, before.nodes);
        assert_eq!(fresh.cluster, before.cluster);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_is_refused_under_its_old_name_until_it_was_removed() {
    let mut world = World::new(3, 3).await;
    let mut nodes = three(&mut world).await;
    let wiped = nodes.pop().unwrap();
    let (id, place) = (wiped.id(), if *wiped.data_dir().path() == world.dir(1) { 1 } else { 2 });
    world.kill(wiped).await;
    // RocksDB's own threads may still be closing files.
    until("an empty place", || async { std::fs::remove_dir_all(world.dir(place)).ok() }).await;
    let error = world.start(place).await.err().expect("it has forgotten its promises");
    assert!(matches!(&error, BootstrapError::Refused { code: Code::Conflict, .. }), "{error}");
    assert!(error.to_string().contains("onrush node remove"), "{error}");
    nodes[0].commit(Command::RemoveNode { node: id }).await.unwrap();
    let back = world.start(place).await.unwrap();
    assert_eq!(back.id(), NodeId(4), "an id is never used again");
    nodes[0].await_voters(&[1, 2, 4]).await;
    back.await_voters(&[1, 2, 4]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_node_joins_as_a_learner_and_takes_writes_too() {
    let mut world = World::new(4, 3).await;
    let nodes = three(&mut world).await;
    let fourth = world.start(3).await.unwrap();
    assert_eq!(fourth.id(), NodeId(4));
    fourth.await_voters(&[1, 2, 3]).await;
    fourth.cordon(NodeId(4), true).await.unwrap();
    assert!(fourth.is_cordoned(NodeId(4)));
    assert!(nodes[0].consensus.fresh(SECONDS(9)).await.unwrap().nodes[&NodeId(4)].cordoned);
    fourth.await_voters(&[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_is_told_at_once_or_when_it_comes_back() {
    let mut world = World::new(5, 3).await;
    let nodes = three(&mut world).await;
    let (running, away) = (world.start(3).await.unwrap(), world.start(4).await.unwrap());
    away.cordon(away.id(), true).await.unwrap();
    let (running_id, away_id) = (running.id(), away.id());
    world.kill(away).await;
    for node in [running_id, away_id] {
        nodes[0].commit(Command::RemoveNode { node }).await.unwrap();
    }
    let told = timeout(WAIT, running.run).await.expect("it goes on").unwrap();
    assert_eq!(told, Err(RunError::Removed(running_id)));
    let back = world.start(4).await.unwrap();
    let told = timeout(WAIT, back.run).await.expect("it goes on").unwrap();
    assert_eq!(told, Err(RunError::Removed(away_id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_moved_registers_its_new_roles() {
    let mut world = World::new(1, 1).await;
    let node = world.start(0).await.unwrap();
    node.cordon(NodeId(1), true).await.unwrap();
    let roles: Roles = "control".parse().unwrap();
    let command = Command::UpdateNode { node: NodeId(1), peer: "elsewhere:1".to_owned(), roles };
    node.commit(command).await.unwrap();
    let mut catalog = node.consensus.watch();
    let restored = catalog.wait_for(|catalog| catalog.nodes[&NodeId(1)].roles == Roles::default());
    let restored = timeout(WAIT, restored).await.expect("it stays wrong").unwrap().nodes[&NodeId(1)].clone();
    assert_eq!(restored.peer, world.seeds[0], "a node's record follows the node");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_seeds_belong_to_another_cluster_is_refused() {
    let mut world = World::new(2, 1).await;
    let first = world.start(0).await.unwrap();
    first.cordon(NodeId(1), true).await.unwrap();
    let joined = world.start(1).await.unwrap();
    world.kill(joined).await;
    world.kill(first).await;
    // Its database is closed by a thread of its own, a moment after the node's last task.
    until("the directory is let go", || async { std::fs::remove_dir_all(world.dir(0)).ok() }).await;
    let _other_cluster = world.start(0).await.unwrap();
    let error = world.start(1).await.err().expect("it would mix two clusters");
    assert!(matches!(error, BootstrapError::ForeignCluster { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_that_dies_before_its_first_command_forms_the_same_cluster_later() {
    let mut world = World::new(1, 1).await;
    let node = world.start(0).await.unwrap();
    let cluster = node.identity().cluster;
    // Killed at once, mostly before the first command is in the log; the same must come out wherever it was.
    world.kill(node).await;
    let node = world.start(0).await.unwrap();
    let mut catalog = node.consensus.watch();
    let formed = timeout(WAIT, catalog.wait_for(|catalog| catalog.cluster.is_some())).await.unwrap().unwrap().clone();
    assert_eq!(formed.cluster.as_ref().unwrap().id, cluster);
    assert_eq!((formed.revision.0, formed.nodes.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_too_large_is_refused_here() {
    let mut world = World::new(1, 1).await;
    let node = world.start(0).await.unwrap();
    let store: Arc<dyn CatalogStore> = Arc::clone(&node.consensus) as Arc<dyn CatalogStore>;
    let command = Command::UpdateNode { node: NodeId(1), peer: "x".repeat(2 << 20), roles: Roles::default() };
    let refused = store.commit(proposal(command), SECONDS(5)).await.unwrap();
    assert!(matches!(refused.outcome, Outcome::Refused(refusal) if refusal.code == Code::TooLarge));
}
