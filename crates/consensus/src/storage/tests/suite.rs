use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::*;
use crate::{
    storage::{LogStore, StateMachine},
    types::{StorageError, TypeConfig},
};

struct OnDisk;
struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let dir = TempDir::new().unwrap();
        let storage = crate::storage::open(&dir.path().join("raft"), &Config::default()).unwrap();
        Ok((dir, storage.log, storage.machine))
    }
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, ()> for InMemory {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError> {
        let storage = memory(&MemoryDisk::new());
        Ok(((), storage.log, storage.machine))
    }
}

#[test]
fn the_store_on_disk_passes_openrafts_suite() {
    Suite::test_all(OnDisk).unwrap();
}

#[test]
fn the_store_in_memory_passes_openrafts_suite() {
    Suite::test_all(InMemory).unwrap();
}
