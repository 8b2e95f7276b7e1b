//! Who executes, who waits, and what becomes of them.

use super::*;

#[tokio::test(start_paused = true)]
async fn ten_thousand_identical_calls_are_one_execution() {
    let function = Function::slow(&[("cache-control", "max-age=60")]);
    let shared = shared(&function);
    let answers = ask_many(&shared, &both(), 10_000).await;
    assert_eq!(function.calls(), 1);
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|(status, _, body)| *status == 200 && body == "reply 1"));
    let count = |line: &str| answers.iter().filter(|(_, said, _)| said == line).count();
    assert_eq!(count("onrush; fwd=uri-miss; ttl=60; stored"), 1);
    assert_eq!(count("onrush; fwd=uri-miss; ttl=60; collapsed"), 9_999);
    assert_eq!(ask(&shared, &both(), &[]).await.1, "onrush; hit; ttl=60");
    assert_eq!(shared.core.flights.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_only_what_is_in_flight_is_shared() {
    let function = Function::slow(&[("cache-control", "max-age=60")]);
    let shared = shared(&function);
    for round in 1..=2 {
        let answers = ask_many(&shared, &coalesced(), 100).await;
        assert_eq!(function.calls(), round);
        let collapsed = answers.iter().flatten().filter(|(_, said, _)| said == "onrush; fwd=miss; collapsed");
        assert_eq!(collapsed.count(), 99);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_leader_releases_exactly_one_new_leader() {
    let function = Function::new(|index, _| async move {
        sleep(Duration::from_millis(100)).await;
        match index {
            1 => Err(InvokeError::function(Code::FunctionFailed, "trap")),
            _ => Ok(response(200, &[], "fine")),
        }
    });
    let answers = ask_many(&shared(&function), &coalesced(), 1_000).await;
    assert_eq!(function.calls(), 2);
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
    assert_eq!(answers.iter().flatten().filter(|(_, _, body)| body == "fine").count(), 999);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_the_function_worded_itself_is_its_leaders_alone() {
    let function = Function::new(|index, _| async move {
        sleep(Duration::from_millis(100)).await;
        Ok(if index == 1 { response(500, &[], "oops") } else { response(200, &[], "fine") })
    });
    let answers = ask_many(&shared(&function), &both(), 100).await;
    assert_eq!(function.calls(), 2);
    let count = |wanted: &str| answers.iter().flatten().filter(|(_, _, body)| body == wanted).count();
    assert_eq!((count("oops"), count("fine")), (1, 99));
}

#[tokio::test(start_paused = true)]
async fn failures_do_not_go_on_until_everybody_has_tried() {
    let function = Function::new(|_, _| async move {
        sleep(Duration::from_millis(100)).await;
        Ok(response(500, &[], "oops"))
    });
    let answers = ask_many(&shared(&function), &coalesced(), 1_000).await;
    assert_eq!(function.calls(), 3);
    assert_eq!(answers.iter().flatten().count(), 3, "leaders get the function's words");
    let error = answers.into_iter().find_map(Result::err).unwrap();
    assert_eq!(error.code, Code::FunctionFailed);
}

#[tokio::test(start_paused = true)]
async fn shared_failures_are_everybodys() {
    let sharing = Sharing { coalesce: Some(Coalesce { share_errors: true, ..coalesce() }), ..coalesced() };
    let trap = Function::new(|_, _| async move {
        sleep(Duration::from_millis(100)).await;
        Err(InvokeError::function(Code::FunctionFailed, "trap"))
    });
    let answers = ask_many(&shared(&trap), &sharing, 100).await;
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(trap.calls(), 1);
    let oops = Function::new(|_, _| async move {
        sleep(Duration::from_millis(100)).await;
        Ok(response(503, &[], "oops"))
    });
    let answers = ask_many(&shared(&oops), &sharing, 100).await;
    assert!(answers.iter().flatten().all(|(status, _, body)| *status == 503 && body == "oops"));
    assert_eq!((oops.calls(), answers.len()), (1, 100));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_takes_nothing_from_the_others() {
    let function = Function::slow(&[]);
    let shared = shared(&function);
    let leader = begin(&shared, call(&coalesced(), &[]));
    settle().await;
    let others: Vec<_> = (0..10).map(|_| begin(&shared, call(&coalesced(), &[]))).collect();
    settle().await;
    leader.abort();
    for other in others {
        assert_eq!(read(other.await.unwrap().unwrap()).await.2, "reply 1");
    }
    assert_eq!(function.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_nobody_waits_for_ends() {
    let function = Function::slow(&[]);
    let shared = shared(&function);
    let calls: Vec<_> = (0..10).map(|_| begin(&shared, call(&both(), &[]))).collect();
    settle().await;
    assert_eq!((function.running(), shared.core.flights.count()), (1, 1));
    calls.iter().for_each(JoinHandle::abort);
    settle().await;
    assert_eq!((function.running(), shared.core.flights.count()), (0, 0));
    assert_eq!(ask(&shared, &both(), &[]).await.2, "reply 2");
}

#[tokio::test(start_paused = true)]
async fn each_waits_no_longer_than_its_own_deadline() {
    let function = Function::slow(&[]);
    let shared = shared(&function);
    let short = || Invocation { deadline: Deadline::after(Duration::from_millis(50)), ..call(&coalesced(), &[]) };
    let began = Instant::now();
    let leader = begin(&shared, short());
    settle().await;
    let (waiter, patient) = (begin(&shared, short()), begin(&shared, call(&coalesced(), &[])));
    let error = leader.await.unwrap().unwrap_err();
    assert_eq!((error.code, error.reached), (Code::DeadlineExceeded, Reached::MaybeRan));
    let error = waiter.await.unwrap().unwrap_err();
    assert_eq!((error.code, error.reached), (Code::DeadlineExceeded, Reached::NotSent));
    assert_eq!(began.elapsed().as_millis(), 50);
    assert_eq!(read(patient.await.unwrap().unwrap()).await.2, "reply 1");
    assert_eq!(function.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_execution_ends_with_the_routes_timeout() {
    let function = Function::new(|_, _| std::future::pending());
    let shared = shared(&function);
    let sharing = Sharing { timeout: Some(Duration::from_secs(12)), ..coalesced() };
    let patient = Invocation { deadline: Deadline::after(Duration::from_secs(30)), ..call(&sharing, &[]) };
    let began = Instant::now();
    let impatient = begin(&shared, call(&sharing, &[]));
    settle().await;
    let patient = begin(&shared, patient);
    assert!(impatient.await.unwrap().is_err());
    assert_eq!(began.elapsed().as_secs(), 10);
    // Its own time is left, so it leads.
    assert!(patient.await.unwrap().is_err());
    assert_eq!((function.calls(), began.elapsed().as_secs()), (2, 30));
    assert_eq!(function.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_run_by_themselves() {
    let function = Function::slow(&[]);
    let sharing = Sharing { coalesce: Some(Coalesce { waiters: 10, ..coalesce() }), ..coalesced() };
    ask_many(&shared(&function), &sharing, 100).await;
    assert_eq!(function.calls(), 1 + 89);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_too_old_gets_one_successor() {
    let function = Function::new(|index, _| async move {
        sleep(Duration::from_secs(if index == 1 { 9 } else { 1 })).await;
        Ok(response(200, &[], &format!("reply {index}")))
    });
    let shared = shared(&function);
    let old = begin(&shared, call(&coalesced(), &[]));
    sleep(Duration::from_secs(6)).await;
    let answers = ask_many(&shared, &coalesced(), 100).await;
    assert!(answers.iter().flatten().all(|(_, _, body)| body == "reply 2"));
    assert_eq!(read(old.await.unwrap().unwrap()).await.2, "reply 1");
    assert_eq!(function.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_releases_a_new_leader() {
    let function = Function::new(|index, _| async move {
        sleep(Duration::from_millis(100)).await;
        assert!(index > 1, "on purpose");
        Ok(response(200, &[], "fine"))
    });
    let shared = shared(&function);
    let answers = ask_many(&shared, &coalesced(), 10).await;
    assert_eq!(answers.iter().flatten().count(), 9);
    assert_eq!((function.calls(), shared.core.flights.count()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_somebodys_own_is_not_shared_and_not_waited_for_again() {
    let own: [Pairs; 4] = [
        &[("set-cookie", "id=1"), ("cache-control", "public, max-age=60")],
        &[("cache-control", "private, max-age=60")],
        &[("cache-control", "no-store")],
        &[("vary", "*"), ("cache-control", "max-age=60")],
    ];
    for headers in own {
        let function = Function::slow(headers);
        let shared = shared(&function);
        let began = Instant::now();
        let answers = ask_many(&shared, &both(), 10).await;
        // One leads, the others wait for it, then all run at once: not one after the other.
        assert_eq!((function.calls(), began.elapsed().as_millis()), (10, 200), "{headers:?}");
        let bodies: std::collections::BTreeSet<_> = answers.into_iter().flatten().map(|(_, _, body)| body).collect();
        assert_eq!(bodies.len(), 10, "{headers:?}");
        // Marked: nobody waits at all.
        let answers = ask_many(&shared, &both(), 10).await;
        assert_eq!((function.calls(), began.elapsed().as_millis()), (20, 300), "{headers:?}");
        assert!(answers.iter().flatten().all(|(_, said, _)| said == "onrush; fwd=bypass; detail=hit-for-miss"));
        // The mark ends.
        sleep(Duration::from_secs(10)).await;
        assert_eq!(ask(&shared, &both(), &[]).await.1, "onrush; fwd=uri-miss");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asked_otherwise_gets_an_execution_of_their_own() {
    let function = Function::new(|_, call| async move {
        sleep(Duration::from_millis(100)).await;
        let language = call.request.headers()["accept-language"].to_str().unwrap().to_owned();
        Ok(response(200, &[("vary", "Accept-Language")], &language))
    });
    let shared = shared(&function);
    let languages = ["de", "fr", "it"];
    let calls: Vec<_> =
        (0..30).map(|index| begin(&shared, call(&coalesced(), &[("accept-language", languages[index % 3])]))).collect();
    for (index, call) in calls.into_iter().enumerate() {
        assert_eq!(read(call.await.unwrap().unwrap()).await.2, languages[index % 3]);
    }
    assert_eq!(function.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_key_for_two_people_is_no_leak() {
    let function = Function::slow(&[("cache-control", "max-age=60")]);
    let shared = shared(&function);
    let one = begin(&shared, call(&coalesced(), &[("cookie", "id=1")]));
    settle().await;
    let two = begin(&shared, call(&coalesced(), &[("cookie", "id=2")]));
    let (one, two) = (read(one.await.unwrap().unwrap()).await, read(two.await.unwrap().unwrap()).await);
    assert_ne!(one.2, two.2);
}

#[tokio::test(start_paused = true)]
async fn the_other_scope_is_passed_on_untouched() {
    let function = Function::new(|_, call| async move {
        Ok(response(200, &[], if call.sharing.is_some() { "with" } else { "without" }))
    });
    let gateway = shared(&function);
    let cluster = Sharing { scope: Scope::Cluster, ..both() };
    assert_eq!(ask(&gateway, &cluster, &[]).await, (200, String::new(), "with".to_owned()));
    assert_eq!(ask(&gateway, &both(), &[]).await.2, "without");
}
