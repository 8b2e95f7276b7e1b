use openraft::{RaftSnapshotBuilder as _, storage::RaftLogStorage as _};

use super::*;
use crate::{
    storage::{disk::Files as _, open, snapshot},
    types::{Snapshot, SnapshotFile},
};

/// A node with some history, and a snapshot of it.
async fn leader() -> (Storage, Snapshot) {
    let mut storage = memory(&MemoryDisk::new());
    let puts = (0..20).map(|seed| put(&format!("f{}", seed % 7), seed)).collect();
    commit(&mut storage, vec![blank(0, 0), batch(1, vec![form()]), batch(2, puts)]).await;
    let snapshot = storage.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    (storage, snapshot)
}

#[tokio::test]
async fn a_snapshot_brings_another_node_to_the_same_state() {
    let (leader, snapshot) = leader().await;
    let dir = tempfile::tempdir().unwrap();
    let mut follower = open(dir.path(), &Config::default()).unwrap();
    commit(&mut follower, vec![blank(0, 0), batch(1, vec![form(), put("old", 1)])]).await;
    snapshot.snapshot.verify(&snapshot.meta).unwrap();
    follower.machine.install_snapshot(&snapshot.meta, snapshot.snapshot.clone()).await.unwrap();
    assert_eq!(*follower.catalog.borrow(), *leader.catalog.borrow());
    assert_eq!(*follower.applied.borrow(), 2);
    follower.log.purge(id(1, 2)).await.unwrap();
    drop(follower);

    let mut follower = open(dir.path(), &Config::default()).unwrap();
    assert_eq!(*follower.catalog.borrow(), *leader.catalog.borrow());
    let found = follower.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!((found.meta, found.snapshot), (snapshot.meta, snapshot.snapshot));
    // It goes on from there: remembered requests keep their order, new rows do not collide with old ones.
    commit(&mut follower, vec![batch(3, vec![put("f1", 99)])]).await;
    let catalog = follower.catalog.borrow().clone();
    drop(follower);
    assert_eq!(*open(dir.path(), &Config::default()).unwrap().catalog.borrow(), catalog);
}

#[tokio::test]
async fn an_install_that_a_crash_interrupted_leaves_the_old_state_or_is_finished() {
    let (leader, snapshot) = leader().await;
    let file = snapshot.snapshot.bytes();
    let dir = tempfile::tempdir().unwrap();
    let mut follower = open(dir.path(), &Config::default()).unwrap();
    commit(&mut follower, vec![blank(0, 0), batch(1, vec![form(), put("old", 1)])]).await;
    let before = follower.catalog.borrow().clone();
    drop(follower);

    // While the file was being written.
    std::fs::write(dir.path().join("snapshot.new"), &file[..file.len() / 2]).unwrap();
    let mut follower = open(dir.path(), &Config::default()).unwrap();
    assert_eq!(*follower.catalog.borrow(), before);
    assert!(follower.machine.get_current_snapshot().await.unwrap().is_none());
    drop(follower);

    // After the file, before the rows.
    std::fs::write(dir.path().join("snapshot"), file).unwrap();
    let mut follower = open(dir.path(), &Config::default()).unwrap();
    assert_eq!(*follower.catalog.borrow(), *leader.catalog.borrow());
    assert_eq!(follower.machine.applied_state().await.unwrap().0, Some(id(1, 2)));
    assert_eq!(follower.log.get_log_state().await.unwrap().last_log_id, Some(id(1, 1)), "openraft purges it next");
}

#[tokio::test]
async fn an_install_is_whole_or_not_at_all_wherever_the_disk_fails() {
    let (leader, snapshot) = leader().await;
    let after = leader.catalog.borrow().clone();
    let (mut old, mut new) = (0, 0);
    for writes in 0..4 {
        for power_cut in [false, true] {
            let disk = MemoryDisk::new();
            let mut follower = memory(&disk);
            commit(&mut follower, vec![blank(0, 0), batch(1, vec![form(), put("old", 1)])]).await;
            follower.log.save_vote(&crate::types::Vote::new(1, 1)).await.unwrap();
            let before = follower.catalog.borrow().clone();
            disk.fail_after(Some(writes));
            let installed = follower.machine.install_snapshot(&snapshot.meta, snapshot.snapshot.clone()).await.is_ok();
            disk.fail_after(None);
            drop(follower);
            if power_cut {
                disk.cut_power();
            }
            let found = memory(&disk).catalog.borrow().clone();
            assert!(found == before || found == after, "{writes} writes, power cut: {power_cut}");
            assert!(!installed || found == after, "what was acknowledged is there");
            *(if found == before { &mut old } else { &mut new }) += 1;
        }
    }
    assert!(old > 0 && new > 0, "both ends were seen");
}

#[tokio::test]
async fn a_failing_install_keeps_the_old_state() {
    let (_, snapshot) = leader().await;
    let disk = MemoryDisk::new();
    let mut follower = memory(&disk);
    commit(&mut follower, vec![blank(0, 0), batch(1, vec![form()])]).await;
    let before = follower.catalog.borrow().clone();
    disk.fail_after(Some(0));
    assert!(follower.machine.install_snapshot(&snapshot.meta, snapshot.snapshot.clone()).await.is_err());
    disk.fail_after(None);
    let mut damaged = snapshot.snapshot.bytes().to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let damaged = SnapshotFile::new(damaged.into());
    assert!(damaged.verify(&snapshot.meta).is_err());
    assert!(follower.machine.install_snapshot(&snapshot.meta, Box::new(damaged)).await.is_err());
    assert_eq!(*follower.catalog.borrow(), before);
    assert_eq!(*memory(&disk).catalog.borrow(), before);
}

#[tokio::test]
async fn a_snapshot_over_the_limit_is_not_installed() {
    let (_, snapshot) = leader().await;
    let config = Config { max_snapshot: bytesize::ByteSize::b(100), ..Config::default() };
    let mut follower = crate::storage::memory::open(&MemoryDisk::new(), &config).unwrap();
    let error = follower.machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap_err();
    assert!(error.to_string().contains("max-snapshot"), "{error}");
}

#[tokio::test]
async fn a_damaged_snapshot_is_built_anew() {
    let disk = MemoryDisk::new();
    let mut storage = memory(&disk);
    commit(&mut storage, vec![blank(0, 0), batch(1, vec![form()])]).await;
    let good = storage.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    disk.replace_snapshot(&good.snapshot.bytes().slice(..40)).unwrap();
    let found = storage.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(found.snapshot, good.snapshot);

    disk.replace_snapshot(&good.snapshot.bytes().slice(..40)).unwrap();
    drop(storage);
    let mut storage = memory(&disk);
    assert!(storage.machine.get_current_snapshot().await.unwrap().is_none(), "set aside; openraft builds one");
    assert!(storage.catalog.borrow().cluster.is_some());
}

#[tokio::test]
async fn a_slow_builder_does_not_replace_a_newer_snapshot() {
    let disk = MemoryDisk::new();
    let mut storage = memory(&disk);
    commit(&mut storage, vec![blank(0, 0), batch(1, vec![form()])]).await;
    let mut slow = storage.machine.get_snapshot_builder().await;
    commit(&mut storage, vec![batch(2, vec![put("a", 1)])]).await;
    storage.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let late = slow.build_snapshot().await.unwrap();
    assert_eq!(late.meta.last_log_id, Some(id(1, 1)), "the state when it was asked for, not a later one");
    let kept = storage.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(kept.meta.last_log_id, Some(id(1, 2)));
}

#[tokio::test]
async fn every_flipped_byte_of_a_snapshot_is_noticed() {
    let (_, snapshot) = leader().await;
    let good = snapshot.snapshot.bytes();
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 0x04;
        assert!(snapshot::decode(&SnapshotFile::new(bad.into())).is_err(), "byte {at}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_reading_a_snapshot_panic(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        snapshot::decode(&SnapshotFile::new(tail.clone().into())).ok();
        let mut whole = b"onrsnap\n".to_vec();
        whole.extend_from_slice(&crc32c::crc32c(&tail).to_le_bytes());
        whole.extend_from_slice(&tail);
        snapshot::decode(&SnapshotFile::new(whole.into())).ok();
    }
}
