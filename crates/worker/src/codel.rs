//! What a queue that does not go away means: controlled delay, changed for bursts and for clients that wait for their
//! replies. Pure.
//!
//! CoDel drops from a queue whose delay has been above a target for an interval. Here a queue like that is most often
//! the burst for which one runs this platform, or a fixed number of clients of which each sends its next call when it has
//! its reply: everybody in it can still be served in time. What such queues do not do is to grow. A queue that
//! grows is turned around (newest first: those who came last have the most time left), and one that goes on growing, or
//! stays very long, is an overload. See `docs/adr/0011-a-burst-is-not-an-overload.md`.

use std::time::Duration;

use tokio::time::Instant;

/// A queue is looked at this often before it is called an overload, however slow its calls are.
const LOOKS: u32 = 5;
/// A queue that grew a little at this many looks in a row grows. Where a few clients wait for their replies, one look sees a
/// tenth more come than go by chance, and to turn their queue around would starve one of them. Twice as many is no chance.
const GREW: u32 = 2;

/// What the rules are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// A delay that is nobody's concern.
    pub(crate) target: Duration,
    /// How long a queue may be above the target before it stands.
    pub(crate) interval: Duration,
    /// How long it may grow before it is an overload.
    pub(crate) patience: Duration,
    /// A delay so long that a queue which does not fall is an overload although it does not grow.
    pub(crate) longest: Duration,
}

/// What a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// First come, first served.
    Calm,
    /// Newest first.
    Growing,
    /// Only a short queue, the rest is refused.
    Overload,
}

/// One queue's history.
#[derive(Debug)]
pub(crate) struct Delay {
    mode: Mode,
    above_since: Option<Instant>,
    /// When the queue was looked at last, and who came and who started since.
    looked: Instant,
    came: u32,
    started: u32,
    /// Looks in a row that found it bad, and when that began.
    bad: u32,
    bad_since: Instant,
    refused: Instant,
}

impl Delay {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            mode: Mode::Calm,
            above_since: None,
            looked: now,
            came: 0,
            started: 0,
            bad: 0,
            bad_since: now,
            refused: now,
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether nothing needs to be remembered.
    pub(crate) fn is_calm(&self) -> bool {
        self.mode == Mode::Calm && self.above_since.is_none()
    }

    /// A call came, whether it was taken or not.
    pub(crate) fn came(&mut self) {
        self.came = self.came.saturating_add(1);
    }

    /// A call was refused because of an overload.
    pub(crate) fn refused(&mut self, now: Instant) {
        self.refused = now;
    }

    /// A call was started.
    pub(crate) fn started(&mut self) {
        self.started = self.started.saturating_add(1);
    }

    /// Judges anew. `oldest` is how long the oldest call has waited, none where nobody waits; `service` is what calls
    /// take.
    pub(crate) fn look(&mut self, rules: &Rules, oldest: Option<Duration>, service: Duration, now: Instant) -> Mode {
        // A queue of slow calls has a delay that a quarter of one call explains.
        let above = oldest.is_some_and(|oldest| oldest > rules.target.max(service / 4));
        match self.mode {
            Mode::Overload if now - self.refused >= rules.interval => self.become_calm(),
            Mode::Overload => {}
            Mode::Calm | Mode::Growing if !above => self.become_calm(),
            Mode::Calm | Mode::Growing => {
                let since = *self.above_since.get_or_insert_with(|| {
                    (self.bad, self.bad_since) = (0, now);
                    (self.looked, self.came, self.started) = (now, 0, 0);
                    now
                });
                if now - since >= rules.interval {
                    self.watch(rules, oldest.is_some_and(|oldest| oldest > rules.longest), now);
                }
            }
        }
        self.mode
    }

    fn become_calm(&mut self) {
        (self.mode, self.above_since) = (Mode::Calm, None);
    }

    fn watch(&mut self, rules: &Rules, very_long: bool, now: Instant) {
        // Where nothing was served nothing can be said.
        if now - self.looked < rules.interval || self.started == 0 {
            return;
        }
        let (came, started) = (u64::from(self.came), u64::from(self.started));
        // A tenth more than are served: clients that wait for their replies cannot keep that up.
        let grows = came * 10 > started * 11;
        if grows || very_long && came >= started {
            self.bad += 1;
        } else {
            (self.bad, self.bad_since) = (0, now);
        }
        let surely = came >= started * 2 || self.bad >= GREW;
        self.mode = if grows && surely { Mode::Growing } else { Mode::Calm };
        (self.looked, self.came, self.started) = (now, 0, 0);
        if self.bad >= LOOKS && now - self.bad_since >= rules.patience {
            (self.mode, self.refused) = (Mode::Overload, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        target: Duration::from_millis(5),
        interval: Duration::from_millis(100),
        patience: Duration::from_secs(1),
        longest: Duration::from_secs(10),
    };

    /// A queue that is served at one call per `service` and to which `arrivals(ms)` calls come in each millisecond.
    /// The modes that it went through, with the millisecond at which each began.
    fn run(service_ms: u64, length_ms: u64, arrivals: impl Fn(u64) -> u32) -> Vec<(u64, Mode)> {
        let begin = Instant::now();
        let mut delay = Delay::new(begin);
        let mut queue = std::collections::VecDeque::new();
        let mut modes = vec![(0, Mode::Calm)];
        for ms in 0..length_ms {
            let now = begin + Duration::from_millis(ms);
            for _ in 0..arrivals(ms) {
                delay.came();
                if delay.mode() == Mode::Overload && queue.len() > 4 {
                    delay.refused(now);
                } else {
                    queue.push_back(now);
                }
            }
            if ms % service_ms == 0 && queue.pop_front().is_some() {
                delay.started();
            }
            let oldest = queue.front().map(|came| now - *came);
            let mode = delay.look(&RULES, oldest, Duration::from_millis(service_ms), now);
            if modes.last().unwrap().1 != mode {
                modes.push((ms, mode));
            }
            while mode == Mode::Overload && queue.len() > 5 {
                queue.pop_front();
            }
        }
        modes
    }

    #[test]
    fn a_burst_is_served_to_the_last_call() {
        for service in [1, 20, 300] {
            let modes = run(service, 400 * service, |ms| if ms == 0 { 300 } else { 0 });
            assert!(modes.iter().all(|(_, mode)| *mode != Mode::Overload), "{service} ms: {modes:?}");
        }
    }

    #[test]
    fn clients_that_wait_for_their_replies_are_no_overload_however_many_they_are() {
        // Each reply is followed by the next call: 64 calls of 20 ms wait all the time.
        let modes = run(20, 30_000, |ms| if ms == 0 { 64 } else { u32::from(ms % 20 == 0) });
        assert!(modes.iter().all(|(_, mode)| *mode != Mode::Overload), "{modes:?}");
        assert_eq!(modes.last().unwrap().1, Mode::Calm, "and they take turns: {modes:?}");
    }

    #[test]
    fn a_queue_that_now_grows_and_now_falls_keeps_its_order() {
        // Served are 200/s; in every other tenth of a second a fifth more come, in the one between a fifth less.
        let arrivals = |ms: u64| match ms {
            0 => 8,
            _ => u32::from(ms.is_multiple_of(if (ms / 100).is_multiple_of(2) { 4 } else { 6 })),
        };
        let modes = run(5, 20_000, arrivals);
        assert!(modes.iter().all(|(_, mode)| *mode == Mode::Calm), "{modes:?}");
        let modes = run(5, 900, |ms| u32::from(ms % 4 == 0) * 2);
        assert_eq!(modes.last().unwrap().1, Mode::Growing, "{modes:?}");
    }

    #[test]
    fn a_queue_that_is_very_long_and_does_not_fall_is_an_overload() {
        let modes = run(20, 60_000, |ms| if ms == 0 { 1_000 } else { u32::from(ms % 20 == 0) });
        let overload = modes.iter().find(|(_, mode)| *mode == Mode::Overload).unwrap().0;
        assert!((10_000..13_000).contains(&overload), "{modes:?}");
    }

    #[test]
    fn an_overload_is_known_after_the_patience_and_over_soon_after_its_end() {
        let modes = run(5, 10_000, |ms| if ms < 5_000 { 2 } else { 0 });
        let overload = modes.iter().find(|(_, mode)| *mode == Mode::Overload).unwrap().0;
        assert!((1_000..1_400).contains(&overload), "{modes:?}");
        let (end, last) = *modes.last().unwrap();
        assert!(last == Mode::Calm && (5_000..5_400).contains(&end), "{modes:?}");
    }

    #[test]
    fn slow_calls_are_watched_for_longer() {
        let modes = run(2_000, 60_000, |ms| u32::from(ms % 500 == 0));
        let overload = modes.iter().find(|(_, mode)| *mode == Mode::Overload).unwrap().0;
        assert!(overload > 8_000, "{modes:?}");
    }

    #[test]
    fn a_short_wait_is_nothing() {
        let modes = run(5, 5_000, |ms| u32::from(ms % 6 == 0));
        assert_eq!(modes, [(0, Mode::Calm)]);
    }
}
