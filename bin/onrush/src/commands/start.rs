//! `start`: the only file that knows how a node is started.

use std::path::Path;

use onrush_node::{Node, Raw, Settings, telemetry};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{args::Start, failure::Failure, output};

const WARNING: &str = "\
WARNING: --insecure: everything is plain text and nobody is asked for credentials.
WARNING: whoever reaches this node's ports can run code on it. Use it only in networks that you trust.";

pub(super) fn run(verb: Start) -> Result<(), Failure> {
    if verb.die_with_parent {
        set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|error| Failure::here(format!("--die-with-parent: {error}")))?;
    }
    let raw = raw(verb)?;
    telemetry::init_logs(raw.log.as_deref().unwrap_or(telemetry::USUAL_FILTER), raw.log_format.unwrap_or_default())
        .map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let settings = raw.resolve().map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure::Usage(problems.join("\n       "))
    })?;
    eprintln!("{WARNING}");
    let runtime = super::threads::io_threads(settings.tune.node.io_threads)?;
    runtime.block_on(serve(settings))
}

/// The file, then the environment, then the flags: the later ones win.
fn raw(verb: Start) -> Result<Raw, Failure> {
    let file = match verb.config.as_deref().map(Path::new) {
        Some(path) => Raw::from_file(path).map_err(|error| Failure::Usage(format!("{error:#}")))?,
        None => Raw::default(),
    };
    let environment = Raw::from_environment().map_err(|problem| Failure::Usage(problem.to_string()))?;
    Ok(file.merge(environment).merge(flags(verb)))
}

fn flags(verb: Start) -> Raw {
    Raw {
        name: verb.name,
        data_dir: verb.data_dir,
        seeds: Some(verb.seeds).filter(|seeds| !seeds.is_empty()),
        gateway: verb.gateway,
        api: verb.api,
        peer: verb.peer,
        advertise: verb.advertise,
        voters: verb.voters,
        roles: verb.roles,
        zone: verb.zone,
        insecure: verb.insecure.then_some(true),
        process_isolation: verb.process_isolation,
        join_token: verb.join_token,
        ..Raw::default()
    }
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut signalled = async move || {
        tokio::select! { _ = interrupts.recv() => {}, _ = terminations.recv() => {} }
    };
    let node = tokio::select! {
        node = Node::start(settings) => node?,
        () = signalled() => return Ok(()),
    };
    let addresses = node.addresses();
    output::line(format_args!("gateway http://{}", addresses.gateway))?;
    output::line(format_args!("api http://{}", addresses.api))?;
    output::line(format_args!("peer {}", addresses.peer))?;
    let stop = CancellationToken::new();
    let ready = node.ready();
    let running = Box::pin(node.run(stop.clone()));
    tokio::pin!(running, ready);
    let mut serves = false;
    loop {
        tokio::select! {
            outcome = &mut running => return Ok(outcome?),
            () = &mut ready, if !serves => {
                serves = true;
                output::line("ready")?;
            }
            () = signalled() => {
                if stop.is_cancelled() {
                    eprintln!("second signal: ending at once");
                    std::process::exit(1);
                }
                eprintln!("draining; a second signal ends the node at once");
                stop.cancel();
            }
        }
    }
}
