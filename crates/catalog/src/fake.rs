//! A catalog on one node without agreement, for unit tests.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use onrush_types::{ClusterId, RequestId, Roles};
use tokio::sync::watch;

use crate::{Catalog, CatalogStore, Command, CommitError, Committed, Proposal};

/// Applies every proposal at once, under a lock.
pub struct FakeStore {
    catalog: watch::Sender<Arc<Catalog>>,
    down: std::sync::atomic::AtomicBool,
}

impl FakeStore {
    /// A formed cluster of one node.
    pub fn new() -> Arc<Self> {
        let mut catalog = Catalog::default();
        let formed = label("node-1").map(|name| Command::FormCluster {
            cluster: ClusterId::new(),
            voters: 1,
            name,
            peer: "127.0.0.1:7071".to_owned(),
            roles: Roles::default(),
        });
        if let Some(command) = formed {
            catalog.apply(&Proposal { request: RequestId::new(), at_ms: 0, command });
        }
        Arc::new(Self { catalog: watch::Sender::new(Arc::new(catalog)), down: false.into() })
    }

    /// From now on there is no quorum, or there is one again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, std::sync::atomic::Ordering::SeqCst);
    }

    fn up(&self) -> Result<(), CommitError> {
        let down = self.down.load(std::sync::atomic::Ordering::SeqCst);
        if down { Err(CommitError::Unavailable("no quorum".to_owned())) } else { Ok(()) }
    }
}

fn label(text: &str) -> Option<onrush_types::Label> {
    text.parse().ok()
}

#[async_trait]
impl CatalogStore for FakeStore {
    async fn commit(&self, proposal: Proposal, _timeout: Duration) -> Result<Committed, CommitError> {
        self.up()?;
        let mut committed = None;
        self.catalog.send_modify(|catalog| committed = Some(Arc::make_mut(catalog).apply(&proposal)));
        committed.ok_or_else(|| CommitError::Internal("nothing was applied".to_owned()))
    }

    async fn fresh(&self, _timeout: Duration) -> Result<Arc<Catalog>, CommitError> {
        self.up()?;
        Ok(self.catalog.borrow().clone())
    }

    fn watch(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }
}
