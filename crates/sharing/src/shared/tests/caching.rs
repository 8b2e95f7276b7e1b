//! What is kept, what it answers, and when it is asked about again.

use super::*;

/// Answers at once with its call's number and these headers.
fn quick(headers: Pairs) -> Arc<Function> {
    Function::new(move |index, _| async move { Ok(response(200, headers, &format!("reply {index}"))) })
}

#[tokio::test(start_paused = true)]
async fn a_kept_reply_grows_old_and_is_replaced() {
    let function = quick(&[("cache-control", "max-age=60"), ("x", "1")]);
    let shared = shared(&function);
    assert_eq!(ask(&shared, &cached(), &[]).await.1, "onrush; fwd=uri-miss; ttl=60; stored");
    sleep(Duration::from_secs(59)).await;
    let reply = shared.invoke(call(&cached(), &[])).await.unwrap();
    assert_eq!(reply.response.headers()["age"], "59");
    assert_eq!(reply.response.headers()["x"], "1");
    assert_eq!((&*reply.node, reply.load.in_flight), ("n-1", 7));
    assert_eq!(read(reply).await, (200, "onrush; hit; ttl=1".into(), "reply 1".into()));
    sleep(Duration::from_secs(1)).await;
    let replaced = ask(&shared, &cached(), &[]).await;
    assert_eq!(replaced, (200, "onrush; fwd=stale; ttl=60; stored".into(), "reply 2".into()));
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_kept_is_not() {
    let table: [(Pairs, Pairs, bool); 10] = [
        (&[("cache-control", "max-age=60")], &[], true),
        (&[], &[], false),
        (&[("cache-control", "max-age=0")], &[], false),
        (&[("cache-control", "max-age=60, no-store")], &[], false),
        (&[("cache-control", "max-age=60, private")], &[], false),
        (&[("cache-control", "max-age=60"), ("set-cookie", "a=b")], &[], false),
        (&[("cache-control", "max-age=60")], &[("authorization", "Basic x")], false),
        (&[("cache-control", "max-age=60, public")], &[("authorization", "Basic x")], true),
        (&[("cache-control", "max-age=60"), ("vary", "*")], &[], false),
        (&[("cache-control", "max-age=60"), ("age", "61")], &[], false),
    ];
    for (headers, request, kept) in table {
        let function = quick(headers);
        let shared = shared(&function);
        for _ in 0..2 {
            ask(&shared, &cached(), request).await;
        }
        assert_eq!(function.calls() == 1, kept, "{headers:?} {request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_routes_ttl_never_overrides_what_a_reply_says() {
    let table: [(u16, Pairs, bool); 6] = [
        (200, &[], true),
        (301, &[], true),
        (404, &[], false),
        (200, &[("cache-control", "no-store")], false),
        (200, &[("cache-control", "private")], false),
        (200, &[("expires", "0")], false),
    ];
    for (status, headers, kept) in table {
        let function = Function::new(move |_, _| async move { Ok(response(status, headers, "")) });
        let shared = shared(&function);
        let sharing = Sharing { cache: Some(Caching { ttl: Some(Duration::from_secs(60)), ..caching() }), ..cached() };
        for _ in 0..2 {
            ask(&shared, &sharing, &[]).await;
        }
        assert_eq!(function.calls() == 1, kept, "{status} {headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_is_passed_through_and_never_kept() {
    let function = Function::new(|_, call| async move {
        let part = call.request.headers().contains_key("range");
        Ok(response(
            if part { 206 } else { 200 },
            &[("cache-control", "max-age=60")],
            if part { "part" } else { "whole" },
        ))
    });
    let shared = shared(&function);
    let part = (206, "onrush; fwd=bypass".into(), "part".into());
    assert_eq!(ask(&shared, &both(), &[("range", "bytes=0-1")]).await, part);
    assert_eq!(ask(&shared, &both(), &[]).await.2, "whole");
    assert_eq!(ask(&shared, &both(), &[("range", "bytes=0-1")]).await, part);
    assert_eq!(ask(&shared, &both(), &[]).await.1, "onrush; hit; ttl=60");
}

#[tokio::test(start_paused = true)]
async fn each_variant_is_kept_for_itself() {
    let function = Function::new(|index, call| async move {
        let said = call.request.headers().get("accept-language").map_or("none", |value| value.to_str().unwrap());
        let headers = [("cache-control", "max-age=60"), ("vary", "accept-language")];
        // Now and then a reply that does not say on what it depends.
        Ok(response(200, if index == 3 { &headers[..1] } else { &headers }, said))
    });
    let shared = shared(&function);
    let of = |language: &'static str| [("accept-language", language)];
    assert_eq!(ask(&shared, &both(), &of("de")).await.1, "onrush; fwd=uri-miss; ttl=60; stored");
    assert_eq!(ask(&shared, &both(), &of("fr")).await.1, "onrush; fwd=vary-miss; ttl=60; stored");
    assert_eq!(ask(&shared, &both(), &[]).await.1, "onrush; fwd=vary-miss; ttl=60; stored");
    for (headers, wanted) in [(&of("de")[..], "de"), (&of("fr"), "fr"), (&[], "none")] {
        assert_eq!(ask(&shared, &both(), headers).await, (200, "onrush; hit; ttl=60".into(), wanted.into()));
    }
    assert_eq!(function.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn stale_while_revalidate_refreshes_once_and_meanwhile_answers() {
    let function = Function::slow(&[("cache-control", "max-age=10, stale-while-revalidate=20")]);
    for sharing in [both(), cached()] {
        let before = function.calls();
        let shared = shared(&function);
        ask(&shared, &sharing, &[]).await;
        sleep(Duration::from_secs(15)).await;
        let answers = ask_many(&shared, &sharing, 1_000).await;
        assert!(answers.iter().flatten().all(|(_, said, _)| said == "onrush; hit; ttl=-5"));
        sleep(Duration::from_millis(200)).await;
        assert_eq!(function.calls() - before, 2);
        assert_eq!(ask(&shared, &sharing, &[]).await.1, "onrush; hit; ttl=9");
        // Too old for that.
        sleep(Duration::from_secs(40)).await;
        assert_eq!(ask(&shared, &sharing, &[]).await.1, "onrush; fwd=stale; ttl=10; stored");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_is_tried_again_after_a_pause() {
    let function = Function::new(|index, _| async move {
        let fine = response(200, &[("cache-control", "max-age=10, stale-while-revalidate=60")], "fine");
        if index == 1 { Ok(fine) } else { Err(InvokeError::refused(Code::Overloaded, "full")) }
    });
    let shared = shared(&function);
    ask(&shared, &both(), &[]).await;
    sleep(Duration::from_secs(15)).await;
    for _ in 0..10 {
        ask(&shared, &both(), &[]).await;
        settle().await;
    }
    assert_eq!(function.calls(), 2);
    sleep(Duration::from_secs(1)).await;
    ask(&shared, &both(), &[]).await;
    settle().await;
    assert_eq!(function.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn stop_ends_refreshes_and_whoever_waits_for_one_executes() {
    let function = Function::slow(&[("cache-control", "max-age=10, stale-while-revalidate=10")]);
    let shared = shared(&function);
    ask(&shared, &both(), &[]).await;
    sleep(Duration::from_millis(19_950)).await;
    assert_eq!(ask(&shared, &both(), &[]).await.1, "onrush; hit; ttl=-10");
    settle().await;
    assert_eq!(function.running(), 1);
    sleep(Duration::from_millis(60)).await;
    let waiter = begin(&shared, call(&both(), &[]));
    settle().await;
    shared.stop();
    settle().await;
    assert_eq!(read(waiter.await.unwrap().unwrap()).await.2, "reply 3");
    sleep(Duration::from_secs(15)).await;
    ask(&shared, &both(), &[]).await;
    settle().await;
    assert_eq!(function.running(), 0, "none begins any more");
}

#[tokio::test(start_paused = true)]
async fn stale_if_error_stands_in_for_failures_of_everybody() {
    let broken = |failure: u16| {
        Function::new(move |index, _| async move {
            sleep(Duration::from_millis(100)).await;
            match (index, failure) {
                (1, _) => Ok(response(200, &[("cache-control", "max-age=10, stale-if-error=60")], "kept")),
                (_, 0) => Err(InvokeError::refused(Code::Overloaded, "full")),
                (_, status) => Ok(response(status, &[], "oops")),
            }
        })
    };
    for (failure, said) in [(0, "503"), (500, "500"), (502, "502"), (503, "503"), (504, "504")] {
        let function = broken(failure);
        let shared = shared(&function);
        ask(&shared, &both(), &[]).await;
        sleep(Duration::from_secs(30)).await;
        let answers = ask_many(&shared, &both(), 100).await;
        assert!(answers.iter().flatten().all(|(status, _, body)| *status == 200 && body == "kept"));
        assert_eq!((answers.iter().flatten().count(), function.calls()), (100, 2));
        let line = format!("onrush; fwd=stale; fwd-status={said}; ttl=-21");
        assert!(answers.iter().flatten().any(|(_, said, _)| *said == line), "{answers:?}");
        // Nobody tries again at once, and for ever is not promised.
        assert_eq!(ask(&shared, &both(), &[]).await.1, "onrush; hit; ttl=-21");
        sleep(Duration::from_secs(60)).await;
        let after = shared.invoke(call(&both(), &[])).await;
        assert!(after.is_err() || after.unwrap().response.status().is_server_error());
    }
    // What is no error of the function's is its answer.
    let function = broken(404);
    let shared = shared(&function);
    ask(&shared, &both(), &[]).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(ask(&shared, &both(), &[]).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_stale_reply_is_asked_about_and_found_right() {
    let function = Function::new(|index, call| async move {
        let asked = call.request.headers().get("if-none-match").map(|tag| tag.to_str().unwrap().to_owned());
        let headers =
            [("cache-control", "max-age=10"), ("etag", "\"v1\""), ("x", if index == 1 { "old" } else { "new" })];
        Ok(match asked.as_deref() {
            Some("\"v1\"") => response(304, &headers, ""),
            Some(other) => response(400, &[], other),
            None => response(200, &headers, "body"),
        })
    });
    let shared = shared(&function);
    // The client's own condition is judged here and is not the function's affair.
    let mine = [("if-none-match", "\"mine\"")];
    assert_eq!(ask(&shared, &both(), &mine).await, (200, "onrush; fwd=uri-miss; ttl=10; stored".into(), "body".into()));
    sleep(Duration::from_secs(11)).await;
    let reply = shared.invoke(call(&both(), &mine)).await.unwrap();
    assert_eq!(reply.response.headers()["x"], "new");
    assert_eq!(read(reply).await, (200, "onrush; fwd=stale; fwd-status=304; ttl=10; stored".into(), "body".into()));
    assert_eq!(ask(&shared, &both(), &[]).await.1, "onrush; hit; ttl=10");
    let same = shared.invoke(call(&both(), &[("if-none-match", "W/\"v1\"")])).await.unwrap();
    assert_eq!(same.response.headers()["etag"], "\"v1\"");
    assert!(!same.response.headers().contains_key("x"));
    assert_eq!(read(same).await, (304, "onrush; hit; ttl=10".into(), String::new()));
}

#[tokio::test(start_paused = true)]
async fn a_304_about_something_else_is_a_failure_and_is_not_asked_for_again() {
    let function = Function::new(|index, call| async move {
        let asked = call.request.headers().contains_key("if-none-match");
        let tag = if index == 1 { "\"v1\"" } else { "\"v2\"" };
        Ok(response(if asked { 304 } else { 200 }, &[("cache-control", "max-age=10"), ("etag", tag)], "body"))
    });
    let shared = shared(&function);
    ask(&shared, &both(), &[]).await;
    sleep(Duration::from_secs(11)).await;
    assert_eq!(shared.invoke(call(&both(), &[])).await.unwrap_err().code, Code::FunctionFailed);
    assert_eq!(ask(&shared, &both(), &[]).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_must_always_be_asked_about_is() {
    let function = Function::new(|_, call| async move {
        let asked = call.request.headers().contains_key("if-none-match");
        Ok(response(if asked { 304 } else { 200 }, &[("cache-control", "no-cache"), ("etag", "\"1\"")], "body"))
    });
    let shared = shared(&function);
    assert_eq!(ask(&shared, &both(), &[]).await.2, "body");
    for round in 2..=3 {
        let renewed = (200, "onrush; fwd=stale; fwd-status=304; ttl=0; stored".into(), "body".into());
        assert_eq!(ask(&shared, &both(), &[]).await, renewed);
        assert_eq!(function.calls(), round);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_is_answered_by_a_kept_get_and_keeps_one() {
    let function = Function::new(|_, call| async move {
        assert_eq!(*call.request.method(), Method::GET);
        Ok(response(200, &[("cache-control", "max-age=60")], "four"))
    });
    let shared = shared(&function);
    for line in ["onrush; fwd=uri-miss; ttl=60; stored", "onrush; hit; ttl=60"] {
        let mut head = call(&both(), &[]);
        *head.request.method_mut() = Method::HEAD;
        let reply = shared.invoke(head).await.unwrap();
        assert_eq!(reply.response.headers()["content-length"], "4");
        assert_eq!(read(reply).await, (200, line.into(), String::new()));
    }
    assert_eq!(ask(&shared, &both(), &[]).await.2, "four");
}

#[tokio::test(start_paused = true)]
async fn only_where_the_route_obeys_may_a_client_force_an_execution() {
    let function = quick(&[("cache-control", "max-age=60")]);
    let shared = shared(&function);
    let obeying = Sharing { cache: Some(Caching { obey_request: true, ..caching() }), ..both() };
    let fresh = [("cache-control", "no-cache")];
    ask(&shared, &both(), &[]).await;
    assert_eq!(ask(&shared, &both(), &fresh).await.1, "onrush; hit; ttl=60");
    assert_eq!(ask(&shared, &obeying, &fresh).await.1, "onrush; fwd=request; ttl=60; stored");
    assert_eq!(ask(&shared, &obeying, &[("cache-control", "no-store")]).await.1, "onrush; hit; ttl=60");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(ask(&shared, &obeying, &[("cache-control", "max-age=40")]).await.1, "onrush; hit; ttl=30");
    assert_eq!(
        ask(&shared, &obeying, &[("cache-control", "max-age=20")]).await.1,
        "onrush; fwd=request; ttl=60; stored"
    );
    let elsewhere = Sharing { key: SharingKey([2; 32]), ..obeying.clone() };
    let only = [("cache-control", "only-if-cached")];
    assert_eq!(ask(&shared, &elsewhere, &only).await.0, 504);
    assert_eq!(ask(&shared, &obeying, &only).await.0, 200);
    ask(&shared, &elsewhere, &[("cache-control", "no-store")]).await;
    assert_eq!(ask(&shared, &elsewhere, &only).await.0, 504, "nothing was kept");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded_by_bytes_and_what_is_marked_by_count() {
    let large =
        Function::new(
            |_, _| async move { Ok(response(200, &[("cache-control", "max-age=60")], &"x".repeat(100_000))) },
        );
    let config = Config { cache_bytes: bytesize::ByteSize::mb(1), marks: 10, ..Config::default() };
    let shared = shared_with(config.clone(), &large, Scope::Gateway);
    let key = |index: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&index.to_le_bytes());
        SharingKey(key)
    };
    for index in 0..200 {
        ask(&shared, &Sharing { key: key(index), ..both() }, &[]).await;
        assert!(shared.core.store.bytes() <= 1_000_000, "before the cache has tidied up of itself");
    }
    let (bytes, count, _) = shared.core.store.settle();
    assert!(bytes <= 1_000_000 && (1..10).contains(&count), "{bytes} {count}");
    let own = quick(&[("cache-control", "no-store")]);
    let shared = shared_with(config, &own, Scope::Gateway);
    for index in 0..200 {
        ask(&shared, &Sharing { key: key(index), ..both() }, &[]).await;
    }
    assert!(shared.core.store.settle().2 <= 10);
}

#[tokio::test(start_paused = true)]
async fn other_caches_words_stay_and_come_first() {
    let function = quick(&[("cache-control", "max-age=60"), ("cache-status", "origin; hit"), ("age", "5")]);
    let shared = shared(&function);
    assert_eq!(ask(&shared, &both(), &[]).await.1, "origin; hit, onrush; fwd=uri-miss; ttl=55; stored");
    let reply = shared.invoke(call(&both(), &[("if-none-match", "\"x\"")])).await.unwrap();
    assert_eq!(reply.response.headers()["age"], "5");
    assert_eq!(read(reply).await.1, "origin; hit, onrush; hit; ttl=55");
    assert_eq!(ask(&shared, &both(), &[]).await.1, "origin; hit, onrush; hit; ttl=55");
}

/// What a hit costs inside this crate, the drop of call and reply included. Optimised, on a quiet machine: `cargo nextest
/// run -p onrush-sharing --config profile.dev.package.onrush-sharing.opt-level=3 --run-ignored only --no-capture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn the_cost_of_a_hit() {
    const ROUNDS: u32 = 200_000;
    let function = quick(&[
        ("cache-control", "public, max-age=600"),
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", "7"),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("etag", "\"abc\""),
        ("x-one", "1"),
        ("x-two", "2"),
    ]);
    let shared = shared(&function);
    let sharing = Sharing { cache: Some(Caching { ttl: Some(Duration::from_secs(600)), ..caching() }), ..both() };
    ask(&shared, &sharing, &[]).await;
    let calls: Vec<_> = (0..ROUNDS).map(|_| call(&sharing, &[("accept", "*/*"), ("user-agent", "x")])).collect();
    let began = Instant::now();
    for call in calls {
        let reply = shared.invoke(call).await.unwrap();
        std::hint::black_box(reply);
    }
    println!("{:?} for each of {ROUNDS} hits; {} executions", began.elapsed() / ROUNDS, function.calls());
}
