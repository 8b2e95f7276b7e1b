//! Clients that send or read slowly, or not at all.

use std::time::Duration;

use onrush_server::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{MissedTickBehavior, interval},
};

use crate::{
    fixture::{SHORT, in_time, says, start, until, until_closed},
    frames::{WINDOW_UPDATE, frame, open, request},
};

/// A client's pace: it does a little this often.
fn beat() -> tokio::time::Interval {
    let mut beat = interval(Duration::from_millis(20));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_however_steadily_it_comes() {
    let running = start(Config { header_read_timeout: SHORT, ..Config::default() });
    let (mut from, mut to) = running.connect().await.into_split();
    let trickle = tokio::spawn(async move {
        let mut beat = beat();
        to.write_all(b"GET / HTTP/1.1\r\nx: ").await?;
        loop {
            beat.tick().await;
            to.write_all(b"x").await?;
        }
        #[allow(unreachable_code, reason = "says the type of the error")]
        std::io::Result::Ok(())
    });
    in_time("the end of the connection", from.read_to_end(&mut Vec::new())).await.ok();
    assert!(in_time("the trickle to fail", trickle).await.unwrap().is_err());
    assert_eq!(running.begun(), 0);
    running.serves_others().await;
}

#[tokio::test]
async fn heads_that_are_too_large_or_too_many_are_refused_unread() {
    let running = start(Config::default());
    let many = (0..101).map(|index| format!("x-{index}: y\r\n")).collect::<String>();
    let long = format!("x: {}\r\n", "y".repeat(40 << 10));
    for headers in [many, long] {
        let request = format!("GET / HTTP/1.1\r\nhost: h\r\n{headers}\r\n");
        let answer = says(&mut running.connect().await, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    assert_eq!(running.begun(), 0);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_and_its_reply_released() {
    let running = start(Config { write_stall_timeout: SHORT, ..Config::default() });
    for path in ["/endless", "/large"] {
        let mut stream = running.connect().await;
        let before = running.begun();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).await.unwrap();
        until("the request to begin", || running.begun() > before).await;
        running.all_released().await;
        running.serves_others().await;
        let sent = until_closed(&mut stream).await;
        assert!(sent.len() < 32 << 20, "what the kernel holds for a slow reader is bounded: {} bytes", sent.len());
    }
}

/// Reads a few bytes at each beat until the connection ends.
async fn sip(mut stream: TcpStream) {
    let mut beat = beat();
    let mut bytes = [0; 64];
    while matches!(stream.read(&mut bytes).await, Ok(1..)) {
        beat.tick().await;
    }
}

#[tokio::test]
async fn a_client_that_sips_its_reply_is_cut() {
    let config = Config { reply_stall_timeout: SHORT, reply_min_rate: 1 << 20, ..Config::default() };
    let running = start(config);
    let mut stream = running.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let sips = tokio::spawn(sip(stream));
    until("the request to begin", || running.begun() == 1).await;
    running.all_released().await;
    running.serves_others().await;
    sips.abort();
}

#[tokio::test]
async fn a_window_that_stays_shut_ends_the_connection_though_the_socket_flows() {
    // The socket's own limit would take an hour: nothing is ever stuck there.
    let hour = Duration::from_secs(3_600);
    let config = Config { reply_stall_timeout: SHORT, write_stall_timeout: hour, ..Config::default() };
    let running = start(config);
    for path in ["/endless", "/large"] {
        let mut stream = open(&running, 0).await;
        stream.write_all(&request(1, path)).await.unwrap();
        until_closed(&mut stream).await;
        running.all_released().await;
    }
    assert_eq!(running.begun(), 2);
    running.serves_others().await;
}

/// A client that gives its reply `bytes` more of a window at each of so many beats. Whether the connection lived on.
async fn dribble(config: Config, bytes: u32, beats: usize) -> bool {
    let running = start(config);
    let mut stream = open(&running, 0).await;
    stream.write_all(&request(1, "/endless")).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let reader = tokio::spawn(async move { from.read_to_end(&mut Vec::new()).await.ok() });
    let mut beat = beat();
    for _ in 0..beats {
        beat.tick().await;
        let more = [frame(WINDOW_UPDATE, 0, 1, &bytes.to_be_bytes()), frame(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes())];
        if to.write_all(&more.concat()).await.is_err() {
            break;
        }
    }
    let lives = !reader.is_finished();
    reader.abort();
    lives
}

#[tokio::test]
async fn a_window_that_dribbles_is_cut_below_the_rate_and_kept_above_it() {
    let config = || Config { reply_stall_timeout: SHORT, reply_min_rate: 5_000, ..Config::default() };
    // A beat is 20 ms: 50 bytes a second, and a hundred thousand.
    assert!(!dribble(config(), 1, 200).await, "one byte for each beat");
    assert!(dribble(config(), 2_000, 60).await, "six periods at twenty times the rate");
}
