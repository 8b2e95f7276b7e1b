//! Nodes for tests: four slots each, believed as the test says.

use super::{Belief, Field, Place};

pub(in crate::policy) struct FakeField {
    pub(in crate::policy) beliefs: Vec<Belief>,
    pub(in crate::policy) speeds: Vec<f64>,
    pub(in crate::policy) here: Option<usize>,
    pub(in crate::policy) barred: Vec<usize>,
}

impl FakeField {
    pub(in crate::policy) fn new(count: usize) -> Self {
        let beliefs = (0..count).map(|_| Belief::new(300.0)).collect();
        Self { beliefs, speeds: vec![1.0; count], here: Some(0), barred: Vec::new() }
    }
}

impl Field for FakeField {
    fn count(&self) -> usize {
        self.beliefs.len()
    }

    fn here(&self) -> Option<usize> {
        self.here
    }

    fn place(&self, index: usize) -> Place<'_> {
        Place { belief: &self.beliefs[index], slots: 4.0, speed: self.speeds[index] }
    }

    fn id(&self, index: usize) -> u64 {
        index as u64 + 1
    }

    fn may(&self, index: usize) -> bool {
        !self.barred.contains(&index)
    }

    fn sample(&self, random: u64) -> Option<usize> {
        let index = random.checked_rem(self.beliefs.len() as u64)?;
        usize::try_from(index).ok()
    }

    fn look_here(&self) {}
}
