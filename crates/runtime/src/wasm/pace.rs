//! Where a call computes: quick functions on the thread that has the request, all others on the guests' own threads.
//!
//! Handing a call over to another thread and its answer back costs as much as a tiny function itself. The thread that
//! took the request also serves connections, Raft and gossip, though, so only functions whose calls have been quick so
//! far may stay there, and a call that turns out to be longer moves to the guests' threads in the middle of its work.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

/// Nothing is known yet.
const UNKNOWN: u64 = u64::MAX;

/// A function that computes for at most so long, in nanoseconds, is tiny: waking a reader costs a tenth of it or more.
const TINY: u64 = 50_000;

/// How much one call changes what is typical: an eighth.
const WEIGHT: u64 = 8;

/// A single call counts for at most this many times the limit, so that one outlier is forgotten after a few dozen calls.
const OUTLIER: u64 = 8;

/// How long the calls of one version usually compute.
pub(super) struct Pace {
    /// In nanoseconds; 0 for never.
    quick: u64,
    /// A moving mean, in nanoseconds.
    typical: AtomicU64,
}

impl Pace {
    /// Calls that usually compute for at most `quick` are not handed over.
    pub(super) fn new(quick: Duration) -> Self {
        Self { quick: nanos(quick), typical: AtomicU64::new(UNKNOWN) }
    }

    /// Starts a call's work where it belongs. A quick function's is done right here as far as it comes without waiting,
    /// which mostly is its end: a task, its wake-ups and its timers cost as much as a tiny function. None if that was all.
    pub(super) async fn start(
        self: &Arc<Self>,
        work: impl Future<Output = ()> + Send + 'static,
        guests: &Handle,
    ) -> Option<AbortHandle> {
        let timed = Box::pin(Timed { work, pace: Arc::clone(self), spent: 0, longest: 0 });
        match Handle::try_current() {
            Ok(here) if self.is_quick() => {
                let mut timed = Some(timed);
                poll_fn(|cx| Poll::Ready(timed.take().and_then(|timed| begin(timed, cx, &here, guests)))).await
            }
            _ => Some(guests.spawn(timed).abort_handle()),
        }
    }

    /// Between a tiny function's answer and its reply, other requests that are there get their turn. So replies are
    /// written in a row, and whoever reads them is woken once for all of them instead of once for each, which costs about
    /// as much as such a function. It delays a reply by what those others compute, so only tiny functions do it.
    pub(super) async fn let_others_compute(&self) {
        if self.typical.load(Ordering::Relaxed) <= TINY.min(self.quick) {
            tokio::task::yield_now().await;
        }
    }

    fn is_quick(&self) -> bool {
        self.quick > 0 && self.typical.load(Ordering::Relaxed) <= self.quick
    }

    /// Two calls that end at the same moment may lose one of their figures, which is no harm.
    fn record(&self, spent: u64) {
        let typical = self.typical.load(Ordering::Relaxed);
        self.typical.store(moved_towards(typical, spent, self.quick), Ordering::Relaxed);
    }
}

/// The first stretch of the work, and a task for the rest.
fn begin(
    mut work: Pin<Box<Timed<impl Future<Output = ()> + Send + 'static>>>,
    cx: &mut Context<'_>,
    here: &Handle,
    guests: &Handle,
) -> Option<AbortHandle> {
    // A panic ends this call alone, as it would in a task of its own; the hook has reported it.
    let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
    match polled {
        Ok(Poll::Pending) if work.is_long() => Some(guests.spawn(work).abort_handle()),
        // A task's first poll registers anew: whoever woke this one wakes that from now on.
        Ok(Poll::Pending) => {
            Some(here.spawn(Movable { work: Some(work), moved: None, guests: guests.clone() }).abort_handle())
        }
        Ok(Poll::Ready(())) | Err(_) => None,
    }
}

/// The mean after one more call.
fn moved_towards(typical: u64, spent: u64, quick: u64) -> u64 {
    let spent = spent.min(quick.saturating_mul(OUTLIER));
    if typical == UNKNOWN { spent } else { typical - typical / WEIGHT + spent / WEIGHT }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pin_project_lite::pin_project! {
    /// Work whose computing is measured.
    struct Timed<F> {
        #[pin]
        work: F,
        pace: Arc<Pace>,
        spent: u64,
        longest: u64,
    }
}

impl<F: Future<Output = ()>> Future for Timed<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let started = Instant::now();
        let polled = this.work.poll(cx);
        let spent = nanos(started.elapsed());
        *this.spent = this.spent.saturating_add(spent);
        *this.longest = spent.max(*this.longest);
        ready!(polled);
        this.pace.record(*this.spent);
        Poll::Ready(())
    }
}

impl<F> Timed<F> {
    /// Whether it computed at a stretch for longer than a quick call does in all.
    fn is_long(&self) -> bool {
        self.longest > self.pace.quick
    }
}

/// Work that began here and can go on elsewhere.
struct Movable<F> {
    work: Option<Pin<Box<Timed<F>>>>,
    moved: Option<JoinHandle<()>>,
    guests: Handle,
}

impl<F: Future<Output = ()> + Send + 'static> Future for Movable<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Some(work) = &mut this.work {
            let polled = work.as_mut().poll(cx);
            if polled.is_ready() || !work.is_long() {
                return polled;
            }
            // Whoever wakes it from now on wakes it there: a task's first poll registers anew.
            this.moved = this.work.take().map(|work| this.guests.spawn(work));
        }
        match &mut this.moved {
            // A panic of the guest's task has been reported where it happened.
            Some(moved) => Pin::new(moved).poll(cx).map(drop),
            None => Poll::Ready(()),
        }
    }
}

impl<F> Drop for Movable<F> {
    fn drop(&mut self) {
        if let Some(moved) = &self.moved {
            moved.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, thread::ThreadId};

    use proptest::prelude::*;
    use tokio::sync::oneshot;

    use super::*;

    const QUICK: u64 = 500_000;

    proptest! {
        #[test]
        fn the_mean_stays_between_what_it_was_and_what_came(typical in 0..10 * QUICK, spent in 0..10 * QUICK) {
            let next = moved_towards(typical, spent, QUICK);
            let counted = spent.min(QUICK * OUTLIER);
            prop_assert!(next <= typical.max(counted));
            prop_assert!(next.saturating_add(WEIGHT) >= typical.min(counted));
        }
    }

    #[test]
    fn one_outlier_is_forgotten_after_a_few_dozen_calls() {
        let mut typical = moved_towards(UNKNOWN, u64::MAX, QUICK);
        let mut calls = 0;
        while typical > QUICK {
            typical = moved_towards(typical, 20_000, QUICK);
            calls += 1;
        }
        assert!((10..40).contains(&calls), "{calls}");
    }

    struct Guests {
        runtime: tokio::runtime::Runtime,
        thread: ThreadId,
    }

    async fn guests() -> Guests {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let thread = runtime.spawn(async { std::thread::current().id() }).await.unwrap();
        Guests { runtime, thread }
    }

    /// The threads that each poll of a call's work took place on.
    async fn threads(pace: &Arc<Pace>, guests: &Guests, busy: Duration, polls: usize) -> Vec<ThreadId> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (done, ended) = oneshot::channel();
        let log = Arc::clone(&seen);
        let work = async move {
            for _ in 0..polls {
                log.lock().unwrap().push(std::thread::current().id());
                let started = Instant::now();
                while started.elapsed() < busy {
                    std::hint::spin_loop();
                }
                tokio::task::yield_now().await;
            }
            done.send(()).unwrap();
        };
        pace.start(work, guests.runtime.handle()).await;
        ended.await.unwrap();
        seen.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn quick_functions_stay_and_long_calls_move_to_the_guests() {
        let (guests, here) = (guests().await, std::thread::current().id());
        let pace = Arc::new(Pace::new(Duration::from_millis(50)));
        assert_eq!(threads(&pace, &guests, Duration::ZERO, 1).await, [guests.thread], "unknown: not here");
        while !pace.is_quick() {
            tokio::task::yield_now().await;
        }
        assert_eq!(threads(&pace, &guests, Duration::ZERO, 2).await, [here, here]);
        let moved = threads(&pace, &guests, Duration::from_millis(60), 2).await;
        assert_eq!(moved, [here, guests.thread], "the first tick here, the rest there");
        guests.runtime.shutdown_background();
    }

    #[tokio::test]
    async fn what_needs_no_wait_is_done_without_a_task_even_if_it_panics() {
        let (guests, pace) = (guests().await, Arc::new(Pace::new(Duration::from_secs(1))));
        pace.typical.store(0, Ordering::Relaxed);
        let (done, ended) = oneshot::channel();
        let task = pace.start(async move { done.send(7).unwrap() }, guests.runtime.handle()).await;
        assert!(task.is_none());
        assert_eq!(ended.await.unwrap(), 7);
        let (held, released) = oneshot::channel::<()>();
        let work = async move {
            let _held = held;
            panic!("a defect of the host");
        };
        assert!(pace.start(work, guests.runtime.handle()).await.is_none());
        assert!(released.await.is_err(), "what it held is given back");
        guests.runtime.shutdown_background();
    }

    #[tokio::test]
    async fn never_means_never() {
        let guests = guests().await;
        let pace = Arc::new(Pace::new(Duration::ZERO));
        for _ in 0..3 {
            assert_eq!(threads(&pace, &guests, Duration::ZERO, 1).await, [guests.thread]);
        }
        guests.runtime.shutdown_background();
    }

    #[tokio::test]
    async fn work_that_has_moved_ends_with_its_task() {
        let guests = guests().await;
        let pace = Arc::new(Pace::new(Duration::from_nanos(1)));
        pace.typical.store(0, Ordering::Relaxed);
        let (held, released) = oneshot::channel::<()>();
        let (began, moved) = oneshot::channel();
        let work = async move {
            tokio::task::yield_now().await;
            began.send(std::thread::current().id()).unwrap();
            std::future::pending::<()>().await;
            drop(held);
        };
        let task = pace.start(work, guests.runtime.handle()).await.unwrap();
        assert_eq!(moved.await.unwrap(), guests.thread);
        task.abort();
        assert!(released.await.is_err(), "what it held is given back");
        guests.runtime.shutdown_background();
    }
}
