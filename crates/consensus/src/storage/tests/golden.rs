use std::{collections::BTreeSet, path::PathBuf};

use uuid::Uuid;

use super::*;
use crate::{
    storage::{
        chain::{self, Link},
        machine::step,
        rows::State,
        snapshot,
        watermark::Watermark,
    },
    types::{Membership, SnapshotFile, Vote},
};

/// The format whose files are in `golden/format-1`. A new one gets a folder of its own; this one stays.
fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/storage/tests/golden/format-1").join(name)
}

fn entries() -> Vec<Entry> {
    let request = |n| RequestId(Uuid::from_u128(n));
    let form = Proposal {
        request: request(1),
        at_ms: 1_700_000_000_000,
        command: Command::FormCluster {
            cluster: ClusterId(Uuid::from_u128(0xc1)),
            voters: 3,
            name: label("a"),
            peer: "127.0.0.1:7071".into(),
            roles: Roles::default(),
        },
    };
    let put = Proposal { request: request(2), ..put("thumbnail", 7) };
    let voters = Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2, 3])], BTreeSet::from([4]));
    vec![Entry::new_membership(id(0, 0), voters), blank(1, 1), batch(2, vec![form, put])]
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut link = Link::default();
    let mut rows = entries().into_iter().map(|entry| {
        let (row, next) = chain::encode(&entry, link);
        link = next;
        row
    });
    let mut row = || rows.next().unwrap();
    let (state, _, _) = step(&State::default(), &entries());
    let (_, file) = snapshot::encode(&state.catalog, state.applied, &state.membership);
    let mark = Watermark { count: 5, vote: Some(Vote::new_committed(4, 2)), last: Some(id(3, 7)) };
    vec![
        ("membership.row", row()),
        ("blank.row", row()),
        ("batch.row", row()),
        ("snapshot", file.bytes().to_vec()),
        ("watermark", mark.encode().to_vec()),
    ]
}

#[test]
fn files_of_format_1_are_read_as_they_were_meant() {
    let read = |name: &str| std::fs::read(golden(name)).unwrap();
    for (entry, name) in entries().into_iter().zip(["membership.row", "blank.row", "batch.row"]) {
        let row = chain::decode(&chain::key(entry.log_id.index), &read(name)).unwrap();
        assert_eq!(row.entry, entry, "{name}");
    }
    let (state, _, _) = step(&State::default(), &entries());
    let (meta, catalog) = snapshot::decode(&SnapshotFile::new(read("snapshot").into())).unwrap();
    assert_eq!((meta.last_log_id, meta.last_membership), (state.applied, state.membership));
    assert_eq!(catalog, *state.catalog);
    let mark = Watermark { count: 5, vote: Some(Vote::new_committed(4, 2)), last: Some(id(3, 7)) };
    assert_eq!(Watermark::newest(&read("watermark")), Some(mark));
    // As long as 1 is what is written, it is written in just this way.
    if onrush_proto::catalog::FORMAT == 1 {
        for (name, bytes) in files() {
            assert_eq!(read(name), bytes, "{name}");
        }
    }
}

/// Run by hand, once for each new format, after `golden` names its folder.
#[test]
#[ignore = "writes the golden files of the current format"]
fn write_golden_files() {
    for (name, bytes) in files() {
        std::fs::create_dir_all(golden(name).parent().unwrap()).unwrap();
        std::fs::write(golden(name), bytes).unwrap();
    }
}
