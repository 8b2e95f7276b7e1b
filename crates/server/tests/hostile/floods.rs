//! Frames that cost the sender nothing.

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use onrush_server::Config;
use tokio::io::AsyncWriteExt;

use crate::{
    fixture::{Running, SHORT, in_time, start, until},
    frames::{
        CONTINUATION, END_STREAM, HEADERS, PING, SETTINGS, frame, get, goodbye, has_seen_all, open, request, reset,
    },
};

const ENHANCE_YOUR_CALM: u8 = 11;

fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let running = start(Config::default());
    let mut stream = open(&running, 65_535).await;
    let flood: Vec<u8> = streams().take(10_000).flat_map(|id| [request(id, "/wait"), reset(id)].concat()).collect();
    // It may be cut before it has sent everything.
    stream.write_all(&flood).await.ok();
    let said = goodbye(&mut stream).await;
    assert!(said.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{said:?}");
    assert!(running.begun() < 1_100, "{} of 10,000 requests began", running.begun());
    running.all_released().await;
    running.serves_others().await;
}

#[tokio::test]
async fn requests_that_are_reset_once_they_run_end_the_connection_too() {
    let running = start(Config { http2_max_resets: 20, ..Config::default() });
    let mut stream = open(&running, 65_535).await;
    for (before, id) in streams().take(500).enumerate() {
        if stream.write_all(&request(id, "/wait")).await.is_err() || before > 100 {
            break;
        }
        // Cut: nothing begins any more.
        let begins = tokio::time::timeout(SHORT, until("it to begin", || running.begun() > before)).await;
        if begins.is_err() || stream.write_all(&reset(id)).await.is_err() {
            break;
        }
    }
    assert!((20..=22).contains(&running.begun()), "{} requests began", running.begun());
    goodbye(&mut stream).await;
    running.all_released().await;
    running.serves_others().await;
}

#[tokio::test]
async fn a_client_that_changes_its_mind_now_and_then_is_served() {
    let running = start(Config { http2_max_resets: 20, ..Config::default() });
    let mut stream = open(&running, 65_535).await;
    for (index, id) in streams().take(300).enumerate() {
        let path = if index % 3 == 0 { "/wait" } else { "/" };
        stream.write_all(&request(id, path)).await.unwrap();
        has_seen_all(&mut stream).await;
        until("it to begin", || running.begun() > index).await;
        if path == "/wait" {
            stream.write_all(&reset(id)).await.unwrap();
        }
    }
    has_seen_all(&mut stream).await;
}

#[tokio::test]
async fn no_connection_has_more_requests_at_once_than_it_may() {
    let running = start(Config { http2_max_streams: 8, ..Config::default() });
    let mut stream = open(&running, 65_535).await;
    let flood: Vec<u8> = streams().take(100).flat_map(|id| request(id, "/wait")).collect();
    stream.write_all(&flood).await.unwrap();
    until("eight requests", || running.begun() == 8).await;
    has_seen_all(&mut stream).await;
    assert_eq!(running.begun(), 8);
    running.serves_others().await;
}

/// Sends the same bytes until the server has enough. How many it took.
async fn sends(running: &Running, opening: Vec<u8>, flood: &[u8]) -> usize {
    let mut stream = open(running, 65_535).await;
    in_time("the end of the connection", async {
        let mut sent = 0;
        if stream.write_all(&opening).await.is_err() {
            return sent;
        }
        while stream.write_all(flood).await.is_ok() {
            sent += flood.len();
        }
        sent
    })
    .await
}

#[tokio::test]
async fn heads_without_an_end_end_the_connection() {
    let running = start(Config::default());
    // Small headers, so many that no limit of one frame applies.
    let headers = [0x00, 0x01, b'a', 0x01, b'b'].repeat(3_000);
    let sent = sends(&running, frame(HEADERS, END_STREAM, 1, &get("/")), &frame(CONTINUATION, 0, 1, &headers)).await;
    // What is in the kernel's buffers when the server closes counts as sent.
    assert!(sent < 16 << 20, "{sent} bytes of one head were taken");
    assert_eq!(running.begun(), 0);
    running.serves_others().await;
}

#[tokio::test]
async fn pings_and_settings_whose_answers_nobody_reads_end_the_connection() {
    let running = start(Config { write_stall_timeout: SHORT, ..Config::default() });
    for kind in [PING, SETTINGS] {
        let payload: &[u8] = if kind == PING { b"anyone?!" } else { b"" };
        let flood = frame(kind, 0, 0, payload).repeat(1_000);
        let hostile = sends(&running, Vec::new(), &flood);
        let others = async {
            for _ in 0..20 {
                running.serves_others().await;
            }
        };
        tokio::join!(hostile, others);
    }
}

#[tokio::test]
async fn a_header_list_that_is_too_large_is_refused() {
    let running = start(Config::default());
    let io = TokioIo::new(running.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://h/").header("x", "y".repeat(20 << 10)).body(Full::default()).unwrap();
    match client.send_request(request).await {
        Ok(response) => assert_eq!(response.status(), 431),
        // The client's own library may refuse to send what the server said that it would not take.
        Err(error) => assert!(!error.is_closed(), "{error}"),
    }
    assert_eq!(running.begun(), 0);
}
