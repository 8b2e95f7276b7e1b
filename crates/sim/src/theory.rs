//! Mean-field fixed points of "the least loaded of d random nodes": Poisson arrivals, exponential service of mean 1, nodes
//! with `slots` servers and one queue, infinitely many of them, perfect information.
//!
//! With s(k) the part of nodes that have at least k calls, calls go up over the edge (k-1, k) at rate
//! `load * slots * (s(k-1)^d - s(k)^d)` per node and down at rate `min(k, slots) * (s(k) - s(k+1))`; at the fixed point the
//! two are equal. Summed from any k >= slots upwards that gives `s(k) = load * s(k-1)^d`, so what is to be found is the
//! single number s(1).

/// The fixed point and what follows from it.
#[derive(Debug, Clone)]
pub struct FixedPoint {
    slots: usize,
    choices: i32,
    /// The part of nodes that have at least so many calls.
    at_least: Vec<f64>,
}

impl FixedPoint {
    /// Finds it by bisection on s(1).
    pub fn new(load: f64, slots: usize, choices: u32) -> Self {
        let choices = i32::try_from(choices).unwrap_or(i32::MAX);
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..200 {
            let middle = f64::midpoint(low, high);
            if excess(load, slots, choices, middle) < 0.0 { low = middle } else { high = middle }
        }
        let mut at_least = below(load, slots, choices, high);
        while at_least.last().is_some_and(|last| *last > 1e-15) && at_least.len() < 100_000 {
            let last = at_least.last().copied().unwrap_or(0.0);
            at_least.push(load * last.powi(choices));
        }
        Self { slots, choices, at_least }
    }

    /// The part of nodes that have at least so many calls.
    pub fn at_least(&self, calls: usize) -> f64 {
        self.at_least.get(calls).copied().unwrap_or(0.0)
    }

    /// The probability that a call joins a node which has so many.
    fn joins(&self, calls: usize) -> f64 {
        self.at_least(calls).powi(self.choices) - self.at_least(calls + 1).powi(self.choices)
    }

    /// The probability that a call waits.
    pub fn waits(&self) -> f64 {
        self.at_least(self.slots).powi(self.choices)
    }

    /// The mean wait.
    pub fn mean_wait(&self) -> f64 {
        let per_call = 1.0 / self.slots as f64;
        (self.slots..self.at_least.len()).map(|k| self.joins(k) * (k - self.slots + 1) as f64 * per_call).sum()
    }

    /// The wait that this part of calls exceeds.
    pub fn wait_exceeded_by(&self, part: f64) -> f64 {
        if self.waits() <= part { 0.0 } else { solve(|time| self.exceed(time, 0), part) }
    }

    /// The time from arrival to completion that this part of calls exceeds; for nodes of one slot.
    pub fn response_exceeded_by(&self, part: f64) -> f64 {
        solve(|time| self.exceed(time, 1), part)
    }

    /// The part of calls whose wait, plus `own` services of one slot, exceeds `time`. A call that finds k others waits for
    /// k - slots + 1 departures, which come at rate `slots`.
    fn exceed(&self, time: f64, own: usize) -> f64 {
        let rate = self.slots as f64 * time;
        let (mut term, mut tail, mut sum) = ((-rate).exp(), 0.0, 0.0);
        let mut done = 0;
        for k in 0..self.at_least.len() {
            let stages = (k + 1).saturating_sub(self.slots) + own;
            while done < stages {
                tail += term;
                done += 1;
                term *= rate / done as f64;
            }
            // An Erlang time of n stages exceeds t when a Poisson count of mean rate is below n.
            sum += self.joins(k) * if stages == 0 { 0.0 } else { tail };
        }
        sum
    }
}

/// s(0) to s(slots - 1) from a guess of s(1).
fn below(load: f64, slots: usize, choices: i32, first: f64) -> Vec<f64> {
    let mut at_least = vec![1.0, first];
    for k in 1..slots {
        let (before, now) = (at_least[k - 1], at_least[k]);
        let up = load * slots as f64 * (before.powi(choices) - now.powi(choices));
        at_least.push(now - up / k as f64);
    }
    at_least
}

/// How far a guess of s(1) is above the one that meets the upper part. Grows with the guess.
fn excess(load: f64, slots: usize, choices: i32, first: f64) -> f64 {
    let at_least = below(load, slots, choices, first);
    if let Some(bad) = at_least.windows(2).position(|pair| pair[1] < 0.0 || pair[1] > pair[0]) {
        // A guess that is too low runs below zero, one that is too high turns upwards.
        return if at_least[bad + 1] < 0.0 { -1.0 } else { 1.0 };
    }
    at_least[slots] - load * at_least[slots - 1].powi(choices)
}

/// Where a falling function has this value.
fn solve(falling: impl Fn(f64) -> f64, value: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while falling(high) > value && high < 1e6 {
        high *= 2.0;
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if falling(middle) > value { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() <= 0.005 * expected.max(0.01), "{value} is not {expected}");
    }

    #[test]
    fn one_choice_is_the_classic_queue() {
        let single = FixedPoint::new(0.9, 1, 1);
        close(single.waits(), 0.9);
        close(single.mean_wait(), 9.0);
        close(single.response_exceeded_by(0.01), 100.0_f64.ln() * 10.0);
        // Erlang's C for eight servers at 90 %.
        let eight = FixedPoint::new(0.9, 8, 1);
        close(eight.waits(), 0.7017);
        close(eight.mean_wait(), 0.8772);
    }

    #[test]
    fn two_choices_have_a_closed_form_for_one_slot() {
        let fixed = FixedPoint::new(0.9, 1, 2);
        for k in 0..6 {
            close(fixed.at_least(k), 0.9_f64.powi((1 << k) - 1));
        }
    }

    #[test]
    fn the_flows_are_equal_at_every_edge() {
        for (load, slots, choices) in [(0.5, 8, 2), (0.9, 8, 3), (0.95, 8, 2), (0.7, 4, 5)] {
            let fixed = FixedPoint::new(load, slots, choices);
            for k in 1..slots + 4 {
                let up = load * slots as f64 * fixed.joins(k - 1);
                let down = k.min(slots) as f64 * (fixed.at_least(k) - fixed.at_least(k + 1));
                assert!((up - down).abs() < 1e-9, "{load} {slots} {choices} {k}: {up} {down}");
            }
            let calls: f64 = (1..200).map(|k| fixed.at_least(k)).sum();
            close(calls, load * slots as f64 + load * slots as f64 * fixed.mean_wait());
        }
    }
}
