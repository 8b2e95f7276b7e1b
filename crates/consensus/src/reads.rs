//! Fresh reads share what confirms them.
//!
//! A read may use any confirmation that began after the read itself did (Ongaro's dissertation, section 6.4). So one runs
//! at a time, and all reads that came meanwhile are answered by the next one. Without that, each read would cost a message
//! to every voter, and a few dozen at once would crowd out the log's own.

use std::sync::{Mutex, PoisonError};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// A read that waits for a confirmation.
pub(crate) struct Wish<E> {
    deadline: Instant,
    answer: oneshot::Sender<Result<u64, E>>,
}

/// Where reads wait.
pub(crate) struct Rounds<E> {
    queue: mpsc::Sender<Wish<E>>,
    end: Mutex<Option<mpsc::Receiver<Wish<E>>>>,
}

impl<E: Clone> Rounds<E> {
    /// For at most `most` reads at once.
    pub(crate) fn new(most: usize) -> Self {
        let (queue, end) = mpsc::channel(most.max(1));
        Self { queue, end: Mutex::new(Some(end)) }
    }

    /// The end that [`run`] works on; there is one.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<Wish<E>>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The index that a confirmation brings which begins from now on, or `late` where none does in time.
    pub(crate) async fn join(&self, deadline: Instant, late: impl FnOnce() -> E) -> Result<u64, E> {
        let (answer, answered) = oneshot::channel();
        if self.queue.try_send(Wish { deadline, answer }).is_err() {
            return Err(late());
        }
        match timeout_at(deadline, answered).await {
            Ok(Ok(confirmed)) => confirmed,
            Ok(Err(_)) | Err(_) => Err(late()),
        }
    }
}

/// Confirms for all that wait, one round after the other, until `stop`.
pub(crate) async fn run<E: Clone, F: Future<Output = Result<u64, E>>>(
    mut queue: mpsc::Receiver<Wish<E>>,
    confirm: impl Fn(Instant) -> F,
    stop: CancellationToken,
) {
    loop {
        let Some(Some(first)) = stop.run_until_cancelled(queue.recv()).await else { return };
        let mut round = vec![first];
        while let Ok(next) = queue.try_recv() {
            round.push(next);
        }
        let now = Instant::now();
        round.retain(|wish| wish.deadline > now && !wish.answer.is_closed());
        let Some(until) = round.iter().map(|wish| wish.deadline).max() else { continue };
        let Some(confirmed) = stop.run_until_cancelled(confirm(until)).await else { return };
        for wish in round {
            // Nobody listens where the caller has gone.
            let _heard = wish.answer.send(confirmed.clone()).is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reads_share_a_round_that_began_after_they_came() {
        let rounds = Arc::new(Rounds::<&str>::new(8));
        let (begun, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let stop = CancellationToken::new();
        let (count, open) = (Arc::clone(&begun), Arc::clone(&gate));
        let confirm = move |_| {
            let (round, open) = (count.fetch_add(1, Ordering::SeqCst) + 1, Arc::clone(&open));
            async move {
                open.acquire().await.unwrap().forget();
                Ok(round)
            }
        };
        let task = tokio::spawn(run(rounds.take().unwrap(), confirm, stop.clone()));
        let deadline = Instant::now() + Duration::from_secs(5);
        let read = || {
            let rounds = Arc::clone(&rounds);
            tokio::spawn(async move { rounds.join(deadline, || "late").await })
        };
        let first = read();
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let others = [read(), read(), read()];
        tokio::task::yield_now().await;
        gate.add_permits(2);
        assert_eq!(first.await.unwrap(), Ok(1));
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(2), "the round that was under way began before it came");
        }
        assert_eq!(read().await.unwrap(), Err("late"), "a round that hangs ends with the read's deadline");
        stop.cancel();
        task.await.unwrap();
        assert_eq!(rounds.join(deadline, || "late").await, Err("late"), "nobody confirms any more");
    }
}
