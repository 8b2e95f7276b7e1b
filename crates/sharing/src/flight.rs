//! Who leads and who waits. A flight is one execution that others may share, from its start until its reply is whole.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use onrush_invoke::{Coalesce, InvokeError, SharingKey};
use tokio::{sync::watch, time::Instant};

use crate::answer::Answer;

/// What has become of an execution.
#[derive(Clone)]
pub(crate) enum Progress {
    Running,
    /// A reply for all who asked alike.
    Answered(Arc<Answer>),
    /// One of those who wait tries again.
    Failed(InvokeError),
    /// Everybody's failure.
    Refused(InvokeError),
    /// The reply is the leader's own: everybody runs by themselves.
    Alone,
}

/// One execution.
pub(crate) struct Flight {
    place: SharingKey,
    began: Instant,
    progress: watch::Sender<Progress>,
}

impl Flight {
    /// One that nobody can join.
    pub(crate) fn unlisted(place: SharingKey) -> (Arc<Self>, watch::Receiver<Progress>) {
        let (progress, watching) = watch::channel(Progress::Running);
        (Arc::new(Self { place, began: Instant::now(), progress }), watching)
    }

    /// Tells all who wait.
    pub(crate) fn publish(&self, progress: Progress) {
        // Nobody may be left to hear it.
        self.progress.send_replace(progress);
    }

    /// Whether it has come to an end without a word.
    pub(crate) fn is_running(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Running)
    }

    /// Whether somebody waits besides the one who leads.
    pub(crate) fn has_waiters(&self) -> bool {
        self.progress.receiver_count() > 1
    }

    /// When it began.
    pub(crate) const fn began(&self) -> Instant {
        self.began
    }

    /// Resolves when nobody waits. Somebody may have come again since.
    pub(crate) async fn unwatched(&self) {
        self.progress.closed().await;
    }
}

/// What a call does.
pub(crate) enum Turn<T> {
    /// It executes, and others may wait for it.
    Lead(Arc<Flight>, watch::Receiver<Progress>),
    /// It waits for somebody's execution.
    Wait(watch::Receiver<Progress>),
    /// It executes for itself.
    Alone,
    /// It need not, after all.
    Found(T),
}

/// All flights that can be joined.
pub(crate) struct Flights {
    shards: Vec<Mutex<Shard>>,
    count: AtomicUsize,
    most: usize,
}

type Shard = HashMap<SharingKey, Arc<Flight>>;

/// Enough that cores rarely meet at one.
const SHARDS: usize = 64;

impl Flights {
    pub(crate) fn new(most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, count: AtomicUsize::new(0), most }
    }

    /// Decides for a call. `look` looks once more whether what it asks for is kept: an execution that has just ended
    /// kept its reply before it left.
    pub(crate) fn turn<T>(&self, place: SharingKey, coalesce: &Coalesce, look: impl FnOnce() -> Option<T>) -> Turn<T> {
        let mut shard = self.shard(place);
        if let Some(flight) = shard.get(&place)
            && flight.began.elapsed() < coalesce.lock_age
        {
            // The leader holds one as well.
            let waiting = flight.progress.receiver_count().saturating_sub(1);
            let room = u32::try_from(waiting).is_ok_and(|waiting| waiting < coalesce.waiters);
            return if room { Turn::Wait(flight.progress.subscribe()) } else { Turn::Alone };
        }
        if let Some(found) = look() {
            return Turn::Found(found);
        }
        if self.count.load(Ordering::Relaxed) >= self.most {
            return Turn::Alone;
        }
        let (flight, watching) = Flight::unlisted(place);
        if shard.insert(place, Arc::clone(&flight)).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        Turn::Lead(flight, watching)
    }

    /// Nobody joins this one any more.
    pub(crate) fn leave(&self, flight: &Arc<Flight>) {
        self.remove(&mut self.shard(flight.place), flight);
    }

    /// The same, unless somebody waits for it. Whether it has left.
    pub(crate) fn leave_if(&self, flight: &Arc<Flight>, unused: impl FnOnce() -> bool) -> bool {
        let mut shard = self.shard(flight.place);
        let leaves = flight.progress.receiver_count() == 0 && unused();
        if leaves {
            self.remove(&mut shard, flight);
        }
        leaves
    }

    fn remove(&self, shard: &mut Shard, flight: &Arc<Flight>) {
        if shard.get(&flight.place).is_some_and(|listed| Arc::ptr_eq(listed, flight)) {
            shard.remove(&flight.place);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn shard(&self, place: SharingKey) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(place.0[31]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PLACE: SharingKey = SharingKey([1; 32]);

    fn coalesce() -> Coalesce {
        Coalesce { waiters: 2, share_errors: false, lock_age: Duration::from_secs(5) }
    }

    fn turn(flights: &Flights) -> Turn<()> {
        flights.turn(PLACE, &coalesce(), || None)
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_some_wait_the_rest_are_alone() {
        let flights = Flights::new(9);
        let Turn::Lead(flight, leader) = turn(&flights) else { panic!() };
        let Turn::Wait(one) = turn(&flights) else { panic!() };
        let Turn::Wait(two) = turn(&flights) else { panic!() };
        assert!(matches!(turn(&flights), Turn::Alone));
        drop((leader, one, two));
        assert!(!flights.leave_if(&flight, || false));
        assert!(flights.leave_if(&flight, || true));
        assert_eq!(flights.count(), 0);
        assert!(matches!(flights.turn(PLACE, &coalesce(), || Some(())), Turn::Found(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_too_old_gets_a_successor_and_does_not_take_it_along() {
        let flights = Flights::new(9);
        let Turn::Lead(old, _watching) = turn(&flights) else { panic!() };
        tokio::time::advance(Duration::from_secs(5)).await;
        let Turn::Lead(_new, _also) = turn(&flights) else { panic!() };
        assert!(matches!(turn(&flights), Turn::Wait(_)));
        flights.leave(&old);
        assert_eq!(flights.count(), 1);
        assert!(matches!(turn(&flights), Turn::Wait(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn their_number_is_bounded() {
        let flights = Flights::new(1);
        let Turn::Lead(..) = turn(&flights) else { panic!() };
        assert!(matches!(flights.turn(SharingKey([2; 32]), &coalesce(), || None::<()>), Turn::Alone));
    }
}
