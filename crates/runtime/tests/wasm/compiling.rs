//! From a file to code that runs.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use onrush_runtime::{
    PrepareError, Runtime,
    wasm::{Compiler, Config, compile_component},
};

use super::bench::{Bench, guest};

fn compiled(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
}

/// A program that does what `script` says with IN ($2) and OUT ($3).
fn program(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("compiler");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// This test's own executable as the compiling process.
fn this_program(folder: &Path) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let script = format!(
        "export ONRUSH_TEST_IN=\"$2\" ONRUSH_TEST_OUT=\"$3\"\n\
         exec {} --exact compiling::compiling_process --ignored >/dev/null",
        this.display()
    );
    program(folder, &script)
}

#[test]
#[ignore = "it is the compiling process of another test"]
fn compiling_process() {
    let arguments = ["ONRUSH_TEST_IN", "ONRUSH_TEST_OUT"].map(|name| std::env::var_os(name).unwrap());
    let status = compile_component(arguments);
    // An exit status says nothing of its number in stable Rust: compare what it prints.
    let unfit = format!("{status:?}") == format!("{:?}", std::process::ExitCode::from(65));
    std::process::exit(if unfit {
        65
    } else {
        i32::from(format!("{status:?}") != format!("{:?}", std::process::ExitCode::SUCCESS))
    });
}

fn child_bench(script: impl FnOnce(&Path) -> PathBuf, config: Config) -> (Bench, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path());
    let config = Config { compiler: Compiler::Child(program), ..config };
    (Bench::in_folder(config, folder.path().join("cache")), folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_of_its_own_compiles_and_the_result_is_kept() {
    let (bench, folder) = child_bench(this_program, Config::default());
    for name in ["hello", "hello-p3"] {
        let guest = bench.prepare(name).await;
        assert!(guest.text("/").await.starts_with("Hello from Onrush"));
    }
    let kept = compiled(&folder.path().join("cache"));
    assert_eq!(kept.len(), 2);

    // The next start finds it: a compiler that cannot work is not asked.
    let config = Config { compiler: Compiler::Child("/nowhere/compiler".into()), ..Config::default() };
    let again = Bench::in_folder(config, folder.path().join("cache"));
    assert!(again.prepare("hello").await.text("/").await.starts_with("Hello from Onrush"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_compiling_process_is_killed_when_it_takes_too_long() {
    let config = Config { compile_time: Duration::from_millis(200), ..Config::default() };
    let (bench, _folder) = child_bench(|folder| program(folder, "exec sleep 600"), config);
    let error = bench.try_prepare(bench.artifact("hello", |_| {})).await.err().unwrap();
    assert!(matches!(&error, PrepareError::Failed(text) if text.contains("longer than 200ms")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compiler_that_dies_fails_the_component_and_nothing_else() {
    let (bench, _folder) = child_bench(|folder| program(folder, "kill -9 $$"), Config::default());
    let error = bench.try_prepare(bench.artifact("hello", |_| {})).await.err().unwrap();
    assert!(matches!(&error, PrepareError::Failed(text) if text.contains("signal")), "{error}");
    let (bench, _folder) = child_bench(|folder| program(folder, "echo 'it is odd' >&2; exit 65"), Config::default());
    let error = bench.try_prepare(bench.artifact("hello", |_| {})).await.err().unwrap();
    assert_eq!(error, PrepareError::Unfit("it is odd".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_import_is_named() {
    let bench = Bench::new();
    let source = r#"(component
        (import "acme:stock/prices@1.0.0" (instance (export "get" (func))))
        (instance $handler)
        (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#;
    let path = bench.cache.path().join("importing.wasm");
    std::fs::write(&path, wat::parse_str(source).unwrap()).unwrap();
    let mut artifact = bench.artifact("hello", |_| {});
    artifact.digest = super::bench::digest(&path);
    artifact.path = path;
    let error = bench.try_prepare(artifact).await.err().unwrap();
    let PrepareError::Unfit(text) = error else { panic!("{error}") };
    assert!(text.contains("imports acme:stock/prices@1.0.0, which Onrush does not provide"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_component_is_compiled_once_however_many_ask() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::in_folder(Config::default(), folder.path().to_owned());
    let prepared = futures::future::join_all((0..8).map(|_| bench.try_prepare(bench.artifact("hello", |_| {})))).await;
    assert!(prepared.iter().all(Result::is_ok));
    assert_eq!(compiled(folder.path()).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_before_it_is_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::in_folder(Config { component_bytes: 1000, ..Config::default() }, folder.path().to_owned());
    let error = bench.try_prepare(bench.artifact("hello", |_| {})).await.err().unwrap();
    assert!(matches!(&error, PrepareError::Unfit(text) if text.contains("too large")), "{error}");
    assert!(bench.runtime.inspect(guest("hello")).await.is_err());
}
