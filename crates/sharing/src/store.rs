//! What is kept: replies, which headers they depend on, and the keys whose replies nobody shares. Bounded by bytes and
//! by count.

use std::{
    hash::{BuildHasher, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName};
use moka::{Expiry, sync::Cache};
use onrush_invoke::SharingKey;
use onrush_seams::Entropy;
use tokio::time::Instant;

use crate::{
    answer::Kept,
    config::Config,
    status::Forwarded,
    vary::{Varies, variant},
};

/// What such a list of names costs.
const VARIES_WEIGHT: u32 = 512;
/// How long it is known that a key's replies depend on headers, whatever becomes of the replies.
const VARIES_LIFE: Duration = Duration::from_secs(3_600);

#[derive(Clone)]
enum Entry {
    Kept(Arc<Kept>, Duration),
    /// Replies are under keys of their own, which depend on these.
    Varies(Arc<[HeaderName]>),
}

/// What is known of a key.
pub(crate) struct Found {
    /// The key, or that of the variant.
    pub(crate) place: SharingKey,
    /// A reply, or why there is none.
    pub(crate) kept: Result<Arc<Kept>, Forwarded>,
}

/// All that is kept.
pub(crate) struct Store {
    entries: Cache<SharingKey, Entry, Spread>,
    /// Until when a key is passed through.
    marks: Cache<SharingKey, Instant, Spread>,
    /// Bytes that came since the bound was last enforced.
    unchecked: AtomicU64,
    check_after: u64,
}

impl Store {
    pub(crate) fn new(config: &Config, entropy: &dyn Entropy) -> Self {
        let spread = Spread([entropy.next_u64(), entropy.next_u64()]);
        let entries = Cache::builder()
            .max_capacity(config.cache_bytes.as_u64())
            .weigher(|_: &SharingKey, entry: &Entry| entry.weight())
            .expire_after(Worth)
            .build_with_hasher(spread.clone());
        let marks = Cache::builder().max_capacity(config.marks).build_with_hasher(spread);
        let check_after = config.cache_bytes.as_u64() / 64;
        Self { entries, marks, unchecked: AtomicU64::new(0), check_after }
    }

    /// What is known for a request with these headers.
    pub(crate) fn find(&self, key: SharingKey, request: &HeaderMap) -> Found {
        match self.entries.get(&key) {
            Some(Entry::Kept(kept, _)) => Found { place: key, kept: Ok(kept) },
            Some(Entry::Varies(names)) => {
                let place = variant(key, &names, request);
                let kept = match self.entries.get(&place) {
                    Some(Entry::Kept(kept, _)) => Ok(kept),
                    Some(Entry::Varies(_)) | None => Err(Forwarded::VaryMiss),
                };
                Found { place, kept }
            }
            None => Found { place: key, kept: Err(Forwarded::UriMiss) },
        }
    }

    /// Where the reply to such a request belongs, given which headers it depends on.
    pub(crate) fn place(&self, key: SharingKey, names: &[HeaderName], request: &HeaderMap) -> Option<SharingKey> {
        let known = match self.entries.get(&key) {
            Some(Entry::Varies(known)) => Some(known),
            Some(Entry::Kept(..)) | None => None,
        };
        if names.is_empty() && known.is_none() {
            return Some(key);
        }
        let Varies::On(all) = Varies::On(names.to_vec()).and(known.as_deref().unwrap_or_default()) else { return None };
        if known.as_deref() != Some(&all) {
            self.entries.insert(key, Entry::Varies(all.as_slice().into()));
        }
        Some(variant(key, &all, request))
    }

    /// Keeps a reply for so long at most.
    pub(crate) fn keep(&self, place: SharingKey, kept: Arc<Kept>, worth: Duration) {
        let entry = Entry::Kept(kept, worth);
        let bytes = u64::from(entry.weight());
        self.marks.invalidate(&place);
        self.entries.insert(place, entry);
        // The cache enforces its bound in batches; large replies must not pile up between two of them.
        if self.unchecked.fetch_add(bytes, Ordering::Relaxed) + bytes > self.check_after {
            self.unchecked.store(0, Ordering::Relaxed);
            self.entries.run_pending_tasks();
        }
    }

    /// Forgets a reply.
    pub(crate) fn forget(&self, place: SharingKey) {
        self.entries.invalidate(&place);
    }

    /// Passes a key through for a while.
    pub(crate) fn mark(&self, place: SharingKey, until: Instant) {
        self.marks.insert(place, until);
    }

    /// Whether a key is passed through.
    pub(crate) fn is_marked(&self, place: SharingKey, now: Instant) -> bool {
        self.marks.get(&place).is_some_and(|until| now < until)
    }

    /// Bytes that are kept, as of the last time that the bound was enforced.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weighted_size()
    }

    #[cfg(test)]
    pub(crate) fn settle(&self) -> (u64, u64, u64) {
        self.entries.run_pending_tasks();
        self.marks.run_pending_tasks();
        (self.entries.weighted_size(), self.entries.entry_count(), self.marks.entry_count())
    }
}

impl Entry {
    fn weight(&self) -> u32 {
        match self {
            Self::Kept(kept, _) => kept.weight(),
            Self::Varies(_) => VARIES_WEIGHT,
        }
    }

    const fn worth(&self) -> Duration {
        match self {
            Self::Kept(_, worth) => *worth,
            Self::Varies(_) => VARIES_LIFE,
        }
    }
}

/// Entries go when they are good for nothing any more. Whether they are fresh is judged elsewhere, by tokio's clock.
struct Worth;

#[allow(clippy::disallowed_types, reason = "the cache's own clock, for housekeeping alone")]
impl Expiry<SharingKey, Entry> for Worth {
    fn expire_after_create(&self, _: &SharingKey, entry: &Entry, _: std::time::Instant) -> Option<Duration> {
        Some(entry.worth())
    }

    fn expire_after_update(
        &self,
        _: &SharingKey,
        entry: &Entry,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.worth())
    }
}

/// Keys are hashes already; what is added is a secret, so that nobody can choose keys that fall together.
#[derive(Clone)]
pub(crate) struct Spread([u64; 2]);

impl BuildHasher for Spread {
    type Hasher = SpreadHasher;

    fn build_hasher(&self) -> SpreadHasher {
        SpreadHasher { secret: self.0, hash: 0 }
    }
}

/// Folds the first 16 bytes of a key with the secret.
pub(crate) struct SpreadHasher {
    secret: [u64; 2],
    hash: u64,
}

impl Hasher for SpreadHasher {
    fn write(&mut self, bytes: &[u8]) {
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        let product = u128::from(word(0) ^ self.secret[0]) * u128::from((word(8) ^ self.secret[1]) | 1);
        // Both halves: the low one alone ignores the high bits.
        let (high, low) = ((product >> 64) as u64, product as u64);
        self.hash ^= high ^ low;
    }

    /// The length of a key says nothing.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}
