//! What a call gives back, and how it fails.

use std::time::Duration;

use futures::future::join_all;
use onrush_invoke::{Body, Reached};
use onrush_runtime::Runtime;
use onrush_types::{Code, LogStream, Origin};

use super::bench::{Bench, guest, read};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_answers_and_travels_whole() {
    let bench = Bench::new();
    let hello = bench.prepare("hello").await;
    let reply = hello.get("/").await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(reply.body().as_whole().unwrap(), "Hello from Onrush!\n");
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_of_wasi_0_3_answers_and_streams() {
    let bench = Bench::new();
    let hello = bench.prepare("hello-p3").await;
    assert_eq!(hello.text("/").await, "Hello from Onrush 0.3 at shop.example!\n");
    let body = vec![b'x'; 300_000];
    let reply = hello.send("/", Body::whole(body.clone()), LONG).await.unwrap();
    assert_eq!(read(reply).await, body);
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_becomes_a_thumbnail() {
    let bench = Bench::new();
    let image = bench.prepare_with("image", |spec| {
        spec.environment.insert("QUALITY".to_owned(), "50".to_owned());
    });
    let image = image.await;
    // A picture of two by one pixels in PNG.
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\x03\x01\x01\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82";
    let reply = image.send("/?w=8&h=8&fit=exact&format=jpeg", Body::whole(png.to_vec()), LONG).await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.headers()["content-type"].to_str().unwrap()), (200, "image/jpeg"));
    assert!(read(reply).await.starts_with(&[0xff, 0xd8, 0xff]));
    let status =
        async |path: &str, body: &'static str| image.send(path, Body::from(body), LONG).await.unwrap().status();
    assert_eq!(status("/?w=zero", "x").await, 400);
    assert_eq!(status("/", "no picture").await, 415);
    assert_eq!(image.get("/").await.unwrap().status(), 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guest_sees_scheme_and_authority_and_only_its_own_environment() {
    let bench = Bench::new();
    let guest = bench.prepare_with("hostile", |spec| {
        spec.environment.insert("A".to_owned(), "1".to_owned());
    });
    let guest = guest.await;
    assert_eq!(guest.text("/env").await, r#"[("A", "1")]"#);
    assert_eq!(guest.text("/where").await, "http://shop.example");
    let request = http::Request::builder().uri("https://a.example:8443/where").body(Body::empty()).unwrap();
    assert_eq!(read(guest.call(request, LONG).await.unwrap()).await, "https://a.example:8443");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_guest_prints_becomes_lines_of_its_call() {
    let bench = Bench::new();
    let guest = bench.prepare("hostile").await;
    assert_eq!(guest.text("/log").await, "logged");
    bench.all_quiet().await;
    assert_eq!(bench.log.lines(LogStream::Stdout), ["out line", "no end"]);
    assert_eq!(bench.log.lines(LogStream::Stderr), ["err line"]);
    assert!(bench.log.all_belong_to_a_call());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_guest_is_named_as_the_one_who_failed() {
    let bench = Bench::new();
    let guest = bench.prepare("hostile").await;
    for (path, part) in [
        ("/trap", "panicked"),
        ("/exit", "exited with status"),
        ("/silent", "without an answer"),
        ("/error", "on purpose"),
        ("/headers?10000000", "exceeds limit"),
        ("/handles", "trapped|failed"),
        ("/random?1000000", "failed|trapped"),
        ("/short", "broke its reply off"),
    ] {
        let error = guest.get(path).await.unwrap_err();
        assert_eq!((error.code, error.origin), (Code::FunctionFailed, Origin::Function), "{path}: {error}");
        assert_eq!(error.reached, Reached::MaybeRan);
        assert!(part.split('|').any(|part| error.message().contains(part)), "{path}: {error}");
        assert_eq!(guest.text("/").await, "hello", "the next call is served after {path}");
    }
    bench.all_quiet().await;
    assert!(bench.log.says("panicked or aborted"), "the function's log has the platform's word");
    assert!(bench.log.says("trapped on purpose"), "and the guest's own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outbound_http_is_denied_and_said_so() {
    let bench = Bench::new();
    let guest = bench.prepare("hostile").await;
    assert!(guest.text("/outbound?127.0.0.1:1").await.contains("HttpRequestDenied"));
    assert!(bench.log.says("outbound HTTP to '127.0.0.1:1' is denied"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_are_all_served() {
    let bench = Bench::new();
    let hello = bench.prepare("hello").await;
    let replies = join_all((0..256).map(|_| hello.get("/"))).await;
    assert!(replies.into_iter().all(|reply| reply.unwrap().status() == 200));
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_are_judged_before_they_run() {
    let bench = Bench::new();
    let inspection = bench.runtime.inspect(guest("hello")).await.unwrap();
    assert!(inspection.world.starts_with("wasi:http/proxy@0.2."), "{inspection:?}");
    let inspection = bench.runtime.inspect(guest("hello-p3")).await.unwrap();
    assert!(inspection.world.starts_with("wasi:http/service@0.3."), "{inspection:?}");
    assert!(bench.runtime.inspect(guest("missing")).await.is_err());
}
