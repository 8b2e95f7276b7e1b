use onrush_types::FunctionName;
use proptest::prelude::*;

use super::*;
use crate::lane::Lanes;

const MS: Duration = Duration::from_millis(1);

/// A door without threads: whoever finds room is inside at once, the others wait here.
struct House {
    queue: Queue<u32>,
    counts: Counts,
    lanes: Lanes,
    now: Instant,
    /// When the calls of a flood came.
    came: Vec<Instant>,
}

const BOUNDS: Bounds = Bounds {
    room: Room { slots: 1, permits: 8 },
    spare: 0,
    tenant_most: 7,
    calls: 20,
    bytes: 1_000,
    function_percent: 75,
    tenant_percent: 90,
    rules: Rules {
        target: Duration::from_millis(5),
        interval: Duration::from_millis(100),
        patience: Duration::from_secs(1),
        longest: Duration::from_secs(10),
    },
    overload_wait: Duration::from_millis(20),
};

impl House {
    fn new(bounds: Bounds) -> Self {
        let (queue, counts, lanes) = (Queue::new(bounds), Counts::default(), Lanes::default());
        Self { queue, counts, lanes, now: Instant::now(), came: Vec::new() }
    }

    /// A function, whose calls take so long.
    fn lane(&mut self, namespace: &str, name: &str, service: Duration) -> Arc<Lane> {
        let function = FunctionName::new(namespace.parse().unwrap(), name.parse().unwrap());
        let lane = self.lanes.of(&function);
        for mean in [&lane.service, &lane.slice, &lane.stay] {
            mean.add(service);
        }
        lane
    }

    fn ask<'a>(&self, lane: &'a Arc<Lane>) -> Ask<'a> {
        let deadline = self.now + Duration::from_secs(60);
        Ask { lane, bytes: 0, deadline, second_try: false, was_held: false }
    }

    fn enter(&mut self, lane: &Arc<Lane>, waker: u32) -> Result<u64, Refusal> {
        self.enter_as(&self.ask(lane), waker)
    }

    fn enter_as(&mut self, ask: &Ask<'_>, waker: u32) -> Result<u64, Refusal> {
        self.queue.enter(ask, &self.counts, self.now, waker)
    }

    fn next(&mut self) -> Option<u32> {
        self.queue.next(&self.counts, self.now).map(|started| started.waker)
    }

    fn spare(&mut self, lane: &Lane) -> Option<u32> {
        self.queue.next_spare(&lane.tenant, &self.counts, self.now).map(|started| started.waker)
    }

    /// A call that computes is over, after having computed for what it was charged and so much more.
    fn leave(&mut self, lane: &Lane, more: Duration) {
        lane.give_back(true);
        self.counts.leave(true);
        self.queue.charge(lane, i64::try_from(more.as_nanos()).unwrap());
        self.queue.refresh(lane.id);
    }

    fn pause(&mut self, lane: &Lane) {
        lane.tenant.pause();
        self.counts.pause();
    }

    fn assert_empty(&self) {
        assert_eq!(self.counts.see(), Counts::default().see());
        let queue = &self.queue;
        assert_eq!((queue.calls, queue.held, queue.bytes, queue.backlog), (0, 0, 0, 0));
        assert!(queue.tenancies.is_empty() && queue.tenants.is_idle());
    }
}

#[test]
fn namespaces_take_turns_before_functions_do_and_a_functions_calls_keep_their_order() {
    let mut house = House::new(BOUNDS);
    let [a1, a2, a3] = ["f", "g", "h"].map(|name| house.lane("a", name, MS));
    let b = house.lane("b", "f", MS);
    for (lane, number) in [(&a1, 10), (&a1, 11), (&a2, 20), (&a3, 30), (&b, 40), (&b, 41), (&b, 42)] {
        house.enter(lane, number).unwrap();
    }
    let mut order = Vec::new();
    while let Some(number) = house.next() {
        assert!(house.next().is_none(), "one slot, one call");
        order.push(number);
        let lane = [&a1, &a2, &a3, &b][number as usize / 10 - 1].clone();
        house.leave(&lane, Duration::ZERO);
    }
    let of_b: Vec<_> = (0..order.len()).filter(|at| order[*at] >= 40).collect();
    assert_eq!(order.len(), 7);
    assert!(of_b[0] <= 1 && of_b[1] <= 3 && of_b[2] <= 5, "every other call is of b, which is one of two: {order:?}");
    let first_three: Vec<_> = order.iter().filter(|number| **number < 40).take(3).map(|number| number / 10).collect();
    assert!([1, 2, 3].iter().all(|function| first_three.contains(function)), "{order:?}");
    assert!(order.iter().position(|number| *number == 10) < order.iter().position(|number| *number == 11));
    house.assert_empty();
}

#[test]
fn the_share_is_of_computing_and_not_of_calls() {
    let mut house = House::new(Bounds { calls: 10_000, ..BOUNDS });
    let (heavy, light) = (house.lane("heavy", "f", 10 * MS), house.lane("light", "f", MS));
    for number in 0..1_000 {
        house.enter(&heavy, number).unwrap();
        house.enter(&light, 10_000 + number).unwrap();
    }
    let (mut heavies, mut lights) = (0, 0);
    for _ in 0..550 {
        if house.next().unwrap() < 10_000 {
            heavies += 1;
            house.leave(&heavy, Duration::ZERO);
        } else {
            lights += 1;
            house.leave(&light, Duration::ZERO);
        }
    }
    assert!((45..=55).contains(&heavies) && lights >= 495, "{heavies} of 10 ms, {lights} of 1 ms");
}

#[test]
fn who_computes_longer_than_its_calls_usually_do_pays_afterwards() {
    let mut house = House::new(BOUNDS);
    let (liar, honest) = (house.lane("liar", "f", MS), house.lane("honest", "f", MS));
    for number in 0..8 {
        house.enter(&liar, number).unwrap();
        house.enter(&honest, 100 + number).unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..8 {
        let number = house.next().unwrap();
        order.push(number);
        if number < 100 { house.leave(&liar, 5 * MS) } else { house.leave(&honest, Duration::ZERO) }
    }
    assert_eq!(order.iter().filter(|number| **number < 100).count(), 2, "six for one: {order:?}");
}

#[test]
fn a_call_in_the_house_goes_on_before_new_ones_of_its_function_and_in_turn_with_others() {
    let mut house = House::new(BOUNDS);
    let (f, g) = (house.lane("a", "f", MS), house.lane("b", "g", MS));
    house.enter(&f, 1).unwrap();
    assert_eq!(house.next(), Some(1));
    house.pause(&f);
    for number in [2, 3] {
        house.enter(&f, number).unwrap();
        house.enter(&g, 10 + number).unwrap();
    }
    house.queue.resume(&f, &house.counts, house.now, 100);
    let mut order = Vec::new();
    for _ in 0..4 {
        let number = house.next().unwrap();
        order.push(number);
        if number == 100 || number == 1 {
            house.leave(&f, Duration::ZERO);
        } else {
            house.leave(if number > 10 { &g } else { &f }, Duration::ZERO);
        }
    }
    let of_f: Vec<_> = order.iter().filter(|number| **number < 10 || **number == 100).copied().collect();
    assert_eq!(of_f, [100, 2], "{order:?}");
    assert_eq!(order.iter().filter(|number| (10..100).contains(*number)).count(), 2, "{order:?}");
}

#[test]
fn with_no_permit_left_only_those_in_the_house_go_on() {
    let mut house = House::new(Bounds { room: Room { slots: 1, permits: 1 }, tenant_most: 1, ..BOUNDS });
    let (f, g) = (house.lane("a", "f", MS), house.lane("b", "g", MS));
    house.enter(&f, 1).unwrap();
    assert_eq!(house.next(), Some(1));
    house.pause(&f);
    house.enter(&g, 2).unwrap();
    assert_eq!(house.next(), None, "a free slot is not enough");
    house.queue.resume(&f, &house.counts, house.now, 3);
    assert_eq!(house.next(), Some(3));
    house.leave(&f, Duration::ZERO);
    assert_eq!(house.next(), Some(2));
    house.leave(&g, Duration::ZERO);
    house.assert_empty();
}

#[test]
fn no_namespace_holds_all_permits_and_a_functions_cap_holds_back_nobody_else() {
    let mut house = House::new(Bounds { room: Room { slots: 100, permits: 4 }, tenant_most: 3, ..BOUNDS });
    let (a, other, b) = (house.lane("a", "f", MS), house.lane("a", "g", MS), house.lane("b", "f", MS));
    a.set_cap(2);
    for number in 0..3 {
        house.enter(&a, number).unwrap();
        house.enter(&other, 10 + number).unwrap();
    }
    let started: Vec<_> = std::iter::from_fn(|| house.next()).collect();
    assert_eq!(started.len(), 3, "three of four: {started:?}");
    assert!(started.iter().filter(|number| **number < 10).count() <= 2);
    house.enter(&b, 20).unwrap();
    assert_eq!(house.next(), Some(20));
    house.leave(&b, Duration::ZERO);
    assert_eq!(house.next(), None);
    house.leave(&a, Duration::ZERO);
    assert!(house.next().is_some());
}

#[test]
fn a_namespace_of_which_nothing_computes_may_have_a_spare_slot() {
    let mut house = House::new(Bounds { spare: 1, ..BOUNDS });
    let (loud, quiet, third) = (house.lane("a", "f", MS), house.lane("b", "f", MS), house.lane("c", "f", MS));
    for number in 0..5 {
        house.enter(&loud, number).unwrap();
    }
    assert_eq!(house.next(), Some(0));
    assert_eq!(house.spare(&loud), None, "it computes already");
    for number in [10, 11] {
        house.enter(&quiet, number).unwrap();
    }
    assert_eq!((house.next(), house.spare(&quiet)), (None, Some(10)));
    assert_eq!(house.spare(&quiet), None, "one at a time");
    house.enter(&third, 20).unwrap();
    assert_eq!(house.spare(&third), None, "there is one of them");
    house.leave(&quiet, Duration::ZERO);
    assert_eq!((house.next(), house.spare(&third)), (None, Some(20)));
    house.leave(&loud, Duration::ZERO);
    assert_eq!(house.next(), None, "the spare slot is not to be kept for ever: the usual ones come first");
    house.leave(&third, Duration::ZERO);
    assert!(house.next().is_some());
}

#[test]
fn a_call_that_cannot_be_in_time_is_refused_at_once() {
    let mut house = House::new(BOUNDS);
    let lane = house.lane("a", "f", 100 * MS);
    let soon = |house: &House, lane| Ask { deadline: house.now + 250 * MS, ..house.ask(lane) };
    for number in 0..3 {
        house.enter_as(&soon(&house, &lane), number).unwrap();
        if number == 0 {
            assert_eq!(house.next(), Some(0));
        }
    }
    assert_eq!(house.enter_as(&soon(&house, &lane), 9), Err(Refusal::TooLate(300 * MS)));
    let again = Ask { second_try: true, ..soon(&house, &lane) };
    house.enter_as(&again, 9).expect("refused elsewhere: let in here");
    let over = Ask { deadline: house.now, ..again };
    assert!(matches!(house.enter_as(&over, 9), Err(Refusal::TooLate(_))));
}

#[test]
fn the_queue_is_bounded_by_calls_and_bytes_and_second_tries_find_the_last_room() {
    let mut house = House::new(Bounds { function_percent: 100, tenant_percent: 100, bytes: 250, ..BOUNDS });
    let lane = house.lane("a", "f", MS);
    for number in 0..18 {
        house.enter(&lane, number).unwrap();
    }
    assert_eq!(house.enter(&lane, 99), Err(Refusal::Calls));
    let second = Ask { second_try: true, ..house.ask(&lane) };
    house.enter_as(&Ask { bytes: 200, ..second }, 99).unwrap();
    assert_eq!(house.enter_as(&Ask { bytes: 60, ..second }, 99), Err(Refusal::Bytes));
    assert_eq!(house.queue.hold(60), Err(Refusal::Bytes));
    house.enter_as(&second, 99).unwrap();
    assert_eq!(house.enter_as(&second, 99), Err(Refusal::Calls));
    assert_eq!(house.queue.hold(0), Err(Refusal::Calls));
}

#[test]
fn one_function_or_namespace_does_not_fill_the_queue() {
    let mut house = House::new(BOUNDS);
    let (f, g, other) = (house.lane("a", "f", MS), house.lane("a", "g", MS), house.lane("b", "f", MS));
    assert_eq!((0..20).filter(|number| house.enter(&f, *number).is_ok()).count(), 15);
    assert_eq!((0..20).filter(|number| house.enter(&g, *number).is_ok()).count(), 3);
    let one = house.enter(&other, 77).unwrap();
    assert!(house.queue.cancel(&other, one, &house.counts));
}

#[test]
fn in_a_full_queue_a_quiet_namespace_takes_a_place_of_the_loudest() {
    let mut house = House::new(Bounds { tenant_percent: 100, function_percent: 100, ..BOUNDS });
    let (loud, quiet) = (house.lane("loud", "f", MS), house.lane("quiet", "f", MS));
    for number in 0..18 {
        house.enter(&loud, number).unwrap();
    }
    assert_eq!(house.enter(&loud, 99), Err(Refusal::Calls));
    house.enter(&quiet, 100).unwrap();
    assert_eq!(house.queue.take_dropped(), [(0, Dropped::Displaced)]);
    assert_eq!((house.queue.calls, house.counts.see().queued()), (18, 18));
}

/// Serves one call each `service` and lets `each_ms` calls come in each millisecond; the waits of those that were
/// started, those that were dropped, and those that were refused.
fn flood(
    house: &mut House,
    lane: &Arc<Lane>,
    length: u64,
    each_ms: impl Fn(u64) -> usize,
) -> (Vec<Duration>, usize, usize) {
    let (mut waits, mut dropped, mut refused, mut busy_until) = (Vec::new(), 0, 0, 0);
    let begin = house.now;
    for ms in 0..length {
        house.now = begin + Duration::from_millis(ms);
        for _ in 0..each_ms(ms) {
            house.came.push(house.now);
            let waker = u32::try_from(house.came.len() - 1).unwrap();
            refused += usize::from(house.enter(lane, waker).is_err());
        }
        if ms >= busy_until {
            if house.counts.see().computing() > 0 {
                house.leave(lane, Duration::ZERO);
            }
            if let Some(number) = house.next() {
                waits.push(house.now - house.came[number as usize]);
                busy_until = ms + u64::try_from(lane.service.get().as_millis()).unwrap();
            }
        }
        dropped += house.queue.take_dropped().len();
    }
    (waits, dropped, refused)
}

#[test]
fn of_an_overload_a_short_queue_is_kept_and_the_machine_stays_busy() {
    let mut house = House::new(Bounds { calls: 10_000, ..BOUNDS });
    let lane = house.lane("a", "f", 5 * MS);
    let (mut waits, dropped, refused) = flood(&mut house, &lane, 20_000, |_| 2);
    assert!(waits.len() >= 3_990, "goodput {} of 4,000", waits.len());
    assert_eq!(house.queue.overloads(), 1);
    assert!(dropped > 1_000 && refused > 30_000, "{dropped} dropped, {refused} refused");
    assert!(house.queue.calls <= 10);
    waits.sort_unstable();
    assert!(waits[waits.len() * 99 / 100] <= 40 * MS, "{:?}", waits[waits.len() * 99 / 100]);
    // And over soon after its end.
    let (waits, ..) = flood(&mut house, &lane, 1_000, |ms| usize::from(ms > 500 && ms % 10 == 0));
    assert!(waits[waits.len() - 10..].iter().all(|wait| *wait <= MS));
    house.now += Duration::from_secs(1);
    house.queue.sweep(house.now);
    assert_eq!(house.queue.overloads(), 0);
}

#[test]
fn a_burst_is_served_to_its_last_call_in_order_once_it_is_over() {
    let mut house = House::new(Bounds { calls: 10_000, ..BOUNDS });
    let lane = house.lane("a", "f", 5 * MS);
    let (waits, dropped, refused) = flood(&mut house, &lane, 20_000, |ms| if ms < 400 { 3 } else { 0 });
    assert_eq!((waits.len(), dropped, refused), (1_200, 0, 0));
    assert!(waits[60] < 20 * MS, "newest first while it grows: {:?}", waits[60]);
    assert!(waits.windows(2).skip(150).all(|pair| pair[0] <= pair[1] + 5 * MS || pair[0] > Duration::from_secs(4)));
}

#[test]
fn a_call_whose_time_is_up_gives_its_turn_away() {
    let mut house = House::new(BOUNDS);
    let lane = house.lane("a", "f", MS);
    let short = Ask { deadline: house.now + Duration::from_secs(1), ..house.ask(&lane) };
    house.enter_as(&short, 1).unwrap();
    house.enter(&lane, 2).unwrap();
    house.now += Duration::from_secs(2);
    assert_eq!(house.next(), Some(2));
    assert_eq!(house.queue.take_dropped(), [(1, Dropped::Late)]);
    house.leave(&lane, Duration::ZERO);
    house.queue.sweep(house.now);
    house.assert_empty();
}

proptest! {
    /// Whatever happens in whatever order, the books agree with what really runs and waits, bounds hold, nobody waits
    /// while there is room for it, and in the end nothing is left.
    #[test]
    fn the_books_agree_with_the_house(steps in prop::collection::vec((0_u8..7, 0_usize..4, 1_usize..4), 1..200)) {
        let mut house = House::new(Bounds { room: Room { slots: 2, permits: 5 }, tenant_most: 4, ..BOUNDS });
        let lanes = [("x", "a"), ("x", "b"), ("y", "a"), ("z", "a")].map(|(space, name)| house.lane(space, name, MS));
        // Who computes, who is paused, who waits: function and number.
        let (mut computing, mut paused) = (Vec::<usize>::new(), Vec::<usize>::new());
        let mut waiting = HashMap::<u32, (usize, u64, bool)>::new();
        for (index, (step, who, cap)) in steps.into_iter().enumerate() {
            let waker = u32::try_from(index).unwrap();
            match step {
                0..=2 => {
                    lanes[who].set_cap(cap);
                    if let Ok(number) = house.enter(&lanes[who], waker) {
                        waiting.insert(waker, (who, number, false));
                    }
                }
                3 if !waiting.is_empty() => {
                    let waker = *waiting.keys().min().unwrap();
                    let (who, number, inside) = waiting.remove(&waker).unwrap();
                    prop_assert!(house.queue.cancel(&lanes[who], number, &house.counts));
                    prop_assert!(!house.queue.cancel(&lanes[who], number, &house.counts), "gone once");
                    if inside {
                        lanes[who].give_back(false);
                        house.counts.leave(false);
                        house.queue.refresh(lanes[who].id);
                    }
                }
                4 if !computing.is_empty() => {
                    let who = computing.swap_remove(who % computing.len());
                    house.leave(&lanes[who], Duration::ZERO);
                }
                5 if !computing.is_empty() => {
                    let who = computing.swap_remove(who % computing.len());
                    house.pause(&lanes[who]);
                    paused.push(who);
                }
                6 if !paused.is_empty() => {
                    let who = paused.swap_remove(who % paused.len());
                    let number = house.queue.resume(&lanes[who], &house.counts, house.now, waker);
                    waiting.insert(waker, (who, number, true));
                }
                _ => {}
            }
            for (waker, why) in house.queue.take_dropped() {
                prop_assert_eq!(why, Dropped::Displaced);
                prop_assert!(waiting.remove(&waker).is_some_and(|(_, _, inside)| !inside));
            }
            while let Some(waker) = house.next() {
                computing.push(waiting.remove(&waker).unwrap().0);
            }
            let seen = house.counts.see();
            let resuming = waiting.values().filter(|(_, _, inside)| *inside).count();
            prop_assert_eq!((seen.computing(), seen.resuming()), (computing.len(), resuming));
            prop_assert_eq!(seen.inside(), computing.len() + paused.len() + resuming);
            prop_assert_eq!((seen.queued(), house.queue.calls), (waiting.len() - resuming, waiting.len() - resuming));
            prop_assert!(seen.computing() <= 2 && seen.inside() <= 5);
            let has_room = |lane: &Lane| lane.inside.get() < lane.cap() && lane.tenant.inside() < 4;
            let stuck = waiting.values().any(|(who, _, inside)| *inside || seen.inside() < 5 && has_room(&lanes[*who]));
            prop_assert!(seen.computing() == 2 || !stuck, "a slot is free and somebody who could have it waits");
        }
        for (_, (who, number, inside)) in waiting {
            house.queue.cancel(&lanes[who], number, &house.counts);
            if inside {
                lanes[who].give_back(false);
                house.counts.leave(false);
            }
        }
        computing.iter().for_each(|who| house.leave(&lanes[*who], Duration::ZERO));
        for who in paused {
            lanes[who].give_back(false);
            house.counts.leave(false);
        }
        house.queue.sweep(house.now);
        house.assert_empty();
    }
}
