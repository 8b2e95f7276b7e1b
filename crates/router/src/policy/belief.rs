//! What a gateway believes of one node. Own calls there are counted exactly; what others have there is only known from
//! reports, and an old report fades to what nodes have on average instead of attracting or scaring everybody.
//!
//! Everything is an atomic of its own: two numbers of two reports may meet, which is as good as either.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::{Knowledge, Params};

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Report {
    /// Calls in the house, everybody's.
    pub in_flight: u32,
    /// Of those, calls that compute or would if there were slots for all. The others wait for something else.
    pub busy: u32,
    /// How long a new call would wait, in microseconds.
    pub wait: f64,
}

/// A node's load as it is believed now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// Calls of all gateways that compute or would.
    pub busy: f64,
    /// How long it said that a call waits, in microseconds, aged.
    pub wait: f64,
}

/// What is believed of one node.
#[derive(Debug)]
pub struct Belief {
    own: AtomicU32,
    /// Microseconds to it and back, beyond what a call takes there.
    hop: AtomicU32,
    /// Others' calls that compute or would (upper half) and the wait in microseconds (lower half).
    report: AtomicU64,
    /// Which part of the calls there compute or would.
    part: AtomicU32,
    /// When the report came; zero for never.
    at: AtomicU64,
    /// The logarithm of how many times slower it is than usual (upper half), and the millisecond it was learned in.
    pace: AtomicU64,
    /// Whether that was more than noise when it was learned.
    odd: AtomicBool,
    /// Since when it takes part; see `Params::slow_start`.
    since: AtomicU64,
}

/// Differences in pace below this (65 %) are noise.
const NOISE: f32 = 0.5;
/// A node that was found to be slow counts as slow until as much of that is forgotten as leaves this (28 %). Were it the
/// same threshold for both, a slow node would get a call or two each time that it falls below, for ever.
const FORGOTTEN: f32 = NOISE / 2.0;
/// What was learned of a node's pace is half forgotten after this time, so that it is tried again.
const FORGET_MS: f32 = 3_000.0;

impl Belief {
    /// Of a node that nothing is known of.
    pub fn new(hop: f64) -> Self {
        Self {
            own: AtomicU32::new(0),
            hop: AtomicU32::new((hop as f32).to_bits()),
            report: AtomicU64::new(0),
            part: AtomicU32::new(1.0_f32.to_bits()),
            at: AtomicU64::new(0),
            pace: AtomicU64::new(0),
            odd: AtomicBool::new(false),
            since: AtomicU64::new(0),
        }
    }

    /// Own calls there now.
    pub fn own(&self) -> u32 {
        self.own.load(Relaxed)
    }

    /// A call goes there.
    pub fn enter(&self) {
        self.own.fetch_add(1, Relaxed);
    }

    /// A call is back.
    pub fn leave(&self) {
        self.own.fetch_sub(1, Relaxed);
    }

    /// Takes a report in. It counts own calls too, those included that are back while it is read.
    pub fn report(&self, report: Report, slots: f64, knowledge: &Knowledge, now: u64) {
        /// Of calls that nothing is known of, at least this part is taken to compute.
        const LEAST: f32 = 1.0 / 64.0;
        let part = if report.in_flight == 0 { 1.0 } else { report.busy as f32 / report.in_flight as f32 };
        let others = (report.in_flight.saturating_sub(self.own()) as f32 * part).round() as u32;
        self.part.store(part.clamp(LEAST, 1.0).to_bits(), Relaxed);
        let wait = report.wait.clamp(0.0, f64::from(u32::MAX)) as u32;
        self.report.store(u64::from(others) << 32 | u64::from(wait), Relaxed);
        self.at.store(now.max(1), Relaxed);
        knowledge.saw_others(f64::from(others) / slots);
    }

    /// How old the last report is, in microseconds; none if there was none.
    pub fn age(&self, now: u64) -> Option<f64> {
        let at = self.at.load(Relaxed);
        (at > 0).then(|| now.saturating_sub(at) as f64)
    }

    /// Its load.
    pub fn standing(&self, slots: f64, knowledge: &Knowledge, params: &Params, now: u64) -> Standing {
        let own = f64::from(self.own()) * f64::from(f32::from_bits(self.part.load(Relaxed)));
        let usual = knowledge.usual_others() * slots;
        let Some(age) = self.age(now) else { return Standing { busy: own + usual, wait: 0.0 } };
        let report = self.report.load(Relaxed);
        let (others, wait) = ((report >> 32) as f64, (report & u64::from(u32::MAX)) as f64);
        let service = knowledge.service();
        let old = age - params.fresh(service);
        if old <= 0.0 {
            return Standing { busy: own + others, wait };
        }
        let worth = (-old / params.half_life(service)).exp2();
        Standing { busy: own + others * worth + usual * (1.0 - worth), wait: wait * worth }
    }

    /// What the way there costs, in microseconds.
    pub fn hop(&self) -> f64 {
        f64::from(f32::from_bits(self.hop.load(Relaxed)))
    }

    /// A question was answered after so many microseconds: that is the way there and back.
    pub fn answered_in(&self, took: f64) {
        let hop = self.hop();
        // A pause on either side is not the way's length.
        let new = hop + (took.min(hop * 4.0) - hop) / 16.0;
        self.hop.store((new.max(1.0) as f32).to_bits(), Relaxed);
    }

    /// How many times longer a call takes there than usual.
    pub fn slowness(&self, now: u64) -> f64 {
        let noise = if self.odd.load(Relaxed) { FORGOTTEN } else { NOISE };
        let pace = f32::from_bits((self.pace.load(Relaxed) >> 32) as u32);
        if pace.abs() < noise {
            return 1.0;
        }
        let pace = self.pace(now);
        if pace.abs() < noise { 1.0 } else { f64::from(pace.exp()) }
    }

    pub(super) fn pace(&self, now: u64) -> f32 {
        let packed = self.pace.load(Relaxed);
        let pace = f32::from_bits((packed >> 32) as u32);
        let age = ((now / 1_000) as u32).wrapping_sub(packed as u32);
        if age == 0 { pace } else { pace * (-(age as f32) / FORGET_MS).exp2() }
    }

    pub(super) fn set_pace(&self, pace: f32, now: u64) {
        let when = (now / 1_000) as u32;
        self.pace.store(u64::from(pace.to_bits()) << 32 | u64::from(when), Relaxed);
        let noise = if self.odd.load(Relaxed) { FORGOTTEN } else { NOISE };
        self.odd.store(pace.abs() >= noise, Relaxed);
    }

    /// It takes part from now on, little at first.
    pub fn joined(&self, now: u64) {
        self.since.store(now.max(1), Relaxed);
    }

    /// Whether a sampled node is taken: always, but for one that joined lately.
    pub(super) fn accepts(&self, params: &Params, now: u64, random: u64) -> bool {
        let since = self.since.load(Relaxed);
        let age = now.saturating_sub(since);
        if since == 0 || age >= params.slow_start {
            return true;
        }
        let ramp = (age as f64 / params.slow_start as f64).max(0.1);
        (random >> 11) as f64 <= ramp * (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn params() -> Params {
        Params::from(&Config::default())
    }

    #[test]
    fn a_report_fades_to_what_is_usual_and_own_calls_do_not() {
        let params = params();
        let knowledge = Knowledge::new(&params, 1);
        let (belief, slots) = (Belief::new(300.0), 4.0);
        (0..13).for_each(|_| belief.enter());
        belief.report(Report { in_flight: 33, busy: 33, wait: 5_000.0 }, slots, &knowledge, 1_000);
        (0..10).for_each(|_| belief.leave());
        let usual = knowledge.usual_others() * slots;
        let fresh = belief.standing(slots, &knowledge, &params, 1_000);
        assert_eq!(fresh, Standing { busy: 23.0, wait: 5_000.0 });
        let old = belief.standing(slots, &knowledge, &params, 60_000_000);
        assert!((old.busy - 3.0 - usual).abs() < 1e-6 && old.wait < 1e-6, "{old:?}");
        let half_life = params.fresh(1_000.0) + params.half_life(1_000.0);
        let half = belief.standing(slots, &knowledge, &params, 1_000 + half_life as u64);
        assert!((half.wait - 2_500.0).abs() < 10.0, "{half:?}");
        let unknown = Belief::new(300.0).standing(slots, &knowledge, &params, 7);
        assert_eq!(unknown, Standing { busy: usual, wait: 0.0 });
    }

    #[test]
    fn calls_that_wait_for_something_else_are_no_load() {
        let params = params();
        let knowledge = Knowledge::new(&params, 1);
        let belief = Belief::new(300.0);
        (0..100).for_each(|_| belief.enter());
        belief.report(Report { in_flight: 300, busy: 3, wait: 0.0 }, 4.0, &knowledge, 1_000);
        let standing = belief.standing(4.0, &knowledge, &params, 1_000);
        assert!((3.0..4.0).contains(&standing.busy), "{standing:?}");
    }

    #[test]
    fn a_slow_node_is_known_by_its_pace_until_that_is_forgotten() {
        let belief = Belief::new(300.0);
        assert_eq!(belief.slowness(5_000_000), 1.0);
        belief.set_pace(3.0_f32.ln(), 5_000_000);
        assert!((belief.slowness(5_000_000) - 3.0).abs() < 0.01);
        assert!((belief.slowness(8_000_000) - 3.0_f64.sqrt()).abs() < 0.01, "half of it in logarithms");
        assert_eq!(belief.slowness(60_000_000), 1.0);
        let belief = Belief::new(300.0);
        belief.set_pace(0.4, 5_000_000);
        assert_eq!(belief.slowness(5_000_000), 1.0, "that is noise");
        belief.set_pace(0.6, 5_000_000);
        belief.set_pace(0.4, 5_000_000);
        assert!(belief.slowness(5_000_000) > 1.4, "that is what is left of more than noise");
        assert!(belief.slowness(7_000_000) > 1.25);
        assert_eq!(belief.slowness(8_000_000), 1.0, "forgotten");
        belief.set_pace(0.2, 8_000_000);
        belief.set_pace(0.4, 8_000_000);
        assert_eq!(belief.slowness(8_000_000), 1.0, "noise again");
    }

    #[test]
    fn a_node_that_joins_takes_part_little_by_little() {
        let params = params();
        let belief = Belief::new(300.0);
        let taken = |now| (0..1_000_u64).filter(|i| belief.accepts(&params, now, i << 54)).count();
        assert_eq!(taken(7), 1_000, "one that was there from the start");
        belief.joined(1_000_000);
        let (start, half) = (taken(1_000_000), taken(1_000_000 + params.slow_start / 2));
        assert!((90..=110).contains(&start) && (490..=520).contains(&half), "{start} {half}");
        assert_eq!(taken(1_000_000 + params.slow_start), 1_000);
    }

    #[test]
    fn the_way_is_learned_slowly_and_pauses_are_not_believed() {
        let belief = Belief::new(300.0);
        belief.answered_in(1e6);
        assert!(belief.hop() < 400.0);
        (0..100).for_each(|_| belief.answered_in(100.0));
        assert!((belief.hop() - 100.0).abs() < 5.0);
    }
}
