//! What beginners and attackers do: each gets a clear error, nothing changes and the node goes on.

use std::{path::Path, time::Duration};

use onrush_tests::{Cluster, Member, NodeProcess, cluster::PATIENCE, guests, process, wait};

const EXE: &str = env!("CARGO_BIN_EXE_onrush");

fn write(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, bytes).expect("a writable directory");
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_component_is_refused_and_named() {
    let cluster = Cluster::start(EXE, 1).await;
    let hello = std::fs::read(guests::component("hello")).unwrap();
    let dir = cluster.root();
    let cases = [
        ("text", write(dir, "text.wasm", b"hello, I am no wasm"), "wasm component"),
        ("empty", write(dir, "empty.wasm", b""), "empty"),
        ("module", write(dir, "module.wasm", b"\0asm\x01\0\0\0"), "core WebAssembly module"),
        ("component", write(dir, "component.wasm", b"\0asm\x0d\0\x01\0"), "wasi:http"),
        ("cut", write(dir, "cut.wasm", &hello[..hello.len() / 2]), "wasm"),
    ];
    for (name, file, expected) in cases {
        let output = cluster.onrush(0, &["deploy", name, "--wasm", &file]).await;
        assert_eq!(output.code, 1, "{name}: {output:?}");
        assert!(output.stderr.contains(expected), "{name}: {}", output.stderr);
    }
    let list = cluster.onrush(0, &["list", "-o", "json"]).await.json();
    assert_eq!(list, serde_json::json!([]));
    let named = cluster.onrush(0, &["deploy", "No_Label", "--wasm", "x.wasm"]).await;
    assert_ne!(named.code, 0);
    assert!(named.stderr.contains("No_Label"), "{}", named.stderr);
    let missing = cluster.onrush(0, &["deploy", "hello", "--wasm", "there-is-none.wasm"]).await;
    assert!(missing.code != 0 && missing.stderr.contains("there-is-none.wasm"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_off_or_lies_about_its_digest_leaves_nothing() {
    let cluster = Cluster::start(EXE, 1).await;
    let hello = std::fs::read(guests::component("hello")).unwrap();
    let url = format!("{}/v1/artifacts/{}", cluster.members[0].api(), "0".repeat(64));
    let lied = cluster.http.put(&url).body(hello.clone()).send().await.unwrap();
    assert_eq!(lied.status(), 400, "{}", lied.text().await.unwrap());
    let chunks = [Ok(hello[..100].to_vec()), Err(std::io::Error::other("cut off"))];
    let body = reqwest::Body::wrap_stream(tokio_stream::iter(chunks));
    assert!(cluster.http.put(&url).body(body).send().await.is_err());
    let left = async || {
        let files = files_under(&cluster.members[0].dir().join("artifacts"));
        if files.is_empty() { Ok(()) } else { Err(format!("{files:?}")) }
    };
    wait::until("the store to be empty", PATIENCE, left).await;
    cluster.deploy(0, "hello", "hello", &[]).await;
    assert_eq!(cluster.call(0, "/function/hello").await.unwrap().0, 200);
}

fn files_under(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_cannot_succeed_are_answered_with_who_is_at_fault() {
    let cluster = Cluster::start(EXE, 1).await;
    cluster.deploy(0, "hello", "hello", &[]).await;
    for (path, expected) in [
        ("/function/nobody", 404),
        ("/function/hello.elsewhere", 404),
        ("/function/hello@9", 404),
        ("/function/Not_A_Label", 400),
        ("/nowhere", 404),
    ] {
        let reply = cluster.http.get(format!("{}{path}", cluster.members[0].gateway())).send().await.unwrap();
        assert_eq!(reply.status(), expected, "{path}");
        assert_eq!(reply.headers()["x-onrush-error-origin"], "platform", "{path}");
        let error: serde_json::Value = reply.json().await.unwrap();
        for key in ["code", "message", "invocation", "origin"] {
            assert!(error.get(key).is_some(), "{path}: {key} is missing in {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_that_misbehave_fail_alone() {
    let cluster = Cluster::start(EXE, 1).await;
    cluster.deploy(0, "hello", "hello", &[]).await;
    cluster.deploy(0, "hostile", "hostile", &["--timeout", "500ms", "--memory", "16MiB"]).await;
    for (path, expected) in [
        ("/function/hostile/trap", 502),
        ("/function/hostile/spin", 504),
        ("/function/hostile/allocate", 502),
        ("/function/hostile/silent", 502),
        ("/function/hostile/headers?10000000", 502),
    ] {
        let reply = cluster.http.get(format!("{}{path}", cluster.members[0].gateway())).send().await.unwrap();
        assert_eq!(reply.status(), expected, "{path}: {}", reply.text().await.unwrap());
        assert_eq!(cluster.call(0, "/function/hello").await.unwrap().0, 200, "after {path}");
    }
    let health = cluster.http.get(format!("{}/healthz", cluster.members[0].gateway())).send().await.unwrap();
    assert_eq!(health.status(), 200);
}

/// Starts a node that must fail, and returns what it logged.
async fn refused(member: &Member, arguments: Vec<String>) -> String {
    let mut process = NodeProcess::start(EXE.as_ref(), &arguments, &member.log_path());
    assert_eq!(process.ended(PATIENCE).await, 1, "{}", process.log());
    process.log()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_a_foreign_directory_are_named() {
    let root = tempfile::tempdir().unwrap();
    let member = Member::new("a", root.path());
    let taken = std::net::TcpListener::bind(member.peer()).unwrap();
    let log = refused(&member, member.arguments(&[])).await;
    assert!(log.contains("in use") && log.contains(&member.peer()), "{log}");
    drop(taken);
    let foreign = Member::new("b", root.path());
    std::fs::create_dir_all(foreign.dir()).unwrap();
    std::fs::write(foreign.dir().join("holiday.txt"), "not a node's data").unwrap();
    let log = refused(&foreign, foreign.arguments(&[])).await;
    assert!(log.contains(&foreign.dir().display().to_string()) && log.contains("holiday.txt"), "{log}");
    let file = Member::new("c", root.path());
    std::fs::write(file.dir(), "a file").unwrap();
    let log = refused(&file, file.arguments(&[])).await;
    assert!(log.contains(&file.dir().display().to_string()), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_does_not_resolve_is_named_while_the_node_waits() {
    let root = tempfile::tempdir().unwrap();
    let member = Member::new("a", root.path());
    let seeds = [member.peer(), "no-such-host.invalid:7071".to_owned()];
    let mut process = NodeProcess::start(EXE.as_ref(), &member.arguments(&seeds), &member.log_path());
    let named = async || {
        let log = process.log();
        if log.contains("no-such-host.invalid") { Ok(()) } else { Err(log) }
    };
    wait::until("the log to name the seed", PATIENCE, named).await;
    let readiness = reqwest::get(format!("{}/readyz", member.gateway())).await.unwrap();
    assert_eq!(readiness.status(), 503);
    assert!(readiness.text().await.unwrap().contains("no-such-host.invalid"));
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_data_directory_is_noticed() {
    let cluster = Cluster::start(EXE, 1).await;
    std::fs::create_dir_all(cluster.root().join("thief")).unwrap();
    let mut thief = Member::new("n1", &cluster.root().join("thief"));
    // The directory itself, while its owner runs.
    let arguments: Vec<_> = thief
        .arguments(cluster.seeds())
        .into_iter()
        .map(|argument| {
            let (own, theirs) = (thief.dir().display().to_string(), cluster.members[0].dir().display().to_string());
            if argument == own { theirs } else { argument }
        })
        .collect();
    let log = refused(&thief, arguments).await;
    assert!(log.contains("another process"), "{log}");
    // A copy of it, started elsewhere, meets its owner.
    copy(cluster.members[0].dir(), thief.dir());
    thief.process = Some(NodeProcess::start(EXE.as_ref(), &thief.arguments(cluster.seeds()), &thief.log_path()));
    assert_eq!(thief.running().ended(PATIENCE).await, 1, "{}", thief.running().log());
    assert!(thief.running().log().contains("another"), "{}", thief.running().log());
    assert!(cluster.call(0, "/healthz").await.is_ok());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a writable directory");
    for entry in std::fs::read_dir(from).expect("a readable directory").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a readable file");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beginners_are_told_what_to_do() {
    let nobody = process::run(EXE.as_ref(), &["--api", "http://127.0.0.1:1", "list"]).await;
    assert_eq!(nobody.code, 1);
    assert!(nobody.stderr.contains("onrush dev"), "{}", nobody.stderr);
    let usage = process::run(EXE.as_ref(), &["deploi"]).await;
    assert_eq!(usage.code, 2);
    let secure = process::run(EXE.as_ref(), &["start", "--data-dir", "/nonexistent/onrush"]).await;
    assert!(secure.code != 0 && secure.stderr.contains("--insecure"), "{}", secure.stderr);
    let help = process::run(EXE.as_ref(), &["deploy", "--help"]).await.success();
    assert!(help.contains("onrush deploy"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_runs_one_component_and_stops_calmly() {
    let file = guests::component("hello").display().to_string();
    let mut child = tokio::process::Command::new(EXE)
        .args(["serve", &file, "--addr", "127.0.0.1:0"])
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let stderr = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = tokio::io::AsyncBufReadExt::lines(stderr);
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    let url = first.strip_prefix("Serving HTTP on ").unwrap_or_else(|| panic!("the first line is {first:?}"));
    assert_eq!(reqwest::get(url).await.unwrap().status(), 200);
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}
