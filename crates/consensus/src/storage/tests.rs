//! What the store promises, on a real disk and on the one in memory.
mod crash; // what a crash or a power cut leaves
mod damage; // a disk that lies is refused
mod directory; // whose directory it is
mod golden; // files of old formats stay readable
mod machine; // applying, publishing, rows
mod snapshots;
mod suite; // openraft's own

use onrush_catalog::{Command, Proposal};
use onrush_types::{
    ArtifactRef, ClusterId, Digest, FilterUse, FunctionName, FunctionSpec, Label, Qualifier, RequestId, Roles,
    RouteName, RouteSpec, RuntimeKind,
};
use openraft::{
    entry::RaftEntry as _,
    storage::{RaftLogStorageExt as _, RaftStateMachine as _},
};

use super::{Config, Storage, memory::MemoryDisk};
use crate::types::{Batch, BatchReply, Entry, EntryPayload, LeaderId, LogId};

fn memory(disk: &MemoryDisk) -> Storage {
    super::memory::open(disk, &Config::default()).unwrap()
}

/// A config that does not wait for whoever holds the directory.
fn impatient() -> Config {
    Config { lock_wait: std::time::Duration::ZERO, ..Config::default() }
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 1), index)
}

fn blank(term: u64, index: u64) -> Entry {
    Entry::new_blank(id(term, index))
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn propose(command: Command) -> Proposal {
    Proposal { request: RequestId::new(), at_ms: 1_700_000_000_000, command }
}

fn form() -> Proposal {
    propose(Command::FormCluster {
        cluster: ClusterId::new(),
        voters: 3,
        name: label("a"),
        peer: "127.0.0.1:7071".into(),
        roles: Roles::default(),
    })
}

fn function(name: &str) -> FunctionName {
    FunctionName::new(label("default"), label(name))
}

fn put(name: &str, seed: u8) -> Proposal {
    let spec = FunctionSpec::new(RuntimeKind::Wasm, ArtifactRef { digest: Digest([seed; 32]), size: 1 });
    propose(Command::PutFunction { name: function(name), spec, expected: None })
}

fn route(name: &str, function: &str, path: &str) -> Proposal {
    let parameters = [("rate".to_owned(), "100/s".into()), ("burst".to_owned(), 7.into())].into_iter().collect();
    let spec = RouteSpec {
        host: Some("example.com".to_owned()),
        path: path.to_owned(),
        methods: vec!["GET".to_owned()],
        function: label(function),
        qualifier: Qualifier::Latest,
        filters: vec![FilterUse { filter: "rate-limit".to_owned(), parameters }],
    };
    let name = RouteName::new(label("default"), label(name));
    propose(Command::SetRoute { name, spec, needs_idempotence: false, expected: None })
}

fn batch(index: u64, proposals: Vec<Proposal>) -> Entry {
    Entry { log_id: id(1, index), payload: EntryPayload::Normal(Batch(proposals)) }
}

/// Appends entries and, like a leader with a quorum, applies them.
async fn commit(storage: &mut Storage, entries: Vec<Entry>) -> Vec<BatchReply> {
    storage.log.blocking_append(entries.clone()).await.unwrap();
    storage.machine.apply(entries).await.unwrap()
}
