use futures::future::join_all;

use super::*;

fn function(name: &str) -> FunctionName {
    FunctionName::new("default".parse().unwrap(), name.parse().unwrap())
}

fn admission(running: usize) -> Arc<Admission> {
    let config = Config { max_running: running, function_share: 100, slots: 2, ..Config::default() };
    Admission::new(&config, Arc::new(Metrics::new()))
}

fn visitor<'a>(function: &'a FunctionName, service: &'a Arc<Service>) -> Visitor<'a> {
    let deadline = Instant::now() + Duration::from_secs(60);
    Visitor { function, cap: 100, bytes: 3, deadline, attempt: 1, service }
}

fn permit(entrance: Entrance) -> Permit {
    match entrance {
        Entrance::Run(permit) => permit,
        Entrance::Wait(_) => panic!("it has to wait"),
    }
}

fn place(entrance: Entrance) -> Place {
    match entrance {
        Entrance::Wait(place) => place,
        Entrance::Run(_) => panic!("it runs"),
    }
}

fn assert_empty(admission: &Admission) {
    let queue = admission.lock();
    assert_eq!((queue.running(), queue.queued(), queue.bytes()), (0, 0, 0));
}

#[tokio::test]
async fn a_permit_that_is_given_back_goes_to_who_waits() {
    let (admission, name, service) = (admission(1), function("f"), Arc::default());
    let first = permit(admission.enter(&visitor(&name, &service)).ok().unwrap());
    let second = place(admission.enter(&visitor(&name, &service)).ok().unwrap());
    assert_eq!((admission.load().in_flight, admission.load().queued), (2, 1));
    drop(first);
    let second = second.turn().await.unwrap();
    assert_eq!((admission.load().in_flight, admission.load().queued), (1, 0));
    drop(second);
    assert_empty(&admission);
}

#[tokio::test]
async fn who_gives_up_waiting_is_counted_no_longer() {
    let (admission, name, service) = (admission(1), function("f"), Arc::default());
    let running = permit(admission.enter(&visitor(&name, &service)).ok().unwrap());
    let gone = place(admission.enter(&visitor(&name, &service)).ok().unwrap());
    drop(gone);
    assert_eq!((admission.load().in_flight, admission.load().queued, admission.lock().bytes()), (1, 0, 0));
    drop(running);
    assert_empty(&admission);
}

#[tokio::test]
async fn a_permit_on_its_way_to_someone_who_has_gone_goes_to_the_next() {
    let (admission, name, service) = (admission(1), function("f"), Arc::default());
    let first = permit(admission.enter(&visitor(&name, &service)).ok().unwrap());
    let gone = place(admission.enter(&visitor(&name, &service)).ok().unwrap());
    let next = place(admission.enter(&visitor(&name, &service)).ok().unwrap());
    drop(first);
    // `gone` has its permit in the channel and never looks.
    drop(gone);
    drop(next.turn().await.unwrap());
    assert_empty(&admission);
}

#[tokio::test]
async fn a_held_call_is_counted_and_enters_even_when_the_house_is_draining() {
    let (admission, name, service) = (admission(1), function("f"), Arc::default());
    let held = admission.hold(7).ok().unwrap();
    let given_up = admission.hold(7).ok().unwrap();
    assert_eq!((admission.load().in_flight, admission.load().queued), (2, 2));
    drop(given_up);
    admission.set_draining(true);
    let permit = permit(held.enter(&visitor(&name, &service)).ok().unwrap());
    let refused = admission.enter(&visitor(&name, &service)).err().unwrap();
    assert_eq!(refused.code, Code::Unavailable);
    assert!(refused.may_move(false) && refused.retry_after.is_some());
    assert_eq!(refused.load.unwrap().in_flight, 1);
    drop(permit);
    assert_empty(&admission);
}

#[tokio::test]
async fn idle_waits_for_the_last_permit() {
    let (admission, name, service) = (admission(2), function("f"), Arc::default());
    admission.idle().await;
    let permit = permit(admission.enter(&visitor(&name, &service)).ok().unwrap());
    let idle = admission.idle();
    tokio::pin!(idle);
    assert!(futures::poll!(&mut idle).is_pending());
    drop(permit);
    idle.await;
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_expected_from_what_calls_took() {
    let (admission, name, service) = (admission(1), function("f"), Arc::default());
    let first = permit(admission.enter(&visitor(&name, &service)).ok().unwrap());
    tokio::time::advance(Duration::from_millis(400)).await;
    drop(first);
    let _running = permit(admission.enter(&visitor(&name, &service)).ok().unwrap());
    assert_eq!(admission.load().expected_wait, Duration::from_millis(400));
    let hasty = Visitor { deadline: Instant::now() + Duration::from_millis(300), ..visitor(&name, &service) };
    let refused = admission.enter(&hasty).err().unwrap();
    assert_eq!((refused.code, refused.retry_after), (Code::Overloaded, Some(Duration::from_secs(1))));
}

/// P8 under real threads: calls are cancelled at every point, and in the end nothing is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_callers_do_nothing_stays_counted() {
    let admission = admission(8);
    let tasks = (0..4_000_u32).map(|number| {
        let admission = Arc::clone(&admission);
        tokio::spawn(async move {
            let (name, service) = (function(&format!("f-{}", number % 7)), Arc::default());
            let visitor = Visitor { cap: 3, ..visitor(&name, &service) };
            let entrance = if number % 3 == 0 {
                let held = admission.hold(3)?;
                tokio::task::yield_now().await;
                if number % 9 == 0 {
                    return Ok(());
                }
                held.enter(&visitor)?
            } else {
                admission.enter(&visitor)?
            };
            let permit = match entrance {
                Entrance::Run(permit) => Some(permit),
                Entrance::Wait(place) if number % 5 == 0 => {
                    // Gone after having been polled a few times: before, while or after its permit comes.
                    let turn = place.turn();
                    tokio::pin!(turn);
                    for _ in 0..number % 4 {
                        if futures::poll!(&mut turn).is_ready() {
                            return Ok(());
                        }
                        tokio::task::yield_now().await;
                    }
                    None
                }
                Entrance::Wait(place) => place.turn().await,
            };
            for _ in 0..number % 3 {
                tokio::task::yield_now().await;
            }
            drop(permit);
            Ok::<_, InvokeError>(())
        })
    });
    let done = tokio::time::timeout(Duration::from_secs(30), join_all(tasks)).await.expect("nobody waits for ever");
    let served = done.into_iter().filter(|outcome| outcome.as_ref().unwrap().is_ok()).count();
    assert!(served > 0);
    admission.idle().await;
    assert_empty(&admission);
}
