//! The one deadline of a call. It is made at the edge and only ever shrinks (P7).

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::time::Instant;

/// The moment at which a call must be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        // An absurdly long timeout must not overflow the clock; a month is longer than any call.
        Self(Instant::now() + timeout.min(Duration::from_secs(30 * 86_400)))
    }

    /// At this moment.
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The moment.
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// What is left, zero if it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The earlier of this and `timeout` from now.
    #[must_use]
    pub fn shrink(self, timeout: Duration) -> Self {
        self.min(Self::after(timeout))
    }

    /// Runs `work`, giving up when the deadline passes.
    ///
    /// # Errors
    /// [`Passed`] when it does.
    pub async fn bound<F: Future>(self, work: F) -> Result<F::Output, Passed> {
        let (mut work, mut alarm) = (pin!(work), pin!(None));
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            // Made only for work that has to wait: a timer costs more than what is done at once.
            if alarm.is_none() {
                alarm.set(Some(tokio::time::sleep_until(self.0)));
            }
            alarm.as_mut().as_pin_mut().map_or(Poll::Pending, |alarm| alarm.poll(cx).map(|()| Err(Passed)))
        })
        .await
    }
}

/// The deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct Passed;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_only_shrinks() {
        let deadline = Deadline::after(Duration::from_secs(2));
        assert_eq!(deadline.shrink(Duration::from_secs(9)), deadline);
        assert_eq!(deadline.shrink(Duration::from_secs(1)).remaining(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(deadline.has_passed());
        assert_eq!(deadline.remaining(), Duration::ZERO);
        assert!(deadline.bound(std::future::pending::<()>()).await.is_err());
        assert_eq!(deadline.bound(async { 1 }).await, Ok(1), "what is there is taken, however late");
        assert!(Deadline::after(Duration::MAX).remaining() > Duration::from_secs(86_400));
    }
}
