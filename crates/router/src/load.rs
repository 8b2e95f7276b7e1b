//! What a node's last report is worth now. Own calls are always counted exactly; what others have there is only known
//! from reports, and an old report fades to the mean of all nodes instead of attracting a herd. Pure.

use std::time::Duration;

use onrush_invoke::LoadReport;
use tokio::time::Instant;

/// What a report said about calls of others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    others: f64,
    wait: f64,
    at: Instant,
}

/// A node's load as it is believed now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// Calls of all gateways.
    pub(crate) in_flight: f64,
    /// How long a call waits there, in microseconds.
    pub(crate) wait: f64,
}

impl Known {
    /// From a report that came while `own` calls of this gateway were there.
    pub(crate) fn new(report: LoadReport, own: u32, at: Instant) -> Self {
        let others = f64::from(report.in_flight.saturating_sub(own));
        Self { others, wait: micros(report.expected_wait), at }
    }

    /// What it is still worth: 1 now, nearly nothing after a few `tau`.
    fn freshness(&self, tau: Duration, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        (-age / tau.as_secs_f64().max(1e-6)).exp()
    }
}

/// The estimate. `mean` is what nodes have of others' calls on average; `tau` says how fast reports age.
pub(crate) fn estimate(known: Option<Known>, own: u32, mean: f64, tau: Duration, now: Instant) -> Estimate {
    let own = f64::from(own);
    let Some(known) = known else { return Estimate { in_flight: own + mean, wait: 0.0 } };
    let fresh = known.freshness(tau, now);
    Estimate { in_flight: own + known.others * fresh + mean * (1.0 - fresh), wait: known.wait * fresh }
}

/// What nodes have of others' calls on average. Fresh reports weigh more: otherwise a node that was full long ago would
/// raise the mean that its own report fades to, and be avoided for good.
pub(crate) fn mean(known: impl Iterator<Item = Known>, tau: Duration, now: Instant) -> f64 {
    let weighed = known.map(|known| (known.others, known.freshness(tau, now)));
    let (sum, weight) = weighed.fold((0.0, 0.0), |(sum, all), (others, weight)| (sum + others * weight, all + weight));
    if weight > 1e-9 { sum / weight } else { 0.0 }
}

/// How fast reports age where a call takes `service`: ten calls' time, between 50 ms and 1 s.
pub(crate) fn tau(service: Duration) -> Duration {
    (service * 10).clamp(Duration::from_millis(50), Duration::from_secs(1))
}

/// As the policy counts.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fades_to_the_mean_and_own_calls_do_not() {
        let now = Instant::now();
        let report = LoadReport { in_flight: 30, expected_wait: Duration::from_millis(5), ..LoadReport::default() };
        let known = Some(Known::new(report, 10, now));
        let tau = Duration::from_millis(100);
        let fresh = estimate(known, 3, 4.0, tau, now);
        assert_eq!(fresh, Estimate { in_flight: 23.0, wait: 5_000.0 });
        let old = estimate(known, 3, 4.0, tau, now + Duration::from_secs(10));
        assert!((old.in_flight - 7.0).abs() < 1e-6 && old.wait < 1e-6);
        let half = estimate(known, 3, 4.0, tau, now + tau);
        assert!(half.in_flight < fresh.in_flight && half.in_flight > old.in_flight);
        assert_eq!(estimate(None, 3, 4.0, tau, now).in_flight, 7.0);
    }

    #[test]
    fn a_node_that_was_full_long_ago_does_not_raise_the_mean() {
        let now = Instant::now();
        let tau = Duration::from_millis(50);
        let report = |in_flight, at| Known::new(LoadReport { in_flight, ..LoadReport::default() }, 0, at);
        let later = now + Duration::from_secs(1);
        assert_eq!(mean([report(50, now), report(10, now)].into_iter(), tau, now), 30.0);
        assert!((mean([report(50, now), report(10, later)].into_iter(), tau, later) - 10.0).abs() < 1e-6);
        assert_eq!(mean(std::iter::empty(), tau, now), 0.0);
    }

    #[test]
    fn ageing_follows_the_calls_length_within_bounds() {
        for (service, expected) in [(1, 50), (20, 200), (5_000, 1_000)] {
            assert_eq!(tau(Duration::from_millis(service)), Duration::from_millis(expected));
        }
    }
}
