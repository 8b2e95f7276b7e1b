//! `deploy` and `up`: upload, then ask for the new version and show how it goes; then the manifest's routes.

use std::path::Path;

use futures::stream;
use onrush_api::shapes::{DeployedShape, RouteSetShape};
use onrush_proto::v1::{
    DeployRequest, FunctionSpec as WireSpec, UploadHead, UploadRequest, deploy_event::Event, upload_request::Part,
};
use onrush_types::{Code, FunctionName, FunctionSpec, Label, Limits, RequestId, RuntimeKind};
use serde::Serialize;

use super::{Caller, build, routes};
use crate::{
    args::{Deploy, Format, LimitFlags, Up},
    artifact::{self, Artifact},
    client::{Client, function, reference},
    failure::Failure,
    manifest::{Manifest, Route},
    output,
    progress::Progress,
};

/// Bytes per message of an upload.
const CHUNK: usize = 256 << 10;

/// One function that is about to be deployed.
struct Wish {
    name: FunctionName,
    artifact: Artifact,
    spec: FunctionSpec,
}

pub(super) async fn run(caller: &Caller, verb: &Deploy) -> Result<(), Failure> {
    if verb.process.is_some() {
        return Err(Failure::Usage("--process comes with a later release; this one runs --wasm components".to_owned()));
    }
    if let (Some(name), Some(file)) = (&verb.name, &verb.wasm) {
        let name = function(name, caller.namespace.as_deref())?;
        let artifact = artifact::read(file)?;
        let spec = spec_of(&verb.limits, &artifact);
        let client = caller.connect().await?;
        let deployed = deploy(caller, &client, vec![Wish { name, artifact, spec }]).await?;
        return answer(caller, deployed, Vec::new(), true);
    }
    let file = verb.file.as_deref().unwrap_or(Path::new("onrush.toml"));
    from_manifest(caller, &Manifest::read(file)?, verb.name.as_deref()).await
}

pub(super) async fn up(caller: &Caller, verb: &Up) -> Result<(), Failure> {
    let manifest = Manifest::read(&verb.file)?;
    for (name, function) in manifest.chosen(verb.name.as_deref())? {
        build::one(&manifest, name, function)?;
    }
    from_manifest(caller, &manifest, verb.name.as_deref()).await
}

async fn from_manifest(caller: &Caller, manifest: &Manifest, name: Option<&str>) -> Result<(), Failure> {
    let mut wishes = Vec::new();
    for (label, function) in manifest.chosen(name)? {
        let artifact = artifact::read(&manifest.directory.join(&function.source))?;
        let spec = function.spec(artifact.id);
        wishes.push(Wish { name: in_namespace(caller, label)?, artifact, spec });
    }
    let client = caller.connect().await?;
    let deployed = deploy(caller, &client, wishes).await?;
    let namespace = routes::namespace(caller)?;
    let of_these = |route: &&Route| name.is_none_or(|name| route.spec.function.as_str() == name);
    let chosen: Vec<_> = manifest.routes.iter().filter(of_these).collect();
    let (set, outcome) = routes::apply(&client, &namespace, &chosen).await;
    if caller.format == Format::Table {
        set.iter().try_for_each(|set| output::line(routes::told(set)))?;
    }
    routes::tell_leftovers(&client, &namespace, manifest).await;
    answer(caller, deployed, set, name.is_some())?;
    outcome
}

fn in_namespace(caller: &Caller, name: &Label) -> Result<FunctionName, Failure> {
    Ok(reference(name.as_str(), caller.namespace.as_deref())?.function)
}

fn spec_of(flags: &LimitFlags, artifact: &Artifact) -> FunctionSpec {
    let defaults = Limits::default();
    FunctionSpec {
        limits: Limits {
            timeout: flags.timeout.unwrap_or(defaults.timeout),
            memory: flags.memory.map_or(defaults.memory, |memory| memory.as_u64()),
            concurrency: flags.concurrency,
            reuse: flags.reuse.unwrap_or(defaults.reuse),
            streaming: flags.streaming,
        },
        environment: flags.env.iter().cloned().collect(),
        egress: flags.egress.clone(),
        idempotent: flags.idempotent,
        ..FunctionSpec::new(RuntimeKind::Wasm, artifact.id)
    }
}

/// A function that was deployed, with its routes of the manifest.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    function: DeployedShape,
    routes: Vec<RouteSetShape>,
}

/// For programs; people were told all along.
fn answer(caller: &Caller, deployed: Vec<DeployedShape>, set: Vec<RouteSetShape>, single: bool) -> Result<(), Failure> {
    if caller.format == Format::Table {
        return Ok(());
    }
    let answer = |function: DeployedShape| {
        let routes = set.iter().filter(|set| set.route.function == function.function.name).cloned().collect();
        Answer { function, routes }
    };
    let answers: Vec<_> = deployed.into_iter().map(answer).collect();
    if single { answers.first().map_or(Ok(()), output::json) } else { output::json(&answers) }
}

async fn deploy(caller: &Caller, client: &Client, wishes: Vec<Wish>) -> Result<Vec<DeployedShape>, Failure> {
    let mut done = Vec::new();
    for wish in wishes {
        if !wish.spec.egress.is_empty() {
            eprintln!("warning: {}: egress is kept but opens nothing yet: functions have no network", wish.name);
        }
        let progress = Progress::new(caller.format);
        upload(client, &wish, &progress).await?;
        let deployed = commit(client, &wish, &progress).await?;
        drop(progress);
        if caller.format == Format::Table {
            report(client, &wish.name, &deployed).await?;
        }
        done.push(deployed);
    }
    Ok(done)
}

async fn upload(client: &Client, wish: &Wish, progress: &Progress) -> Result<(), Failure> {
    let Artifact { bytes, id } = &wish.artifact;
    progress.sending(&wish.name.to_string(), id.size);
    let head = UploadHead { digest: id.digest.to_string(), size: id.size };
    // A stream that counts what leaves; the transport asks for a message when there is room for it.
    let counted = match progress {
        Progress::Moving(bar) => Some(bar.clone()),
        Progress::Lines | Progress::Silent => None,
    };
    let rest = bytes.clone();
    let messages = stream::unfold((Some(Part::Head(head)), rest), move |(next, mut rest)| {
        let counted = counted.clone();
        async move {
            let part = match next {
                Some(head) => head,
                None if rest.is_empty() => return None,
                None => Part::Data(rest.split_to(rest.len().min(CHUNK))),
            };
            if let (Some(bar), Part::Data(data)) = (&counted, &part) {
                bar.inc(data.len() as u64);
            }
            Some((UploadRequest { part: Some(part) }, (None, rest)))
        }
    });
    client.functions().upload(messages).await?;
    Ok(())
}

async fn commit(client: &Client, wish: &Wish, progress: &Progress) -> Result<DeployedShape, Failure> {
    let request = DeployRequest {
        namespace: wish.name.namespace.to_string(),
        name: wish.name.name.to_string(),
        spec: Some(wire(&wish.spec)),
        expected_revision: None,
        request_id: RequestId::new().to_string(),
    };
    let mut events = client.functions().deploy(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Event::Step(step)) => {
                let detail = if step.detail.is_empty() { String::new() } else { format!(" ({})", step.detail) };
                progress.step(format!("{}: {}{detail}", wish.name, step.step));
            }
            Some(Event::Done(done)) => return Ok(done.into()),
            None => {}
        }
    }
    let why = "the node ended the deploy without an outcome; `onrush describe` shows whether it took effect";
    Err(Failure::new(Code::OutcomeUnknown, why))
}

fn wire(spec: &FunctionSpec) -> WireSpec {
    WireSpec {
        runtime: spec.runtime.name().to_owned(),
        digest: spec.artifact.digest.to_string(),
        size: spec.artifact.size,
        timeout_ms: u64::try_from(spec.limits.timeout.as_millis()).unwrap_or(u64::MAX),
        memory_bytes: spec.limits.memory,
        concurrency: spec.limits.concurrency.unwrap_or(0),
        reuse: spec.limits.reuse,
        streaming: spec.limits.streaming,
        idempotent: spec.idempotent,
        environment: spec.environment.clone(),
        secrets: spec.secrets.clone(),
        egress: spec.egress.clone(),
    }
}

async fn report(client: &Client, name: &FunctionName, deployed: &DeployedShape) -> Result<(), Failure> {
    let version = deployed.function.latest.version;
    let verb = if deployed.changed { "deployed" } else { "unchanged" };
    output::line(format_args!("{verb} {name} version {version} (revision {})", deployed.catalog_revision))?;
    if !deployed.laggards.is_empty() {
        eprintln!("these nodes are behind and will follow: {}", deployed.laggards.join(", "));
    }
    // A hint only: whatever is wrong with it must not make a deploy look failed.
    if let Ok(gateway) = client.gateway().await {
        output::line(format_args!("call it: curl {gateway}/function/{}", path_of(name)))?;
    }
    Ok(())
}

/// A function as the gateway's paths spell it.
pub(super) fn path_of(name: &FunctionName) -> String {
    if name.namespace.as_str() == onrush_types::DEFAULT_NAMESPACE {
        return name.name.to_string();
    }
    name.to_string()
}
