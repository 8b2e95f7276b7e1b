use std::sync::atomic::Ordering;

use onrush_catalog::CatalogStore as _;
use onrush_types::{ArtifactRef, NodeId};

use super::*;
use crate::testing::{Bench, bench};

fn wish(artifact: ArtifactRef) -> DeployWish {
    DeployWish {
        name: FunctionName::new("default".parse().unwrap(), "hello".parse().unwrap()),
        spec: FunctionSpec::new(RuntimeKind::Wasm, artifact),
        expected: None,
        request: RequestId::new(),
    }
}

async fn deploy(bench: &Bench, wish: DeployWish) -> Result<Deployed, ApiError> {
    bench.api.deploy(wish, Progress(None)).await
}

/// Whatever was refused must have left the catalog as it was.
async fn refused(bench: &Bench, wish: DeployWish, code: Code) -> String {
    let before = bench.store.watch().borrow().revision;
    let error = deploy(bench, wish).await.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    assert_eq!(bench.store.watch().borrow().revision, before, "a refusal changed the catalog");
    error.message
}

#[tokio::test]
async fn a_deploy_tells_its_steps_in_order_and_shows_the_new_version() {
    let bench = bench();
    bench.control.behind.lock().unwrap().extend([NodeId(1), NodeId(9)]);
    let (steps, mut listener) = mpsc::channel(16);
    let wish = wish(bench.artifacts.add(b"component"));
    let digest = wish.spec.artifact.digest;
    let done = bench.api.deploy(wish, Progress(Some(steps))).await.unwrap();
    let mut seen = Vec::new();
    while let Some(step) = listener.recv().await {
        seen.push(step.step);
    }
    assert_eq!(seen, ["inspecting", "compiling", "copying", "committing", "spreading"]);
    assert!(done.changed);
    assert_eq!(done.function.latest.number, VersionNumber(1));
    assert_eq!(done.function.latest.created_ms, 1_000);
    assert_eq!(done.laggards, ["node-1", "9"], "names where they are known, ids where not");
    assert_eq!(*bench.artifacts.secured.lock().unwrap(), [digest]);
}

#[tokio::test]
async fn a_repeated_request_returns_the_first_outcome_without_compiling_again() {
    let bench = bench();
    let wish = wish(bench.artifacts.add(b"component"));
    let first = deploy(&bench, wish.clone()).await.unwrap();
    let again = deploy(&bench, wish).await.unwrap();
    assert_eq!((again.revision, again.changed), (first.revision, true));
    assert_eq!(bench.runtime.prepared(), 1);
    assert_eq!(again.function.versions.len(), 1);
}

#[tokio::test]
async fn the_same_spec_under_a_new_request_changes_nothing() {
    let bench = bench();
    let artifact = bench.artifacts.add(b"component");
    deploy(&bench, wish(artifact)).await.unwrap();
    assert!(!deploy(&bench, wish(artifact)).await.unwrap().changed);
}

#[tokio::test]
async fn a_request_id_of_another_change_is_a_conflict() {
    let bench = bench();
    let request = RequestId::new();
    bench.api.set_voters(3, request).await.unwrap();
    let wish = DeployWish { request, ..wish(bench.artifacts.add(b"component")) };
    assert!(refused(&bench, wish, Code::Conflict).await.contains("another change"));
}

#[tokio::test]
async fn what_can_never_run_is_refused_and_nothing_changes() {
    let bench = bench();
    let artifact = bench.artifacts.add(b"component");
    let mut process = wish(artifact);
    process.spec.runtime = RuntimeKind::Process;
    assert!(refused(&bench, process, Code::BadRequest).await.contains("comes with a later release"));

    let mut secretive = wish(artifact);
    secretive.spec.secrets.push("s3-key".to_owned());
    assert!(refused(&bench, secretive, Code::BadRequest).await.contains("secrets"));

    let mut greedy = wish(artifact);
    greedy.spec.limits.memory = 1;
    assert!(refused(&bench, greedy, Code::BadRequest).await.contains("memory"));

    bench.runtime.refuse();
    assert_eq!(refused(&bench, wish(artifact), Code::BadRequest).await, "not a component");
    assert!(bench.artifacts.secured.lock().unwrap().is_empty(), "copied before it was checked");
}

#[tokio::test]
async fn an_artifact_that_nobody_has_is_named_with_what_to_do() {
    let bench = bench();
    let stranger = ArtifactRef { digest: onrush_types::Digest([1; 32]), size: 5 };
    assert!(refused(&bench, wish(stranger), Code::NotFound).await.contains("upload it first"));
    let unsized_one = ArtifactRef { size: 0, ..stranger };
    assert!(refused(&bench, wish(unsized_one), Code::NotFound).await.contains("say its size"));
}

#[tokio::test]
async fn a_size_that_is_left_out_is_the_uploads() {
    let bench = bench();
    let artifact = bench.artifacts.add(b"component");
    let done = deploy(&bench, wish(ArtifactRef { size: 0, ..artifact })).await.unwrap();
    assert_eq!(done.function.latest.spec.artifact, artifact);
}

#[tokio::test]
async fn too_few_copies_stop_a_deploy() {
    let bench = bench();
    let artifact = bench.artifacts.add(b"component");
    bench.artifacts.insecure.store(true, Ordering::SeqCst);
    refused(&bench, wish(artifact), Code::Unavailable).await;
}

#[tokio::test]
async fn a_function_that_moved_on_is_a_conflict_before_anything_is_compiled() {
    let bench = bench();
    let expected = Some(Revision(99));
    refused(&bench, DeployWish { expected, ..wish(bench.artifacts.add(b"component")) }, Code::Conflict).await;
    assert_eq!(bench.runtime.prepared(), 0);
}

#[tokio::test]
async fn without_a_quorum_a_deploy_is_unavailable_and_reads_go_on() {
    let bench = bench();
    deploy(&bench, wish(bench.artifacts.add(b"one"))).await.unwrap();
    bench.store.set_down(true);
    refused(&bench, wish(bench.artifacts.add(b"two")), Code::Unavailable).await;
    assert_eq!(bench.runtime.prepared(), 1, "compiled what could not be committed");
    assert_eq!(bench.api.list(None, false).await.unwrap().len(), 1);
    assert_eq!(bench.api.list(None, true).await.unwrap_err().code, Code::Unavailable);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_cancel_its_deploy() {
    let bench = bench();
    let wish = wish(bench.artifacts.add(b"component"));
    let mut deploying = Box::pin(deploy(&bench, wish.clone()));
    assert!(futures::poll!(&mut deploying).is_pending(), "it was over before anybody could hang up");
    drop(deploying);
    bench.api.drained().await;
    assert!(bench.api.describe(&wish.name, false).await.is_ok());
}
