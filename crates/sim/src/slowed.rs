//! How fast a node that becomes slow loses its share of the calls.

use crate::{engine::SLICE, measure::Outcome};

/// What became of a slowed node's share.
#[derive(Debug, Clone)]
pub struct Fall {
    /// Its share before, as a multiple of an equal one.
    pub before: f64,
    /// Its share at the end.
    pub after: f64,
    /// Seconds until four fifths of the fall were done for good; none if they never were.
    pub seconds: Option<f64>,
    /// Share over time: seconds since it became slow, and share.
    pub curve: Vec<(f64, f64)>,
}

/// From runs that are alike but for their seeds. `equal` is the share that the nodes would have if all were alike; they
/// became slow at `at` seconds.
pub(crate) fn fall(outcomes: &[Outcome], equal: f64, at: f64) -> Fall {
    let slice = SLICE as f64 / 1e9;
    // The last one is not whole.
    let count = outcomes.iter().map(|outcome| outcome.slices.len()).min().unwrap_or(0).saturating_sub(1);
    let share = |range: std::ops::Range<usize>| {
        let sum = outcomes.iter().flat_map(|outcome| outcome.slices.get(range.clone()).unwrap_or_default());
        let (slow, all) = sum.fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1));
        slow as f64 / (all.max(1) as f64 * equal)
    };
    let start = ((at / slice) as usize).min(count);
    let (before, after) = (share(0..start), share(start + (count - start) / 2..count));
    // Smoothed over five slices, the last of which is the time it stands for.
    let curve: Vec<_> =
        (start..count).map(|end| ((end + 1 - start) as f64 * slice, share(end.saturating_sub(4)..end + 1))).collect();
    let line = before - 0.8 * (before - after);
    let seconds = curve.iter().find(|(_, share)| *share <= line).map(|(seconds, _)| *seconds);
    Fall { before, after, seconds, curve }
}
