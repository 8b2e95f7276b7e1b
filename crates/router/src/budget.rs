//! How many second tries there may be: a share of what succeeds, and a few more per second. Without it a cluster that is
//! full would be asked twice for everything.

use tokio::time::Instant;

/// A bucket of second tries.
#[derive(Debug)]
pub struct Budget {
    per_success: f64,
    per_second: f64,
    most: f64,
    tokens: f64,
    at: Instant,
}

impl Budget {
    /// `percent` of successes and `per_second`; a calm time saves up at most ten seconds' worth.
    pub fn new(percent: u32, per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        let most = (per_second * 10.0).max(1.0);
        Self { per_success: f64::from(percent) / 100.0, per_second, most, tokens: per_second, at: now }
    }

    /// Takes one, if there is one. `successes` is how many calls succeeded since the last time.
    pub fn take(&mut self, now: Instant, successes: u32) -> bool {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.tokens = (self.tokens + earned + f64::from(successes) * self.per_success).min(self.most);
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn second_tries_are_a_tenth_of_successes_and_ten_a_second() {
        let start = Instant::now();
        let mut budget = Budget::new(10, 10, start);
        let taken = (0..100).filter(|_| budget.take(start, 0)).count();
        assert_eq!(taken, 10, "what it starts with");
        assert!(!budget.take(start, 9));
        assert!(budget.take(start, 1), "ten successes earn one");
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| budget.take(later, 0)).count(), 10, "a second earns ten");
        let much_later = start + Duration::from_secs(3_600);
        assert_eq!((0..1_000).filter(|_| budget.take(much_later, 0)).count(), 100, "a calm hour saves up ten seconds");
    }
}
