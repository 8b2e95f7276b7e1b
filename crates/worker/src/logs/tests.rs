use bytesize::ByteSize;
use onrush_seams::SystemClock;

use super::*;

fn function(name: &str) -> FunctionName {
    FunctionName::new("default".parse().unwrap(), name.parse().unwrap())
}

fn ring(config: LogConfig) -> Arc<LogRing> {
    LogRing::new(config, "node-1".into(), Arc::new(SystemClock))
}

fn write(ring: &Arc<LogRing>, name: &str, lines: impl IntoIterator<Item = u32>) {
    let guest = ring.guest(function(name), VersionNumber(2));
    for number in lines {
        guest.line(None, LogStream::Stdout, &format!("line {number}"));
    }
}

async fn tail(ring: &Arc<LogRing>, name: &str, tail: u32) -> Vec<String> {
    let query = LogQuery { function: function(name), tail, follow: false };
    ring.logs(&query).map(|line| line.unwrap().text).collect().await
}

#[tokio::test]
async fn the_newest_lines_are_kept_and_told_in_order() {
    let ring = ring(LogConfig { lines: 3, ..LogConfig::default() });
    write(&ring, "a", 1..=5);
    assert_eq!(tail(&ring, "a", 10).await, ["line 3", "line 4", "line 5"]);
    assert_eq!(tail(&ring, "a", 1).await, ["line 5"]);
    assert!(tail(&ring, "b", 10).await.is_empty());
    let query = LogQuery { function: function("a"), tail: 1, follow: false };
    let line = ring.logs(&query).next().await.unwrap().unwrap();
    assert_eq!((&*line.node, line.version, line.stream), ("node-1", VersionNumber(2), LogStream::Stdout));
}

#[tokio::test]
async fn bytes_functions_and_lines_are_bounded() {
    let config = LogConfig {
        function_bytes: ByteSize::b(20),
        bytes: ByteSize::b(30),
        functions: 2,
        line: 10,
        ..LogConfig::default()
    };
    let ring = ring(config);
    let guest = ring.guest(function("a"), VersionNumber(1));
    guest.line(None, LogStream::Stderr, "12345678äöü");
    assert_eq!(tail(&ring, "a", 9).await, ["12345678ä"], "cut between characters");
    guest.line(None, LogStream::Stderr, "1234567890");
    guest.line(None, LogStream::Stderr, "0987654321");
    assert_eq!(tail(&ring, "a", 9).await, ["1234567890", "0987654321"]);
    write(&ring, "b", 1..=1);
    assert_eq!(tail(&ring, "a", 9).await.len(), 2);
    write(&ring, "c", 1..=1);
    assert!(tail(&ring, "a", 9).await.is_empty(), "two functions are remembered, the silent one went");
    write(&ring, "b", 2..=3);
    assert_eq!(ring.lock().bytes, 24);
    write(&ring, "b", 4..=9);
    assert!(ring.lock().bytes <= 30);
}

#[tokio::test]
async fn following_misses_nothing_and_says_so_when_it_does() {
    let ring = ring(LogConfig { backlog: 2, ..LogConfig::default() });
    write(&ring, "a", 1..=2);
    let mut follow = ring.logs(&LogQuery { function: function("a"), tail: 1, follow: true });
    assert_eq!(follow.next().await.unwrap().unwrap().text, "line 2");
    write(&ring, "b", 100..=100);
    write(&ring, "a", 3..=3);
    assert_eq!(follow.next().await.unwrap().unwrap().text, "line 3");
    write(&ring, "a", 4..=9);
    let notice = follow.next().await.unwrap().unwrap();
    assert_eq!(notice.stream, LogStream::Platform);
    assert!(notice.text.starts_with("4 lines are missing"), "{}", notice.text);
    assert_eq!(follow.next().await.unwrap().unwrap().text, "line 8");
    drop(follow);
    write(&ring, "a", 10..=10);
    assert!(ring.lock().followers.is_empty());
}

#[tokio::test]
async fn followed_functions_are_bounded() {
    let ring = ring(LogConfig { followed: 1, ..LogConfig::default() });
    let query = |name| LogQuery { function: function(name), tail: 0, follow: true };
    let first = ring.logs(&query("a"));
    let error = ring.logs(&query("b")).next().await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::Overloaded);
    drop(first);
    write(&ring, "b", 1..=1);
    let mut second = ring.logs(&query("b"));
    write(&ring, "b", 2..=2);
    assert_eq!(second.next().await.unwrap().unwrap().text, "line 2");
}
