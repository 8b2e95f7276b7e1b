//! What came out of one run, and what several say together.

use hdrhistogram::Histogram;

/// What one run measured. Times are in seconds.
#[derive(Debug)]
pub struct Outcome {
    latency: Histogram<u64>,
    wait: Histogram<u64>,
    sum_wait: f64,
    waited: u64,
    /// Calls that ran on another node than the one where they arrived.
    pub sent_away: u64,
    /// Nodes asked for their load.
    pub asked: u64,
    /// Of calls that started in each slice of time, how many ran on the first nodes (those that become slow) and how many
    /// in all.
    pub slices: Vec<(u64, u64)>,
}

/// Nanoseconds.
const MOST: u64 = 1_000_000_000_000;

impl Outcome {
    pub(crate) fn new() -> Self {
        let histogram = || Histogram::new_with_max(MOST, 3).unwrap_or_else(|_| unreachable_bounds());
        Self {
            latency: histogram(),
            wait: histogram(),
            sum_wait: 0.0,
            waited: 0,
            sent_away: 0,
            asked: 0,
            slices: Vec::new(),
        }
    }

    pub(crate) fn record(&mut self, latency: u64, wait: u64) {
        self.latency.saturating_record(latency.max(1));
        self.wait.saturating_record(wait.max(1));
        self.sum_wait += wait as f64;
        self.waited += u64::from(wait > 0);
    }

    /// Calls.
    pub fn calls(&self) -> u64 {
        self.latency.len()
    }

    /// The mean time from arrival to reply.
    pub fn mean(&self) -> f64 {
        self.latency.mean() / 1e9
    }

    /// The time from arrival to reply that this part of calls does not exceed.
    pub fn quantile(&self, part: f64) -> f64 {
        self.latency.value_at_quantile(part) as f64 / 1e9
    }

    /// The mean wait in a node's queue.
    pub fn mean_wait(&self) -> f64 {
        self.sum_wait / 1e9 / self.calls().max(1) as f64
    }

    /// The part of calls that waited.
    pub fn waits(&self) -> f64 {
        self.waited as f64 / self.calls().max(1) as f64
    }

    /// The wait that this part of calls does not exceed.
    pub fn wait_quantile(&self, part: f64) -> f64 {
        self.wait.value_at_quantile(part) as f64 / 1e9
    }

    /// Per call: the part that was sent away, and nodes asked.
    pub fn per_call(&self) -> (f64, f64) {
        let calls = self.calls().max(1) as f64;
        (self.sent_away as f64 / calls, self.asked as f64 / calls)
    }
}

/// hdrhistogram refuses only bounds that are out of order.
fn unreachable_bounds() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 2, 0).unwrap_or_else(|_| unreachable_bounds())
}

/// A mean over runs of different seeds and half the width of its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half the interval; infinite for a single run.
    pub half: f64,
}

impl Estimate {
    /// Over these runs.
    pub fn of(values: &[f64]) -> Self {
        /// Student's t, 97.5 %, by degrees of freedom.
        const T: [f64; 10] = [f64::INFINITY, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26];
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let t = T.get(values.len().saturating_sub(1)).copied().unwrap_or(2.0);
        let half = if values.len() < 2 { f64::INFINITY } else { t * (square / (count - 1.0) / count).sqrt() };
        Self { mean, half }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_how_sure_it_is() {
        let same = Estimate::of(&[2.0; 5]);
        assert_eq!((same.mean, same.half), (2.0, 0.0));
        let spread = Estimate::of(&[1.0, 2.0, 3.0]);
        assert!((spread.mean - 2.0).abs() < 1e-9 && (spread.half - 4.30 / 3.0_f64.sqrt()).abs() < 1e-9);
        assert!(Estimate::of(&[1.0]).half.is_infinite());
    }

    #[test]
    fn waits_and_latencies_are_in_seconds() {
        let mut outcome = Outcome::new();
        (1..=100).for_each(|ms| outcome.record(ms * 1_000_000, if ms > 50 { 1_000_000 } else { 0 }));
        assert!((outcome.mean() - 0.0505).abs() < 1e-4 && (outcome.quantile(0.99) - 0.099).abs() < 1e-3);
        assert!((outcome.waits() - 0.5).abs() < 1e-9 && (outcome.mean_wait() - 0.0005).abs() < 1e-9);
    }
}
