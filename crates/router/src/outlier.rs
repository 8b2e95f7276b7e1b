//! Nodes that fail: when they are left alone, and when they may try again. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;

/// One node's record with this gateway.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    in_a_row: u32,
    ejections: u32,
    until: Option<Instant>,
}

/// What speaks against a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It could not be reached.
    Connect,
    /// A call got lost on it.
    Call,
}

impl Health {
    /// A call failed. `others_ejected` says whether so many other nodes are ejected that failed calls eject no more.
    /// Returns whether the node is ejected now.
    pub(crate) fn failed(&mut self, failure: Failure, now: Instant, others_ejected: bool, config: &Config) -> bool {
        self.in_a_row += 1;
        let eject = match failure {
            Failure::Connect => true,
            // One that was let in for a trial goes back at its first failure.
            Failure::Call => self.until.is_some() || (self.in_a_row >= config.ejection_failures && !others_ejected),
        };
        // Calls that were on their way when the node was ejected say nothing new.
        if eject && !self.is_ejected(now) {
            self.eject(now, config);
        }
        eject
    }

    /// A call succeeded.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Whether a success would change anything.
    pub(crate) fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it gets no calls now.
    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether the next call to it is its trial. Everyone else keeps away until that one is back: a node that swallows
    /// connections must not swallow one call of every client.
    pub(crate) fn begin_trial(&mut self, now: Instant, config: &Config) -> bool {
        let due = self.until.is_some_and(|until| now >= until);
        if due {
            self.eject(now, config);
        }
        due
    }

    fn eject(&mut self, now: Instant, config: &Config) {
        self.until = Some(now + pause(self.ejections, config));
        self.ejections += 1;
    }
}

fn pause(ejections: u32, config: &Config) -> Duration {
    config.ejection.saturating_mul(2_u32.saturating_pow(ejections.min(20))).min(config.ejection_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_eject_for_longer_each_time() {
        let config = Config::default();
        let mut now = Instant::now();
        let mut health = Health::default();
        for _ in 0..4 {
            assert!(!health.failed(Failure::Call, now, false, &config));
        }
        assert!(health.failed(Failure::Call, now, false, &config));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let end = now + Duration::from_secs(seconds);
            assert!(health.is_ejected(end - Duration::from_millis(1)), "{seconds}");
            assert!(!health.is_ejected(end), "{seconds}");
            now = end;
            // Without a trial that claims it, the first failure after the time ejects again.
            assert!(health.failed(Failure::Call, now, false, &config));
        }
    }

    #[test]
    fn a_success_in_between_starts_the_count_again() {
        let config = Config::default();
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 0..3 {
            for _ in 0..4 {
                assert!(!health.failed(Failure::Call, now, false, &config));
            }
            health.succeeded();
        }
        assert!(health.is_clean());
    }

    #[test]
    fn only_failed_calls_respect_the_cap() {
        let config = Config::default();
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 0..50 {
            assert!(!health.failed(Failure::Call, now, true, &config));
        }
        assert!(health.failed(Failure::Connect, now, true, &config));
        assert!(health.is_ejected(now));
    }

    #[test]
    fn one_call_is_the_trial_and_the_others_wait_for_it() {
        let config = Config::default();
        let now = Instant::now();
        let mut health = Health::default();
        health.failed(Failure::Connect, now, false, &config);
        let later = now + Duration::from_secs(1);
        assert!(health.begin_trial(later, &config));
        assert!(health.is_ejected(later));
        assert!(!health.begin_trial(later, &config));
        health.succeeded();
        assert!(!health.is_ejected(later));
    }
}
