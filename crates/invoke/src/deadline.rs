//! The one deadline of a call. It is made at the edge and only ever shrinks (P7).

use std::time::Duration;

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
    /// [`tokio::time::error::Elapsed`] when it does.
    pub async fn bound<F: Future>(self, work: F) -> Result<F::Output, tokio::time::error::Elapsed> {
        tokio::time::timeout_at(self.0, work).await
    }
}

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
        assert!(Deadline::after(Duration::MAX).remaining() > Duration::from_secs(86_400));
    }
}
