//! Nodes that fail: when they are left alone, when they are asked whether they are well, and what one more failure means
//! after that. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;

/// One node's record with this gateway.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    in_a_row: u32,
    ejections: u32,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    In,
    /// It gets no calls, and is asked if it is well when this time is over.
    Out { until: Instant },
    /// It said that it is well, and has not yet answered a call.
    Back,
}

/// What speaks against a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It could not be reached.
    Connect,
    /// A call got lost on it.
    Call,
}

impl Health {
    /// A call failed. `others_ejected` says whether so many other nodes are ejected that failed calls eject no more.
    /// Returns whether the node is ejected now.
    pub fn failed(&mut self, failure: Failure, now: Instant, others_ejected: bool, config: &Config) -> bool {
        self.in_a_row += 1;
        let eject = match failure {
            Failure::Connect => true,
            // One that was let in again goes back at its first failure.
            Failure::Call => self.state != State::In || (self.in_a_row >= config.ejection_failures && !others_ejected),
        };
        // Calls that were on their way when the node was ejected say nothing new.
        if eject && !self.is_ejected() {
            self.eject(now, config);
        }
        eject
    }

    /// A call succeeded.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Whether a success would change anything.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it gets no calls.
    pub fn is_ejected(&self) -> bool {
        matches!(self.state, State::Out { .. })
    }

    /// Whether it is to be asked now if it is well. Calls keep away until it has said so: a node that swallows connections
    /// must not swallow calls. If it does not answer, it has been ejected for longer already.
    pub fn begin_trial(&mut self, now: Instant, config: &Config) -> bool {
        let due = matches!(self.state, State::Out { until } if now >= until);
        if due {
            self.eject(now, config);
        }
        due
    }

    /// It says that it is well: calls come again. Only one that succeeds clears its record.
    pub fn readmit(&mut self) {
        if self.is_ejected() {
            self.state = State::Back;
        }
    }

    fn eject(&mut self, now: Instant, config: &Config) {
        self.state = State::Out { until: now + pause(self.ejections, config) };
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
            assert!(!health.begin_trial(end - Duration::from_millis(1), &config), "{seconds}");
            assert!(health.begin_trial(end, &config), "{seconds}");
            assert!(health.is_ejected(), "until it has answered");
            now = end;
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
        assert!(health.is_ejected());
    }

    #[test]
    fn calls_wait_until_the_node_says_that_it_is_well() {
        let config = Config::default();
        let now = Instant::now();
        let mut health = Health::default();
        health.failed(Failure::Connect, now, false, &config);
        let later = now + Duration::from_secs(1);
        assert!(health.begin_trial(later, &config));
        assert!(health.is_ejected());
        assert!(!health.begin_trial(later, &config), "it is being asked");
        health.readmit();
        assert!(!health.is_ejected() && !health.is_clean());
        assert!(health.failed(Failure::Call, later, false, &config), "its first failure sends it back");
        assert!(health.is_ejected() && !health.begin_trial(later + Duration::from_secs(3), &config), "for longer");
        health.succeeded();
        assert!(!health.is_ejected() && health.is_clean());
    }
}
