use std::{collections::BTreeSet, path::PathBuf};

use onrush_proto::catalog::FORMAT;
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

/// Each format has a folder of its own, which stays.
fn golden(format: u8, name: &str) -> PathBuf {
    let folder = format!("src/storage/tests/golden/format-{format}");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder).join(name)
}

/// What the files of a format hold: those of format 2 a route as well.
fn entries(format: u8) -> Vec<Entry> {
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
    let route = Proposal { request: request(3), ..route("thumb", "thumbnail", "/thumb/{*rest}") };
    let mut proposals = vec![form, put];
    if format > 1 {
        proposals.push(route);
    }
    vec![Entry::new_membership(id(0, 0), voters), blank(1, 1), batch(2, proposals)]
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut link = Link::default();
    let mut rows = entries(FORMAT).into_iter().map(|entry| {
        let (row, next) = chain::encode(&entry, link);
        link = next;
        row
    });
    let mut row = || rows.next().unwrap();
    let (state, _, _) = step(&State::default(), &entries(FORMAT));
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

fn read_as_meant(format: u8) {
    let read = |name: &str| std::fs::read(golden(format, name)).unwrap();
    for (entry, name) in entries(format).into_iter().zip(["membership.row", "blank.row", "batch.row"]) {
        let row = chain::decode(&chain::key(entry.log_id.index), &read(name)).unwrap();
        assert_eq!(row.entry, entry, "{name}");
    }
    let (state, _, _) = step(&State::default(), &entries(format));
    let (meta, catalog) = snapshot::decode(&SnapshotFile::new(read("snapshot").into())).unwrap();
    assert_eq!((meta.last_log_id, meta.last_membership), (state.applied, state.membership));
    assert_eq!(catalog, *state.catalog);
    assert_eq!(catalog.routes.len(), usize::from(format > 1));
    let mark = Watermark { count: 5, vote: Some(Vote::new_committed(4, 2)), last: Some(id(3, 7)) };
    assert_eq!(Watermark::newest(&read("watermark")), Some(mark));
}

#[test]
fn files_of_format_1_are_read_as_they_were_meant() {
    read_as_meant(1);
}

#[test]
fn files_of_format_2_are_read_as_they_were_meant() {
    read_as_meant(2);
    // As long as 2 is what is written, it is written in just this way.
    if FORMAT == 2 {
        for (name, bytes) in files() {
            assert_eq!(std::fs::read(golden(2, name)).unwrap(), bytes, "{name}");
        }
    }
}

/// Run by hand, once for each new format.
#[test]
#[ignore = "writes the golden files of the current format"]
fn write_golden_files() {
    for (name, bytes) in files() {
        let path = golden(FORMAT, name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
