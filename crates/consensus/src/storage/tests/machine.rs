use std::collections::BTreeSet;

use onrush_catalog::{Outcome, REQUESTS_REMEMBERED};
use onrush_types::NodeId;
use openraft::{RaftLogReader as _, storage::RaftLogStorage as _};
use proptest::prelude::*;

use super::*;
use crate::{
    convert::Wire as _,
    storage::{
        disk::{Change, Disk},
        machine::step,
        rows::State,
    },
    types::Membership,
};

#[tokio::test]
async fn each_batch_is_answered_in_order_and_published_once() {
    let mut storage = memory(&MemoryDisk::new());
    let (mut catalog, mut applied) = (storage.catalog.clone(), storage.applied.clone());
    let again = put("a", 1);
    let voters = Membership::new(vec![BTreeSet::from([1])], ());
    let entries = vec![
        Entry::new_membership(id(0, 0), voters.clone()),
        batch(1, vec![form(), again.clone()]),
        batch(2, vec![again, put("b", 1)]),
    ];
    let replies = commit(&mut storage, entries).await;
    assert_eq!(replies.iter().map(|reply| reply.0.len()).collect::<Vec<_>>(), [0, 2, 2]);
    assert_eq!(replies[1].0[0].outcome, Outcome::NodeAllocated(NodeId(1)));
    assert_eq!(replies[2].0[0], replies[1].0[1], "the same request, the same answer");
    assert!(catalog.has_changed().unwrap() && applied.has_changed().unwrap());
    assert_eq!(catalog.borrow_and_update().functions.len(), 2);
    assert_eq!(*applied.borrow_and_update(), 2);
    let stored = storage.machine.applied_state().await.unwrap().1;
    assert_eq!((*stored.log_id(), stored.membership()), (Some(id(0, 0)), &voters));

    commit(&mut storage, vec![blank(1, 3)]).await;
    assert!(!catalog.has_changed().unwrap(), "a blank entry changes no catalog");
    assert_eq!(*applied.borrow_and_update(), 3);
}

#[tokio::test]
async fn a_change_writes_its_own_rows_and_no_other() {
    let puts = (0..200).map(|n| put(&format!("f{n}"), 1)).collect();
    let (state, _, _) = step(&State::default(), &[batch(1, vec![form()]), batch(2, puts)]);
    let (_, _, changes) = step(&state, &[batch(3, vec![put("f7", 2)])]);
    assert_eq!(keys(&changes), ['a', 'h', 'f', 'q'], "applied, revision, the function, the request");
    let (state, _, changes) = step(&state, &[batch(3, vec![route("r", "f7", "/r")])]);
    assert_eq!(keys(&changes), ['a', 'h', 't', 'q'], "applied, revision, the route, the request");
    let remove = Command::RemoveFunction { name: function("f7"), with_routes: true };
    let (_, _, changes) = step(&state, &[batch(4, vec![propose(remove)])]);
    assert_eq!(keys(&changes), ['a', 'h', '-', 'r', '-', 'q'], "its own row and its route's are gone");
}

/// The kinds of rows that are written; `-` where one goes.
fn keys(changes: &[Change]) -> Vec<char> {
    let kind = |change: &Change| match change {
        Change::Put(_, key, _) => char::from(key[0]),
        Change::Delete(..) | Change::DeleteRange(..) => '-',
    };
    changes.iter().map(kind).collect()
}

#[tokio::test]
async fn requests_are_forgotten_in_order_and_so_are_their_rows() {
    let disk = MemoryDisk::new();
    let mut storage = memory(&disk);
    commit(&mut storage, vec![blank(0, 0), batch(1, vec![form()])]).await;
    for round in 0..3 {
        let puts = (0..REQUESTS_REMEMBERED / 2 + 7).map(|_| put("a", 1)).collect();
        commit(&mut storage, vec![batch(2 + round, puts)]).await;
    }
    // More than all that is remembered, in one entry.
    commit(&mut storage, vec![batch(5, (0..REQUESTS_REMEMBERED + 9).map(|_| put("b", 1)).collect())]).await;
    let catalog = storage.catalog.borrow().clone();
    assert_eq!(catalog.request_order.len(), REQUESTS_REMEMBERED);
    drop(storage);
    assert_eq!(*memory(&disk).catalog.borrow(), catalog);
}

#[tokio::test]
async fn reads_are_bounded_but_never_empty() {
    let config = Config { max_read: bytesize::ByteSize::b(300), ..Config::default() };
    let mut storage = crate::storage::memory::open(&MemoryDisk::new(), &config).unwrap();
    let large = batch(3, (0..100).map(|_| put("a", 1)).collect());
    let entries = [blank(0, 0), blank(1, 1), blank(1, 2), large, blank(1, 4)];
    storage.log.blocking_append(entries).await.unwrap();
    let mut reader = storage.log.get_log_reader().await;
    let indexes = |entries: Vec<Entry>| entries.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>();
    assert_eq!(indexes(reader.limited_get_log_entries(0, 5).await.unwrap()), [0, 1, 2]);
    assert_eq!(indexes(reader.limited_get_log_entries(3, 5).await.unwrap()), [3], "too large, but the first");
    assert_eq!(indexes(reader.try_get_log_entries(1..=3).await.unwrap()), [1, 2, 3], "asked for all of them");
    assert!(reader.limited_get_log_entries(5, 9).await.is_err(), "an empty answer would stall replication");
}

fn command() -> impl Strategy<Value = Command> {
    let name = (0..6_u8).prop_map(|n| label(&format!("n{n}")));
    let peer = "[a-z]{1,5}:[0-9]{1,4}";
    prop_oneof![
        5 => ((0..4_u8), (0..9_u8)).prop_map(|(name, seed)| put(&format!("f{name}"), seed).command),
        2 => (0..4_u8).prop_map(|n| Command::RemoveFunction { name: function(&format!("f{n}")), with_routes: n % 2 == 0 }),
        5 => ((0..4_u8), (0..4_u8), (0..6_u8)).prop_map(|(name, to, path)| {
            route(&format!("r{name}"), &format!("f{to}"), &format!("/{path}")).command
        }),
        2 => (0..4_u8).prop_map(|n| Command::RemoveRoute {
            name: RouteName::new(label("default"), label(&format!("r{n}"))),
        }),
        2 => (name, peer).prop_map(|(name, peer)| Command::AllocateNode { name, peer, roles: Roles::default() }),
        1 => (0..9_u64, any::<bool>()).prop_map(|(n, cordoned)| Command::SetCordoned { node: NodeId(n), cordoned }),
        1 => (0..9_u64).prop_map(|n| Command::RemoveNode { node: NodeId(n) }),
        1 => (0..9_u8).prop_map(|wanted| Command::SetVoters { wanted }),
    ]
}

proptest! {
    #[test]
    fn rows_are_the_catalog(batches in prop::collection::vec(prop::collection::vec(command(), 0..6), 1..20)) {
        let memory = MemoryDisk::new();
        let disk = Disk { rows: std::sync::Arc::new(memory.clone()), files: std::sync::Arc::new(memory) };
        let (mut state, _, changes) = step(&State::default(), &[batch(0, vec![form()])]);
        disk.rows.write(changes, crate::storage::disk::Safety::Synced).unwrap();
        for (index, commands) in (1..).zip(batches) {
            let entry = batch(index, commands.into_iter().map(propose).collect());
            // As it comes back from the log.
            let entry = Entry::from_wire(entry.to_wire()).unwrap();
            let (next, _, changes) = step(&state, &[entry]);
            disk.rows.write(changes, crate::storage::disk::Safety::Synced).unwrap();
            let found = State::load(&disk).unwrap();
            prop_assert_eq!(&found.catalog, &next.catalog);
            prop_assert_eq!(found.applied, next.applied);
            prop_assert_eq!(&found.requests, &next.requests);
            state = next;
        }
        disk.rows.write(state.replace_all(), crate::storage::disk::Safety::Synced).unwrap();
        prop_assert_eq!(State::load(&disk).unwrap().catalog, state.catalog);
    }
}
