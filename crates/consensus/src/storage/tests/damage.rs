use openraft::storage::RaftLogStorage as _;

use super::*;
use crate::{
    storage::{
        OpenError, chain,
        disk::{Change, Rows as _, Safety, Table},
    },
    types::Vote,
};

async fn ten_entries() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut storage = memory(&disk);
    storage.log.save_vote(&Vote::new(2, 1)).await.unwrap();
    storage.log.blocking_append((0..5).map(|index| blank(1, index))).await.unwrap();
    storage.log.blocking_append((5..10).map(|index| blank(2, index))).await.unwrap();
    disk
}

fn row(disk: &MemoryDisk, index: u64) -> Vec<u8> {
    disk.get(Table::Log, &chain::key(index)).unwrap().unwrap()
}

fn change(disk: &MemoryDisk, change: Change) {
    disk.write(vec![change], Safety::Synced).unwrap();
}

fn refusal(disk: &MemoryDisk) -> String {
    let error = crate::storage::memory::open(disk, &Config::default()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn an_undamaged_log_opens() {
    let mut storage = memory(&ten_entries().await);
    assert_eq!(storage.log.get_log_state().await.unwrap().last_log_id, Some(id(2, 9)));
}

#[tokio::test]
async fn each_flipped_byte_of_a_log_row_is_noticed() {
    let disk = ten_entries().await;
    let good = row(&disk, 4);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        change(&disk, Change::Put(Table::Log, chain::key(4), bad));
        assert!(refusal(&disk).contains("entry 4"), "byte {at}");
    }
    for length in 0..good.len() {
        change(&disk, Change::Put(Table::Log, chain::key(4), good[..length].to_vec()));
        assert!(refusal(&disk).contains("entry 4"), "cut to {length}");
    }
    change(&disk, Change::Put(Table::Log, chain::key(4), good));
    memory(&disk);
}

#[tokio::test]
async fn a_hole_a_lost_beginning_and_a_lost_end_are_noticed() {
    for (gone, words) in
        [(4, "goes on with entry 5, not with 4"), (0, "goes on with entry 1"), (9, "had reached entry 9")]
    {
        let disk = ten_entries().await;
        change(&disk, Change::Delete(Table::Log, chain::key(gone)));
        let why = refusal(&disk);
        assert!(why.contains(words), "{why}");
    }
}

#[tokio::test]
async fn swapped_and_returned_rows_are_noticed() {
    let disk = ten_entries().await;
    let (third, fourth) = (row(&disk, 3), row(&disk, 4));
    change(&disk, Change::Put(Table::Log, chain::key(3), fourth));
    change(&disk, Change::Put(Table::Log, chain::key(4), third));
    assert!(refusal(&disk).contains("log entry 3 is in fact entry 4"));

    // A row that was replaced after a conflict comes back: right index, whole, of a fitting term.
    let disk = ten_entries().await;
    let old = row(&disk, 8);
    let mut storage = memory(&disk);
    storage.log.truncate(id(2, 7)).await.unwrap();
    let other = |index, name: &str| Entry { log_id: id(2, index), ..batch(index, vec![put(name, 1)]) };
    storage.log.blocking_append([other(7, "x"), other(8, "y"), other(9, "z")]).await.unwrap();
    drop(storage);
    change(&disk, Change::Put(Table::Log, chain::key(8), old));
    let why = refusal(&disk);
    assert!(why.contains("entry 8 does not follow the one before it"), "{why}");
}

#[tokio::test]
async fn a_vote_that_went_back_is_noticed() {
    let disk = ten_entries().await;
    change(&disk, Change::Delete(Table::Meta, crate::storage::log::VOTE.to_vec()));
    assert!(refusal(&disk).contains("vote"));
}

#[tokio::test]
async fn a_catalog_that_the_log_does_not_explain_is_refused() {
    let disk = MemoryDisk::new();
    let mut storage = memory(&disk);
    commit(&mut storage, vec![blank(0, 0), batch(1, vec![form()]), batch(2, vec![put("a", 1)])]).await;
    storage.log.truncate(id(1, 2)).await.unwrap();
    drop(storage);
    assert!(refusal(&disk).contains("entry 2 of term 1 applied"));

    let disk = MemoryDisk::new();
    let mut storage = memory(&disk);
    storage.log.blocking_append((0..4).map(|index| blank(1, index))).await.unwrap();
    storage.log.purge(id(1, 2)).await.unwrap();
    drop(storage);
    assert!(refusal(&disk).contains("its log begins behind"));
}

#[tokio::test]
async fn a_row_from_the_future_names_the_newer_program() {
    let disk = ten_entries().await;
    change(&disk, Change::Put(Table::Catalog, b"h".to_vec(), vec![9, 1, 2]));
    let error = crate::storage::memory::open(&disk, &Config::default()).unwrap_err();
    let now = u32::from(onrush_proto::catalog::FORMAT);
    assert!(matches!(error, OpenError::Newer { found: 9, known, .. } if known == now), "{error:?}");
}

proptest::proptest! {
    #[test]
    fn no_row_makes_reading_panic(row in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        chain::decode(&chain::key(1), &row).ok();
        // With a right checksum in front, the decoder behind it sees the same bytes.
        let sealed = [&crc32c::crc32c(&row).to_le_bytes()[..], &row].concat();
        chain::decode(&chain::key(1), &sealed).ok();
    }
}
