use std::{
    fs,
    path::{Path, PathBuf},
};

use openraft::{RaftLogReader as _, storage::RaftLogStorage as _};

use super::*;
use crate::{
    storage::{OpenError, open},
    types::Vote,
};

/// A copy of a directory as it is while its owner runs: what another process finds after `kill -9`.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The newest file of the write-ahead log.
fn write_ahead_log(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|kind| kind == "log")).max().unwrap()
}

/// Cuts its end off.
fn tear_off(dir: &Path, bytes: u64) {
    let file = fs::File::options().write(true).open(write_ahead_log(dir)).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

async fn fill(storage: &mut Storage) {
    storage.log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    commit(storage, vec![blank(0, 0), batch(1, vec![form()])]).await;
    commit(storage, vec![batch(2, vec![put("thumbnail", 1)]), batch(3, vec![put("thumbnail", 2)])]).await;
    storage.log.blocking_append([blank(1, 4)]).await.unwrap();
}

#[tokio::test]
async fn a_killed_process_leaves_all_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = open(&dir.path().join("a"), &Config::default()).unwrap();
    fill(&mut storage).await;
    copy(&dir.path().join("a"), &dir.path().join("b"));

    let mut found = open(&dir.path().join("b"), &Config::default()).unwrap();
    assert_eq!(found.log.read_vote().await.unwrap(), Some(Vote::new_committed(1, 1)));
    let state = found.log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (None, Some(id(1, 4))));
    let entries = found.log.try_get_log_entries(0..).await.unwrap();
    assert_eq!(entries.len(), 5);
    assert_eq!(entries, storage.log.try_get_log_entries(0..).await.unwrap());
    assert_eq!(found.machine.applied_state().await.unwrap(), storage.machine.applied_state().await.unwrap());
    assert_eq!(*found.catalog.borrow(), *storage.catalog.borrow());
    assert_eq!(*found.applied.borrow(), 3);
}

#[tokio::test]
async fn a_dropped_store_frees_its_directory_and_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = open(dir.path(), &Config::default()).unwrap();
    fill(&mut storage).await;
    let catalog = storage.catalog.borrow().clone();
    for _ in 0..3 {
        drop(storage);
        storage = open(dir.path(), &impatient()).unwrap();
        assert_eq!(*storage.catalog.borrow(), catalog);
    }
    let version = catalog.functions[&function("thumbnail")].latest.number;
    assert_eq!(version.0, 2, "an entry that was applied before is not applied again");
}

#[tokio::test]
async fn a_lost_end_of_the_log_is_refused_while_the_watermark_knows_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = open(&dir.path().join("a"), &Config::default()).unwrap();
    fill(&mut storage).await;
    copy(&dir.path().join("a"), &dir.path().join("b"));
    copy(&dir.path().join("a"), &dir.path().join("c"));

    let lost = dir.path().join("b");
    tear_off(&lost, 5);
    let error = open(&lost, &Config::default()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("entry 3") && error.to_string().contains("onrush node remove"), "{error}");

    // A power cut takes the unsynced watermark with it. Then a torn end is what it looks like: a write in progress.
    let torn = dir.path().join("c");
    tear_off(&torn, 5);
    fs::remove_file(torn.join("watermark")).unwrap();
    let mut storage = open(&torn, &Config::default()).unwrap();
    assert_eq!(storage.log.get_log_state().await.unwrap().last_log_id, Some(id(1, 3)));
}

#[tokio::test]
async fn a_flipped_byte_in_the_write_ahead_log_loses_nothing_silently() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = open(&dir.path().join("a"), &Config::default()).unwrap();
    fill(&mut storage).await;
    let length = fs::metadata(write_ahead_log(&dir.path().join("a"))).unwrap().len();
    let mut refused = 0;
    for step in 0..12 {
        let at = usize::try_from(step * length / 12 + 8).unwrap();
        let damaged = dir.path().join(format!("at-{at}"));
        copy(&dir.path().join("a"), &damaged);
        let path = write_ahead_log(&damaged);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x20;
        fs::write(&path, bytes).unwrap();
        match open(&damaged, &Config::default()) {
            Err(OpenError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("byte {at}: {error:?}"),
            Ok(mut found) => {
                assert_eq!(found.log.read_vote().await.unwrap(), Some(Vote::new_committed(1, 1)), "byte {at}");
                assert_eq!(found.log.get_log_state().await.unwrap().last_log_id, Some(id(1, 4)), "byte {at}");
            }
        }
    }
    assert!(refused > 0, "no flip hit anything");
}

#[tokio::test]
async fn a_power_cut_takes_effects_and_applied_id_together() {
    let disk = MemoryDisk::new();
    let mut storage = memory(&disk);
    let entries = vec![blank(0, 0), batch(1, vec![form(), put("a", 1)]), batch(2, vec![put("a", 2)])];
    commit(&mut storage, entries.clone()).await;
    storage.log.save_committed(Some(id(1, 2))).await.unwrap();
    let catalog = storage.catalog.borrow().clone();
    drop(storage);
    disk.cut_power();

    let mut storage = memory(&disk);
    assert_eq!(storage.machine.applied_state().await.unwrap().0, None, "apply is not synced by itself");
    assert_eq!(storage.log.get_log_state().await.unwrap().last_log_id, Some(id(1, 2)), "the log is");
    storage.machine.apply(entries).await.unwrap();
    assert_eq!(*storage.catalog.borrow(), catalog);
}

#[tokio::test]
async fn a_purge_waits_for_the_effects_of_what_it_removes() {
    let disk = MemoryDisk::new();
    let mut storage = memory(&disk);
    commit(&mut storage, vec![blank(0, 0), batch(1, vec![form()])]).await;
    storage.log.purge(id(1, 1)).await.unwrap();
    drop(storage);
    disk.cut_power();
    let mut storage = memory(&disk);
    assert_eq!(storage.machine.applied_state().await.unwrap().0, Some(id(1, 1)));
    let state = storage.log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1, 1)), Some(id(1, 1))));
    storage.log.blocking_append([blank(1, 2), blank(1, 3)]).await.unwrap();
    assert_eq!(memory(&disk).log.get_log_state().await.unwrap().last_log_id, Some(id(1, 3)));
}

#[tokio::test]
async fn a_conflicting_end_is_replaced_and_stays_replaced() {
    let disk = MemoryDisk::new();
    let mut storage = memory(&disk);
    storage.log.blocking_append((0..6).map(|index| blank(1, index))).await.unwrap();
    storage.log.truncate(id(1, 3)).await.unwrap();
    assert_eq!(storage.log.get_log_state().await.unwrap().last_log_id, Some(id(1, 2)));
    drop(storage);
    disk.cut_power();
    let mut storage = memory(&disk);
    assert_eq!(storage.log.get_log_state().await.unwrap().last_log_id, Some(id(1, 2)));
    storage.log.blocking_append([blank(2, 3)]).await.unwrap();
    drop(storage);
    disk.cut_power();
    let mut storage = memory(&disk);
    assert_eq!(storage.log.get_log_state().await.unwrap().last_log_id, Some(id(2, 3)));
    storage.log.truncate(id(1, 0)).await.unwrap();
    assert_eq!(memory(&disk).log.get_log_state().await.unwrap().last_log_id, None);
}

#[tokio::test]
async fn a_failing_disk_acknowledges_nothing() {
    let disk = MemoryDisk::new();
    let mut storage = memory(&disk);
    storage.log.blocking_append([blank(1, 0)]).await.unwrap();
    disk.fail_after(Some(0));
    assert!(storage.log.blocking_append([blank(1, 1)]).await.is_err());
    assert!(storage.log.save_vote(&Vote::new(2, 1)).await.is_err());
    assert!(storage.log.truncate(id(1, 0)).await.is_err());
    assert!(storage.log.purge(id(1, 0)).await.is_err());
    assert!(storage.machine.apply([blank(1, 0)]).await.is_err());
    assert_eq!(*storage.applied.borrow(), 0);
    assert_eq!(storage.log.read_vote().await.unwrap(), None);
    assert_eq!(storage.log.get_log_state().await.unwrap().last_log_id, Some(id(1, 0)));
    disk.fail_after(None);
    drop(storage);
    assert_eq!(memory(&disk).log.get_log_state().await.unwrap().last_log_id, Some(id(1, 0)));
}
