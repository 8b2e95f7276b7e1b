use proptest::prelude::*;

use super::*;

fn function(name: &str) -> FunctionName {
    FunctionName::new("default".parse().unwrap(), name.parse().unwrap())
}

fn queue(running: usize) -> Queue<u32> {
    Queue::new(Bounds { running, calls: 20, bytes: 1_000, function_percent: 50 })
}

fn ask(function: &FunctionName, now: Instant) -> Ask<'_> {
    let deadline = now + Duration::from_secs(10);
    Ask { function, cap: 100, bytes: 10, deadline, second_try: false, service: Duration::from_millis(100) }
}

#[test]
fn no_function_holds_the_whole_node() {
    let now = Instant::now();
    let (mut queue, hog, other) = (queue(4), function("hog"), function("other"));
    assert_eq!(queue.enter(&ask(&hog, now), now, false, || 0), Verdict::Run);
    assert_eq!(queue.enter(&ask(&hog, now), now, false, || 0), Verdict::Run);
    assert_eq!(queue.enter(&ask(&hog, now), now, false, || 0), Verdict::Wait(0));
    assert_eq!(queue.enter(&ask(&other, now), now, false, || 0), Verdict::Run);
}

#[test]
fn functions_take_turns_and_a_functions_calls_keep_their_order() {
    let now = Instant::now();
    let mut queue = queue(1);
    let (first, second) = (function("a"), function("b"));
    assert_eq!(queue.enter(&ask(&first, now), now, false, || 0), Verdict::Run);
    for (name, number) in [(&first, 1), (&first, 2), (&first, 3), (&second, 11), (&second, 12)] {
        assert!(matches!(queue.enter(&ask(name, now), now, false, || number), Verdict::Wait(_)));
    }
    let mut order = Vec::new();
    let mut running = first.clone();
    for _ in 0..5 {
        queue.leave(&running);
        let (next, number) = queue.next(now).unwrap();
        order.push(number);
        running = next;
        assert!(queue.next(now).is_none(), "one permit, one call");
    }
    assert_eq!(order, [11, 1, 12, 2, 3], "the first function runs already, so the other one begins");
    queue.leave(&running);
    assert_eq!((queue.in_flight(), queue.bytes(), queue.lanes.len()), (0, 0, 0));
}

#[test]
fn a_functions_own_cap_holds_its_calls_back_and_nobody_elses() {
    let now = Instant::now();
    let mut queue = queue(10);
    let (capped, free) = (function("capped"), function("free"));
    let one = Ask { cap: 1, ..ask(&capped, now) };
    assert_eq!(queue.enter(&one, now, false, || 1), Verdict::Run);
    assert_eq!(queue.enter(&one, now, false, || 2), Verdict::Wait(0));
    assert!(queue.next(now).is_none());
    assert_eq!(queue.enter(&ask(&free, now), now, false, || 3), Verdict::Run);
    assert_eq!(queue.enter(&Ask { cap: 0, ..one }, now, false, || 4), Verdict::Refuse(Refusal::NoShare));
    queue.leave(&capped);
    assert_eq!(queue.next(now), Some((capped, 2)));
}

#[test]
fn a_call_that_cannot_be_in_time_is_refused_at_once() {
    let now = Instant::now();
    let mut queue = queue(1);
    let name = function("a");
    let soon = Ask { deadline: now + Duration::from_millis(250), ..ask(&name, now) };
    assert_eq!(queue.enter(&soon, now, false, || 0), Verdict::Run);
    assert_eq!(queue.enter(&soon, now, false, || 0), Verdict::Wait(0), "100 ms of 250");
    assert_eq!(queue.enter(&soon, now, false, || 0), Verdict::Wait(1), "200 ms of 250");
    let refused = Verdict::Refuse(Refusal::TooLate(Duration::from_millis(300)));
    assert_eq!(queue.enter(&soon, now, false, || 0), refused);
    let again = Ask { second_try: true, ..soon };
    assert!(matches!(queue.enter(&again, now, false, || 0), Verdict::Wait(_)), "refused elsewhere: let in here");
    assert_eq!(queue.queued(), 3);
}

#[test]
fn the_queue_is_bounded_by_calls_and_bytes_and_second_tries_find_the_last_room() {
    let now = Instant::now();
    let mut bounded: Queue<u32> = Queue::new(Bounds { running: 1, calls: 20, bytes: 250, function_percent: 100 });
    let name = function("a");
    let free = Ask { service: Duration::ZERO, ..ask(&name, now) };
    assert_eq!(bounded.enter(&free, now, false, || 0), Verdict::Run);
    for _ in 0..18 {
        assert!(matches!(bounded.enter(&free, now, false, || 0), Verdict::Wait(_)));
    }
    assert_eq!(bounded.enter(&free, now, false, || 0), Verdict::Refuse(Refusal::Calls));
    let second = Ask { second_try: true, ..free };
    assert!(matches!(bounded.enter(&second, now, false, || 0), Verdict::Wait(_)));
    let heavy = Ask { bytes: 100, ..second };
    assert_eq!(bounded.enter(&heavy, now, false, || 0), Verdict::Refuse(Refusal::Bytes));
    assert_eq!(bounded.hold(100), Err(Refusal::Bytes));
    assert!(matches!(bounded.enter(&second, now, false, || 0), Verdict::Wait(_)));
    assert_eq!(bounded.enter(&second, now, false, || 0), Verdict::Refuse(Refusal::Calls));
    assert_eq!(bounded.hold(0), Err(Refusal::Calls));
}

#[test]
fn draining_refuses_the_new_and_lets_the_held_in() {
    let now = Instant::now();
    let mut queue = queue(1);
    let name = function("a");
    assert_eq!(queue.hold(10), Ok(()));
    queue.draining = true;
    assert_eq!(queue.hold(10), Err(Refusal::Draining));
    assert_eq!(queue.enter(&ask(&name, now), now, false, || 0), Verdict::Refuse(Refusal::Draining));
    queue.unhold(10);
    assert_eq!(queue.enter(&ask(&name, now), now, true, || 0), Verdict::Run);
}

#[test]
fn a_call_whose_time_is_up_gives_its_turn_away() {
    let now = Instant::now();
    let mut queue = queue(1);
    let (late, patient) = (function("late"), function("patient"));
    assert_eq!(queue.enter(&ask(&patient, now), now, false, || 0), Verdict::Run);
    let short = Ask { deadline: now + Duration::from_secs(1), ..ask(&late, now) };
    assert!(matches!(queue.enter(&short, now, false, || 1), Verdict::Wait(_)));
    assert!(matches!(queue.enter(&ask(&patient, now), now, false, || 2), Verdict::Wait(_)));
    queue.leave(&patient);
    assert_eq!(queue.next(now + Duration::from_secs(2)), Some((patient, 2)));
    assert_eq!(queue.queued(), 0);
}

proptest! {
    /// Whatever happens in whatever order, the books agree with what really runs and waits, bounds hold, and in the
    /// end nothing is left.
    #[test]
    fn the_books_agree_with_the_house(steps in prop::collection::vec((0_u8..5, 0_usize..4, 1_usize..4), 1..200)) {
        let now = Instant::now();
        let mut queue = queue(5);
        let names: Vec<_> = ["a", "b", "c", "d"].map(function).into();
        let mut running: Vec<FunctionName> = Vec::new();
        let mut waiting: Vec<(FunctionName, u64)> = Vec::new();
        for (index, (step, who, cap)) in steps.into_iter().enumerate() {
            let number = u32::try_from(index).unwrap();
            match step {
                0 | 1 => match queue.enter(&Ask { cap, ..ask(&names[who], now) }, now, false, || number) {
                    Verdict::Run => running.push(names[who].clone()),
                    Verdict::Wait(id) => waiting.push((names[who].clone(), id)),
                    Verdict::Refuse(_) => {}
                },
                2 if !waiting.is_empty() => {
                    let (name, id) = waiting.swap_remove(who % waiting.len());
                    prop_assert!(queue.cancel(&name, id));
                    prop_assert!(!queue.cancel(&name, id), "gone once");
                }
                3 | 4 if !running.is_empty() => {
                    let name = running.swap_remove(who % running.len());
                    queue.leave(&name);
                }
                _ => {}
            }
            while let Some((name, _)) = queue.next(now) {
                let oldest = waiting.iter().filter(|(other, _)| *other == name).map(|(_, id)| *id).min().unwrap();
                waiting.retain(|(_, id)| *id != oldest);
                running.push(name);
            }
            prop_assert_eq!((queue.running(), queue.queued()), (running.len(), waiting.len()));
            prop_assert_eq!(queue.bytes(), waiting.len() * 10);
            prop_assert!(queue.running() <= 5);
            for name in &names {
                prop_assert!(running.iter().filter(|other| *other == name).count() <= 3);
            }
        }
        while let Some(name) = running.pop() {
            queue.leave(&name);
            while let Some((name, _)) = queue.next(now) {
                running.push(name);
            }
        }
        prop_assert_eq!((queue.in_flight(), queue.bytes(), queue.lanes.len(), queue.turns.len()), (0, 0, 0, 0));
    }
}
