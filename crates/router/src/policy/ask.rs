//! How often nodes may be asked for their load. A question costs both sides a few microseconds of computing, so what
//! may be spent on them is a part of what calls cost: none to speak of for calls of microseconds, several for long ones.

use std::sync::atomic::{AtomicI64, Ordering};

use super::Params;

/// Nanoseconds of computing that may be spent on questions.
#[derive(Debug)]
pub(super) struct Questions {
    saved: AtomicI64,
    cost: i64,
    part: f64,
}

/// What a calm time saves up, in questions.
const SAVED: i64 = 64;

impl Questions {
    pub(super) fn new(params: &Params) -> Self {
        let cost = ((params.ask_cost * 1e3) as i64).max(1);
        // With no part there are none from the start.
        let saved = if params.ask_part > 0.0 { cost * SAVED } else { 0 };
        Self { saved: AtomicI64::new(saved), cost, part: params.ask_part }
    }

    /// A call of so many microseconds was answered.
    pub(super) fn earn(&self, service: f64) {
        // Full nearly always: then nothing is written that other threads read.
        if self.saved.load(Ordering::Relaxed) < self.cost * SAVED {
            self.saved.fetch_add((service * 1e3 * self.part) as i64, Ordering::Relaxed);
        }
    }

    /// Takes `count` questions, all or none.
    pub(super) fn take(&self, count: usize) -> bool {
        let cost = self.cost * i64::try_from(count).unwrap_or(i64::MAX / self.cost);
        let enough = |saved: i64| (saved >= cost).then(|| saved - cost);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn questions_cost_a_part_of_what_calls_cost() {
        let params = Params { ask_cost: 10.0, ask_part: 0.02, ..Params::from(&Config::default()) };
        let questions = Questions::new(&params);
        assert_eq!((0..1_000).filter(|_| questions.take(1)).count(), 64, "what it starts with");
        // A thousand calls of 1 ms may spend 20 ms on questions of 10 us; a thousand of 10 us, 200 us.
        for (service, expected) in [(10.0, 20), (1_000.0, 64)] {
            (0..1_000).for_each(|_| questions.earn(service));
            assert_eq!((0..10_000).filter(|_| questions.take(1)).count(), expected, "{service}");
        }
    }
}
