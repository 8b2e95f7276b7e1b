//! A table of rate limits that stays as small as it was told to.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use governor::{clock::Clock, nanos::Nanos, state::StateStore};
use tokio::time::Instant;

/// tokio's clock, which tests can pause.
#[derive(Debug, Clone)]
pub(crate) struct TokioClock(Instant);

impl TokioClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

/// Callers are spread over so many locks.
const SHARDS: usize = 64;

/// By caller: until when what it used is used up. When it is full, those who are nearest to having used nothing are
/// forgotten: for them it makes the least difference, and a flood of strangers cannot wash out who is limited.
#[derive(Debug)]
pub(crate) struct Table {
    shards: Box<[Mutex<HashMap<u64, Nanos>>]>,
    most: usize,
}

impl Table {
    pub(crate) fn new(most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, most: most.div_ceil(SHARDS).max(4) }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

/// Forgets a quarter.
fn forget(shard: &mut HashMap<u64, Nanos>) {
    let mut ends: Vec<Nanos> = shard.values().copied().collect();
    let quarter = ends.len() / 4;
    let (.., bound, _) = ends.select_nth_unstable(quarter);
    let bound = *bound;
    shard.retain(|_, end| *end > bound);
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let at = usize::try_from(*key % SHARDS as u64).unwrap_or_default();
        let mut shard = self.shards[at].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = shard.get_mut(key) {
            let (outcome, next) = decide(Some(*end))?;
            *end = next;
            return Ok(outcome);
        }
        let (outcome, next) = decide(None)?;
        if shard.len() >= self.most {
            forget(&mut shard);
        }
        shard.insert(*key, next);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::{Quota, RateLimiter, middleware::NoOpMiddleware};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_strangers_neither_grows_the_table_nor_frees_who_is_limited() {
        let quota = Quota::per_second(NonZeroU32::new(5).unwrap());
        let limiter: RateLimiter<u64, Table, TokioClock, NoOpMiddleware<Nanos>> =
            RateLimiter::new(quota, Table::new(640), TokioClock::new());
        let culprit = u64::MAX;
        assert_eq!((0..9).filter(|_| limiter.check_key(&culprit).is_ok()).count(), 5);
        for stranger in 0..100_000 {
            assert!(limiter.check_key(&stranger).is_ok());
        }
        assert!(limiter.check_key(&culprit).is_err());
        assert!(limiter.into_state_store().len() <= 640);
    }
}
