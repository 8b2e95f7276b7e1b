//! Percentiles and medians.

use std::time::Duration;

use hdrhistogram::Histogram;

/// A distribution of times.
#[derive(Debug, Clone)]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        // Three digits from a microsecond to ten minutes.
        let mut histogram = Histogram::new_with_bounds(1, 600_000_000, 3).expect("constant bounds are sound");
        for time in times {
            histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
        }
        Self(histogram)
    }

    /// In milliseconds; no number where nothing was recorded.
    pub(crate) fn ms(&self, percentile: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        Duration::from_micros(self.0.value_at_percentile(percentile)).as_secs_f64() * 1e3
    }

    /// p50, p99 and p99.9 in milliseconds, for a table.
    pub(crate) fn cells(&self) -> [String; 3] {
        [50.0, 99.0, 99.9].map(|percentile| crate::report::number(self.ms(percentile)))
    }
}

/// The middle one; the upper of two. No number where there is none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let times = Times::of((1..=1000).map(Duration::from_millis));
        assert!((times.ms(50.0) - 500.0).abs() < 1.0 && (times.ms(99.0) - 990.0).abs() < 1.0);
        assert!(Times::of([]).ms(50.0).is_nan());
    }

    #[test]
    fn the_median_ignores_the_extremes() {
        assert!((median([9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median([]).is_nan());
    }
}
