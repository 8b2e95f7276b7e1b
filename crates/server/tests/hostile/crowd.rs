//! Ten thousand connections at once.
//!
//! Both ends are in this process, so it needs two open files for each connection: the limit is raised to what the
//! system allows (`ulimit -Hn`), and with fewer the crowd is as large as it permits.

use std::num::NonZeroUsize;

use onrush_server::{Config, open_files, raise_open_files};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::fixture::{GET, Running, says, start, until, until_closed};

fn number(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

async fn crowd(running: &Running, size: usize, says: &[u8]) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..size {
        let Ok(mut stream) = running.connect_from("127.0.0.2").await else { break };
        // It may have been refused by now.
        stream.write_all(says).await.ok();
        crowd.push(stream);
    }
    crowd
}

#[tokio::test]
async fn ten_thousand_connections_cost_little_memory_and_others_are_served() {
    let size = 10_000.min((raise_open_files() - 300) / 2);
    assert!(size >= 1_000, "the limit of open files, {}, is too low for a crowd", open_files());
    let config =
        Config { max_connections: number(12_000), max_connections_per_ip: Some(number(12_000)), ..Config::default() };
    let running = start(config);
    running.serves_others().await;
    let before = resident();
    // Half of them say the beginning of a head, half wait for the answer that never comes.
    let halves = (
        crowd(&running, size / 2 - 100, b"GET / HTTP/1.1\r\nhost: h\r\nx: ").await,
        crowd(&running, size / 2 - 100, b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await,
    );
    until("the requests of the crowd", || running.begun() > halves.1.len()).await;
    running.serves_others().await;
    let each = (resident() - before) / (halves.0.len() + halves.1.len());
    println!("{size} connections of {} open files: {each} bytes each, both ends", open_files());
    assert!(each < 40 << 10, "{each} bytes for each connection");
    drop(halves);
    running.all_released().await;
    running.serves_others().await;
}

#[tokio::test]
async fn an_address_with_all_the_connections_that_it_may_have_leaves_room_for_others() {
    let running = start(Config { max_connections: number(200), ..Config::default() });
    let crowd = crowd(&running, 400, b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await;
    until("three quarters of the places to be taken", || running.begun() == 150).await;
    for _ in 0..20 {
        running.serves_others().await;
    }
    assert_eq!(running.begun(), 170, "the rest of the crowd was refused");
    drop(crowd);
    running.drain.cancel();
    let summary = running.server.await.unwrap();
    assert_eq!((summary.refused, summary.evicted), (250, 0));
}

#[tokio::test]
async fn a_crowd_without_requests_makes_room_for_others_and_loses_its_own_places() {
    let config =
        Config { max_connections: number(200), max_connections_per_ip: Some(number(200)), ..Config::default() };
    let running = start(config);
    let mut regular = running.connect().await;
    assert!(says(&mut regular, GET).await.starts_with("HTTP/1.1 200"));
    let mut crowd = crowd(&running, 199, b"GET ").await;
    let mut guests = Vec::new();
    for _ in 0..20 {
        let mut guest = running.connect().await;
        assert!(says(&mut guest, GET).await.starts_with("HTTP/1.1 200"));
        guests.push(guest);
    }
    // The one who was there all the time, without a request for longer than anybody, has its place still.
    assert!(says(&mut regular, GET).await.starts_with("HTTP/1.1 200"));
    assert!(until_closed(&mut crowd[0]).await.is_empty());
    running.drain.cancel();
    drop((crowd, guests, regular));
    let summary = running.server.await.unwrap();
    assert!((20..=24).contains(&summary.evicted), "{summary:?}");
}
