//! Sampling by capacity: a node with twice the slots, or slots twice as fast, is drawn twice as often.

/// Sums of capacity up to each node.
#[derive(Debug, Clone, Default)]
pub struct Capacity(Vec<u64>);

impl Capacity {
    /// Of these nodes, in order.
    pub fn new(capacities: impl Iterator<Item = u64>) -> Self {
        let add = |sum: &mut u64, capacity: u64| {
            *sum += capacity.max(1);
            Some(*sum)
        };
        Self(capacities.scan(0, add).collect())
    }

    /// One of them. None if there are none.
    pub fn sample(&self, random: u64) -> Option<usize> {
        let wanted = random.checked_rem(*self.0.last()?)?;
        Some(self.0.partition_point(|sum| *sum <= wanted))
    }
}
