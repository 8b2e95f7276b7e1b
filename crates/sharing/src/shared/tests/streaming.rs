//! Bodies that come bit by bit, and people who read them bit by bit.

use super::*;

type Sent = mpsc::Sender<Result<Bytes, BodyError>>;

/// Streams what a test sends; each call gets a body of its own.
fn streaming(headers: Pairs, length: Option<u64>) -> (Arc<Function>, mpsc::Receiver<Sent>) {
    let (bodies, taken) = mpsc::channel(100);
    let function = Function::new(move |_, _| {
        let bodies = bodies.clone();
        async move {
            let (send, receive) = mpsc::channel(100);
            bodies.send(send).await.unwrap();
            Ok(response(200, headers, "").map(|_| Body::stream(Coming(receive, length))))
        }
    });
    (function, taken)
}

async fn send(body: &Sent, text: &'static str) {
    body.send(Ok(Bytes::from_static(text.as_bytes()))).await.unwrap();
    settle().await;
}

async fn frame(reply: &mut Reply) -> String {
    let data = reply.response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    String::from_utf8(data.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_small_reply_is_read_by_all_while_it_comes_and_nobody_waits_for_the_slow() {
    let (function, mut bodies) = streaming(&[("cache-control", "max-age=60")], Some(6));
    let shared = shared(&function);
    let leader = begin(&shared, call(&both(), &[]));
    let body = bodies.recv().await.unwrap();
    settle().await;
    let mut leader = leader.await.unwrap().unwrap();
    send(&body, "abc").await;
    assert_eq!(frame(&mut leader).await, "abc");
    // Somebody who comes in the middle reads from the beginning; somebody else does not read at all.
    let mut late = shared.invoke(call(&both(), &[])).await.unwrap();
    let sleeper = shared.invoke(call(&both(), &[])).await.unwrap();
    assert_eq!(frame(&mut late).await, "abc");
    send(&body, "def").await;
    drop(body);
    assert_eq!(frame(&mut late).await, "def");
    assert!(late.response.body_mut().frame().await.is_none());
    settle().await;
    assert_eq!(ask(&shared, &both(), &[]).await.2, "abcdef", "kept, though one sleeps");
    assert_eq!(read(sleeper).await.2, "abcdef");
    assert_eq!((function.calls(), function.running(), shared.core.flights.count()), (1, 0, 0));
    drop((leader, late));
    assert_eq!(shared.core.room.free(), shared.core.config.collecting_bytes.as_u64());
}

#[tokio::test(start_paused = true)]
async fn a_reply_of_unknown_length_is_the_leaders_while_it_comes_and_everybodys_when_it_is_whole() {
    let (function, mut bodies) = streaming(&[("cache-control", "max-age=60")], None);
    let shared = shared(&function);
    let leader = begin(&shared, call(&both(), &[]));
    let body = bodies.recv().await.unwrap();
    let waiter = begin(&shared, call(&both(), &[]));
    send(&body, "abc").await;
    let mut leader = leader.await.unwrap().unwrap();
    assert_eq!(frame(&mut leader).await, "abc");
    assert!(!waiter.is_finished());
    send(&body, "def").await;
    drop(body);
    assert_eq!(read(waiter.await.unwrap().unwrap()).await.2, "abcdef");
    assert_eq!(frame(&mut leader).await, "def");
    assert_eq!(ask(&shared, &both(), &[]).await.1, "onrush; hit; ttl=60");
    assert_eq!(function.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_grows_too_large_is_the_leaders_and_the_others_run_by_themselves() {
    let (function, mut bodies) = streaming(&[], None);
    let shared = shared(&function);
    let sharing = Sharing { largest: 4, ..both() };
    let leader = begin(&shared, call(&sharing, &[]));
    let body = bodies.recv().await.unwrap();
    let waiter = begin(&shared, call(&sharing, &[]));
    send(&body, "abc").await;
    send(&body, "def").await;
    let other = bodies.recv().await.unwrap();
    send(&other, "other").await;
    drop(other);
    assert_eq!(read(waiter.await.unwrap().unwrap()).await.2, "other");
    send(&body, "ghi").await;
    drop(body);
    assert_eq!(read(leader.await.unwrap().unwrap()).await.2, "abcdefghi");
    let marked = begin(&shared, call(&sharing, &[]));
    drop(bodies.recv().await.unwrap());
    assert_eq!(read(marked.await.unwrap().unwrap()).await.1, "onrush; fwd=bypass; detail=hit-for-miss");
    assert_eq!(function.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_a_large_reply_holds_back_the_function_alone() {
    let (function, mut bodies) = streaming(&[], None);
    let shared = shared(&function);
    let sharing = Sharing { largest: 4, ..both() };
    let leader = begin(&shared, call(&sharing, &[]));
    let body = bodies.recv().await.unwrap();
    send(&body, "abcdef").await;
    let leader = leader.await.unwrap().unwrap();
    // Nothing is read ahead any more: what the function sends fills its own channel.
    while body.try_send(Ok(Bytes::from_static(b"x"))).is_ok() {
        settle().await;
    }
    assert_eq!(function.running(), 1);
    drop(leader);
    settle().await;
    assert_eq!(function.running(), 0, "who leaves ends it");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_says_that_it_is_too_large_is_passed_at_once() {
    let (function, mut bodies) = streaming(&[("content-length", "5")], None);
    let shared = shared(&function);
    let sharing = Sharing { largest: 4, ..both() };
    let leader = begin(&shared, call(&sharing, &[]));
    let body = bodies.recv().await.unwrap();
    let waiter = begin(&shared, call(&sharing, &[]));
    let other = bodies.recv().await.unwrap();
    send(&body, "abcde").await;
    send(&other, "other").await;
    drop((body, other));
    assert_eq!(read(leader.await.unwrap().unwrap()).await.2, "abcde");
    assert_eq!(read(waiter.await.unwrap().unwrap()).await.2, "other");
}

#[tokio::test(start_paused = true)]
async fn a_trickle_holds_nobody_up_for_longer_than_a_leader_may() {
    let (function, mut bodies) = streaming(&[], None);
    let shared = shared(&function);
    let began = Instant::now();
    let leader = begin(&shared, call(&coalesced(), &[]));
    let body = bodies.recv().await.unwrap();
    send(&body, "abc").await;
    let waiter = begin(&shared, call(&coalesced(), &[]));
    let other = bodies.recv().await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 5);
    drop(other);
    assert_eq!(read(waiter.await.unwrap().unwrap()).await.2, "");
    send(&body, "def").await;
    drop(body);
    assert_eq!(read(leader.await.unwrap().unwrap()).await.2, "abcdef");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_breaks_off_is_not_kept_and_not_taken_for_whole() {
    for length in [Some(6), None] {
        let (function, mut bodies) = streaming(&[("cache-control", "max-age=60")], length);
        let shared = shared(&function);
        let leader = begin(&shared, call(&both(), &[]));
        let body = bodies.recv().await.unwrap();
        settle().await;
        send(&body, "abc").await;
        let waiter = begin(&shared, call(&both(), &[]));
        settle().await;
        body.send(Err(BodyError::new(Code::OutcomeUnknown, "lost"))).await.unwrap();
        let leader = leader.await.unwrap().unwrap();
        assert!(leader.response.into_body().collect(99).await.is_err());
        if length.is_some() {
            assert!(waiter.await.unwrap().unwrap().response.into_body().collect(99).await.is_err());
        } else {
            // It has seen nothing of the reply, so it leads.
            let body = bodies.recv().await.unwrap();
            send(&body, "fine").await;
            drop(body);
            assert_eq!(read(waiter.await.unwrap().unwrap()).await.2, "fine");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn fewer_bytes_than_promised_are_not_kept() {
    let (function, mut bodies) = streaming(&[("cache-control", "max-age=60"), ("content-length", "6")], None);
    let shared = shared(&function);
    let leader = begin(&shared, call(&both(), &[]));
    let body = bodies.recv().await.unwrap();
    settle().await;
    send(&body, "abc").await;
    drop(body);
    drop(leader.await.unwrap());
    settle().await;
    let next = begin(&shared, call(&both(), &[]));
    drop(bodies.recv().await.unwrap());
    drop(next);
    assert_eq!(function.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_and_nobody_keeps_ends() {
    for length in [Some(6), None] {
        let (function, mut bodies) = streaming(&[], length);
        let shared = shared(&function);
        let leader = begin(&shared, call(&coalesced(), &[]));
        let body = bodies.recv().await.unwrap();
        settle().await;
        send(&body, "abc").await;
        drop(leader.await.unwrap());
        settle().await;
        assert_eq!((function.running(), shared.core.flights.count()), (0, 0), "{length:?}");
        assert_eq!(shared.core.room.free(), shared.core.config.collecting_bytes.as_u64());
    }
}

#[tokio::test(start_paused = true)]
async fn without_room_a_reply_is_passed_on() {
    let (function, mut bodies) = streaming(&[("cache-control", "max-age=60")], Some(6));
    let config = Config { collecting_bytes: bytesize::ByteSize::b(5), ..Config::default() };
    let shared = shared_with(config, &function, Scope::Gateway);
    let leader = begin(&shared, call(&both(), &[]));
    let body = bodies.recv().await.unwrap();
    settle().await;
    send(&body, "abcdef").await;
    drop(body);
    assert_eq!(read(leader.await.unwrap().unwrap()).await.2, "abcdef");
    let next = begin(&shared, call(&both(), &[]));
    drop(bodies.recv().await.unwrap());
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_is_nobodys_to_wait_for() {
    let (function, mut bodies) = streaming(&[("content-type", "text/event-stream")], None);
    let shared = shared(&function);
    let one = begin(&shared, call(&both(), &[]));
    let first = bodies.recv().await.unwrap();
    let two = begin(&shared, call(&both(), &[]));
    let second = bodies.recv().await.unwrap();
    send(&first, "data: 1").await;
    send(&second, "data: 2").await;
    assert_eq!(frame(&mut one.await.unwrap().unwrap()).await, "data: 1");
    assert_eq!(frame(&mut two.await.unwrap().unwrap()).await, "data: 2");
}
