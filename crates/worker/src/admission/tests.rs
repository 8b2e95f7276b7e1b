use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use futures::future::join_all;
use onrush_runtime::Permit;

use super::*;

fn function(name: &str) -> FunctionName {
    FunctionName::new("default".parse().unwrap(), name.parse().unwrap())
}

fn admission(slots: u32, permits: usize) -> Arc<Admission> {
    let share = 100;
    let config = Config {
        max_running: permits,
        function_share: share,
        namespace_share: share,
        slots,
        spare_slots: 0,
        ..Config::default()
    };
    Admission::new(&config, Arc::new(Metrics::new()))
}

fn visitor(lane: &Arc<Lane>) -> Visitor<'_> {
    let deadline = Instant::now() + Duration::from_secs(60);
    Visitor { lane, cap: 100, bytes: 3, has_body: true, deadline, attempt: 1 }
}

fn computes(permit: &mut CallPermit) -> bool {
    match permit.poll_compute(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome.map(|()| true).unwrap(),
        Poll::Pending => false,
    }
}

async fn turn(permit: &mut CallPermit) -> Result<(), InvokeError> {
    poll_fn(|cx| permit.poll_compute(cx)).await
}

fn assert_empty(admission: &Admission) {
    let seen = admission.counts.see();
    assert_eq!((seen.computing(), seen.inside(), seen.queued(), seen.resuming()), (0, 0, 0, 0));
    let queue = admission.lock();
    assert_eq!((admission.held.load(Ordering::SeqCst), queue.bytes(), queue.backlog()), (0, 0, 0));
}

#[tokio::test]
async fn a_slot_that_is_given_back_goes_to_who_waits() {
    let admission = admission(1, 8);
    let lane = admission.lane(&function("f"));
    let mut first = admission.enter(&visitor(&lane)).unwrap();
    assert!(first.turn().is_none() && computes(&mut first));
    let mut second = admission.enter(&visitor(&lane)).unwrap();
    assert!(second.turn().is_some() && !computes(&mut second));
    assert_eq!((admission.load().in_flight, admission.load().queued, admission.load().busy), (2, 1, 2));
    first.pause();
    assert!(computes(&mut second), "while the first one waits for something");
    assert_eq!((admission.load().in_flight, admission.load().queued, admission.load().busy), (2, 0, 1));
    assert!(!computes(&mut first), "its turn comes again when the second gives way");
    second.pause();
    assert!(computes(&mut first));
    drop((first, second));
    assert_empty(&admission);
}

#[tokio::test]
async fn who_gives_up_waiting_is_counted_no_longer() {
    let admission = admission(1, 8);
    let lane = admission.lane(&function("f"));
    let mut running = admission.enter(&visitor(&lane)).unwrap();
    let gone = admission.enter(&visitor(&lane)).unwrap();
    let next = admission.enter(&visitor(&lane)).unwrap();
    drop(gone);
    assert_eq!((admission.load().in_flight, admission.load().queued, admission.lock().bytes()), (2, 1, 3));
    running.pause();
    let never_looked = next.turn().unwrap();
    assert!(never_looked.has_started());
    // Whoever resumes waits behind; the other one's turn came, and it goes without having looked.
    assert!(!computes(&mut running));
    drop(next);
    assert!(computes(&mut running));
    drop(running);
    assert_empty(&admission);
}

#[tokio::test]
async fn a_held_call_is_counted_and_enters_even_when_the_house_is_draining() {
    let admission = admission(1, 8);
    let lane = admission.lane(&function("f"));
    let held = admission.hold(7).unwrap();
    let given_up = admission.hold(7).unwrap();
    assert_eq!((admission.load().in_flight, admission.load().queued, admission.lock().bytes()), (2, 2, 14));
    drop(given_up);
    admission.set_draining(true);
    let permit = held.enter(&visitor(&lane)).unwrap();
    let refused = admission.enter(&visitor(&lane)).err().unwrap();
    assert_eq!(refused.code, Code::Unavailable);
    assert!(refused.may_move(false) && refused.retry_after.is_some());
    assert_eq!(refused.load.unwrap().in_flight, 1);
    drop(permit);
    assert_empty(&admission);
}

#[tokio::test]
async fn idle_waits_for_the_last_call() {
    let admission = admission(1, 8);
    let lane = admission.lane(&function("f"));
    admission.idle().await;
    let permit = admission.enter(&visitor(&lane)).unwrap();
    let waiting = admission.enter(&visitor(&lane)).unwrap();
    let idle = admission.idle();
    tokio::pin!(idle);
    drop(permit);
    assert!(futures::poll!(&mut idle).is_pending());
    drop(waiting);
    idle.await;
    let held = admission.hold(1).unwrap();
    let idle = admission.idle();
    tokio::pin!(idle);
    assert!(futures::poll!(&mut idle).is_pending());
    drop(held);
    idle.await;
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_expected_from_what_calls_compute() {
    let admission = admission(1, 8);
    let lane = admission.lane(&function("f"));
    let mut first = admission.enter(&visitor(&lane)).unwrap();
    tokio::time::advance(Duration::from_millis(400)).await;
    first.pause();
    tokio::time::advance(Duration::from_secs(9)).await;
    drop(first);
    assert_eq!(lane.service.get(), Duration::from_millis(400), "waiting is not computing");
    let _running = admission.enter(&visitor(&lane)).unwrap();
    assert_eq!(admission.load().expected_wait, Duration::from_millis(400));
    let hasty = Visitor { deadline: Instant::now() + Duration::from_millis(300), ..visitor(&lane) };
    let refused = admission.enter(&hasty).err().unwrap();
    assert_eq!(refused.code, Code::Overloaded);
    let again = refused.retry_after.unwrap();
    assert!((Duration::from_secs(1)..=Duration::from_secs(3)).contains(&again), "{again:?}");
}

#[tokio::test]
async fn while_memory_is_short_bodies_are_refused_and_nothing_else() {
    let admission = admission(1, 8);
    let lane = admission.lane(&function("f"));
    admission.set_pressed(true);
    let refused = admission.enter(&visitor(&lane)).err().unwrap();
    assert_eq!((refused.code, refused.may_move(false)), (Code::Overloaded, true));
    assert!(refused.retry_after.is_some());
    admission.enter(&Visitor { has_body: false, ..visitor(&lane) }).unwrap();
    admission.set_pressed(false);
    admission.enter(&visitor(&lane)).unwrap();
}

#[tokio::test]
async fn a_node_without_a_share_says_so() {
    let admission = admission(1, 8);
    let lane = admission.lane(&function("f"));
    let refused = admission.enter(&Visitor { cap: 0, ..visitor(&lane) }).err().unwrap();
    assert_eq!((refused.code, refused.may_move(false)), (Code::Overloaded, true));
    assert_empty(&admission);
}

/// What one call does before it goes, in an order that its number decides.
async fn live(admission: Arc<Admission>, number: u32) -> Result<(), InvokeError> {
    let lane = admission.lane(&function(&format!("f-{}", number % 7)));
    let visitor = Visitor { cap: 3, ..visitor(&lane) };
    let mut permit = if number.is_multiple_of(3) {
        let held = admission.hold(3)?;
        tokio::task::yield_now().await;
        if number.is_multiple_of(9) {
            return Ok(());
        }
        held.enter(&visitor)?
    } else {
        admission.enter(&visitor)?
    };
    for _ in 0..number % 4 {
        if number.is_multiple_of(5) {
            // Gone after having been polled a few times: before, while or after its turn comes.
            for _ in 0..number % 6 {
                if futures::poll!(poll_fn(|cx| permit.poll_compute(cx))).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            return Ok(());
        }
        turn(&mut permit).await?;
        tokio::task::yield_now().await;
        permit.pause();
        if number.is_multiple_of(2) {
            tokio::task::yield_now().await;
        }
    }
    turn(&mut permit).await
}

/// P8 under real threads: calls are cancelled at every point, nobody waits for ever, and in the end nothing is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_callers_do_nothing_stays_counted_and_nobody_is_forgotten() {
    for (slots, permits) in [(1, 1), (2, 8), (3, 4)] {
        let admission = admission(slots, permits);
        let tasks = (0..4_000_u32).map(|number| tokio::spawn(live(Arc::clone(&admission), number)));
        let done =
            tokio::time::timeout(Duration::from_secs(60), join_all(tasks)).await.expect("somebody waits for ever");
        let served = done.into_iter().filter(|outcome| outcome.as_ref().unwrap().is_ok()).count();
        assert!(served > 1_000, "{served}");
        tokio::time::timeout(Duration::from_secs(10), admission.idle()).await.expect("a count that never returns");
        assert_empty(&admission);
        assert_eq!(admission.lane(&function("f-1")).inside.get(), 0);
    }
}

/// The way without waiting is free: no lock is taken while somebody else holds it.
#[tokio::test]
async fn a_call_that_finds_room_takes_no_lock() {
    let admission = admission(2, 8);
    let lane = admission.lane(&function("f"));
    let locked = admission.lock();
    let mut permit = admission.enter(&visitor(&lane)).unwrap();
    assert!(computes(&mut permit));
    permit.pause();
    assert!(computes(&mut permit));
    assert_eq!(admission.load().in_flight, 1);
    drop(permit);
    drop(locked);
    assert_empty(&admission);
}
