//! What a waiting call and the door tell each other.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    task::{Context, Poll},
};

use futures::task::AtomicWaker;

use crate::queue::Dropped;

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const LATE: u8 = 2;
const OVERLOAD: u8 = 3;
const DISPLACED: u8 = 4;

/// One wait. What comes of it is said once, under the lock of the queue; whoever waits is woken after that.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    state: AtomicU8,
    charged: AtomicU64,
    waker: AtomicWaker,
}

impl Turn {
    /// The call may compute; its function was charged so much.
    pub(crate) fn start(&self, charged: u64) {
        self.charged.store(charged, Ordering::Relaxed);
        self.state.store(STARTED, Ordering::Release);
    }

    /// The call waits no longer and was not started.
    pub(crate) fn drop_it(&self, why: Dropped) {
        let state = match why {
            Dropped::Late => LATE,
            Dropped::Overload => OVERLOAD,
            Dropped::Displaced => DISPLACED,
        };
        self.state.store(state, Ordering::Release);
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// What came of it, if that is known.
    pub(crate) fn outcome(&self) -> Option<Result<u64, Dropped>> {
        match self.state.load(Ordering::Acquire) {
            STARTED => Some(Ok(self.charged.load(Ordering::Relaxed))),
            LATE => Some(Err(Dropped::Late)),
            OVERLOAD => Some(Err(Dropped::Overload)),
            DISPLACED => Some(Err(Dropped::Displaced)),
            WAITING | 5.. => None,
        }
    }

    /// Whether the call has been given a slot.
    pub(crate) fn has_started(&self) -> bool {
        matches!(self.outcome(), Some(Ok(_)))
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<u64, Dropped>> {
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        self.waker.register(cx.waker());
        // It may have been said between the look and the registration.
        self.outcome().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc, time::Duration};

    use super::*;

    /// The outcome comes while the call is just about to wait for it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_outcome_is_missed() {
        let all = async {
            for charged in 0..20_000 {
                let turn = Arc::new(Turn::default());
                let door = Arc::clone(&turn);
                let opened = tokio::spawn(async move {
                    door.start(charged);
                    door.wake();
                });
                let waits = tokio::spawn(async move { poll_fn(|cx| turn.poll(cx)).await });
                assert_eq!(waits.await.unwrap(), Ok(charged));
                opened.await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("woken too early, and never again");
    }
}
