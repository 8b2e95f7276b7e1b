//! Instances that wait for their next call, for versions with `reuse`.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{instance::Instance, version::Version};

/// The idle instances of one version.
pub(super) struct Idle {
    most: usize,
    instances: Mutex<VecDeque<Instance>>,
}

impl Idle {
    pub(super) fn new(most: usize) -> Self {
        Self { most, instances: Mutex::default() }
    }

    /// The one that was used last: its memory is still in the processor's caches.
    pub(super) fn take(&self) -> Option<Instance> {
        self.instances().pop_back()
    }

    pub(super) fn put(&self, mut instance: Instance) {
        instance.since = Instant::now();
        let mut instances = self.instances();
        if instances.len() < self.most {
            instances.push_back(instance);
        }
    }

    fn oldest(&self) -> Option<Instance> {
        self.instances().pop_front()
    }

    fn expired(&self, time: Duration) -> Option<Instance> {
        let mut instances = self.instances();
        instances.pop_front_if(|instance| instance.since.elapsed() > time)
    }

    fn instances(&self) -> std::sync::MutexGuard<'_, VecDeque<Instance>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All versions of this node that keep idle instances.
#[derive(Default)]
pub(super) struct Idlers(Mutex<Vec<Weak<Version>>>);

impl Idlers {
    pub(super) fn add(&self, version: Weak<Version>) {
        let mut versions = self.versions();
        versions.retain(|version| version.strong_count() > 0);
        versions.push(version);
    }

    /// Drops one idle instance, of whatever version, to make room. Says whether there was one.
    pub(super) fn give_up_one(&self) -> bool {
        let versions: Vec<_> = self.versions().iter().filter_map(Weak::upgrade).collect();
        versions.iter().any(|version| version.idle.oldest().is_some())
    }

    /// Drops what has been idle for longer than `time`.
    pub(super) fn sweep(&self, time: Duration) {
        let versions: Vec<_> = self.versions().iter().filter_map(Weak::upgrade).collect();
        for version in versions {
            while version.idle.expired(time).is_some() {}
        }
    }

    fn versions(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Version>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
