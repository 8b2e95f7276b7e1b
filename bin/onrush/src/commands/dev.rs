//! `dev`: a cluster on loopback. Each node is a process of its own, so that one can be killed to see what happens.

mod child;
mod ports;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use onrush_types::Code;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::timeout,
};

use self::{child::Child, ports::Ports};
use crate::{
    args::{Dev, Format},
    failure::Failure,
    output,
};

/// How long the nodes may take to form their cluster.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(verb: Dev, format: Format) -> Result<(), Failure> {
    let ports: Vec<Ports> = (0..verb.nodes).map(|node| Ports::of(node, verb.port_offset)).collect();
    ports.iter().try_for_each(Ports::check)?;
    // Held to the end: dropping it removes the directory.
    let (directory, _temporary) = directory(verb.data_dir)?;
    enough(&directory, verb.nodes)?;
    let seeds: Vec<String> = ports.iter().take(3).map(|ports| ports.peer().to_string()).collect();
    let voters = if ports.len() < 3 { 1 } else { 3 };

    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut stop = async move || {
        tokio::select! { _ = interrupts.recv() => {}, _ = terminations.recv() => {} }
    };
    let mut children = Vec::new();
    for (node, ports) in ports.iter().enumerate() {
        children.push(Child::start(node + 1, &directory, ports, (&seeds, voters))?);
    }
    let outcome = tokio::select! {
        outcome = serve(&mut children, &ports, format) => outcome,
        () = stop() => Ok(()),
    };
    eprintln!("stopping the nodes; Ctrl-C again ends them at once");
    tokio::select! {
        () = end(&mut children) => {}
        () = stop() => children.iter_mut().for_each(Child::kill),
    }
    outcome
}

/// Waits until all serve, says so, and then until none is left.
async fn serve(children: &mut [Child], ports: &[Ports], format: Format) -> Result<(), Failure> {
    let all = async {
        for child in &mut *children {
            child.ready().await?;
        }
        Ok::<_, Failure>(())
    };
    let slow = |_| {
        let why = format!("the nodes did not form a cluster within {PATIENCE:?}; their log lines above say why");
        Failure::new(Code::DeadlineExceeded, why)
    };
    timeout(PATIENCE, all).await.map_err(slow)??;
    announce(ports, format)?;
    let mut ends: FuturesUnordered<_> = children
        .iter_mut()
        .map(|child| async {
            let status = child.wait().await;
            (&child.name, status)
        })
        .collect();
    while let Some((name, status)) = ends.next().await {
        let others = if ends.is_empty() { "it was the last one" } else { "the others go on" };
        eprintln!("{name} has ended ({status}); {others}");
    }
    Err(Failure::new(Code::Unavailable, "every node has ended"))
}

fn announce(ports: &[Ports], format: Format) -> Result<(), Failure> {
    let name = |node: usize| format!("node-{}", node + 1);
    if format == Format::Json {
        let node = |(node, ports): (usize, &Ports)| {
            serde_json::json!({
                "name": name(node),
                "gateway": format!("http://{}", ports.gateway()),
                "api": format!("http://{}", ports.api()),
                "peer": ports.peer().to_string(),
            })
        };
        return output::json_line(&ports.iter().enumerate().map(node).collect::<Vec<_>>());
    }
    let rows = ports.iter().enumerate().map(|(node, ports)| {
        [name(node), format!("http://{}", ports.gateway()), format!("http://{}", ports.api()), ports.peer().to_string()]
    });
    output::line(output::table(["NODE", "GATEWAY", "API", "PEER"], rows))?;
    let api = match ports.first() {
        Some(first) if first.api().port() != 7070 => format!(" --api http://{}", first.api()),
        Some(_) | None => String::new(),
    };
    output::line(format_args!(
        "\nnext, in another terminal:\n  onrush cluster status{api}\n  onrush new hello && cd hello && onrush up{api}\n  \
         onrush invoke hello{api}\n\nCtrl-C stops all"
    ))
}

async fn end(children: &mut [Child]) {
    let mut waiting = JoinSet::new();
    for child in children {
        child.terminate();
        waiting.spawn(child.gone());
    }
    while waiting.join_next().await.is_some() {}
}

/// Fewer nodes than last time would wait for a quorum that never comes.
fn enough(directory: &Path, nodes: u16) -> Result<(), Failure> {
    let before = (1..=64).rev().find(|node| directory.join(format!("node-{node}")).is_dir()).unwrap_or(0);
    if nodes >= before {
        return Ok(());
    }
    let shown = directory.display();
    let why = format!("{shown} is of a cluster of {before} nodes: start it with --nodes {before}, or take another one");
    Err(Failure::Usage(format!("--data-dir: {why}")))
}

/// Where the nodes keep everything, and what removes it again if nobody asked for a place.
fn directory(wanted: Option<PathBuf>) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    if let Some(directory) = wanted {
        let failed = |error| Failure::here(format!("--data-dir {}: {error}", directory.display()));
        std::fs::create_dir_all(&directory).map_err(failed)?;
        return Ok((directory, None));
    }
    let temporary = tempfile::Builder::new().prefix("onrush-dev-").tempdir();
    let temporary = temporary.map_err(|error| Failure::here(format!("no temporary directory: {error}")))?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_not_restarted_with_fewer_nodes() {
        let home = tempfile::tempdir().unwrap();
        enough(home.path(), 1).unwrap();
        for node in 1..=3 {
            std::fs::create_dir(home.path().join(format!("node-{node}"))).unwrap();
        }
        enough(home.path(), 3).unwrap();
        enough(home.path(), 5).unwrap();
        let Err(Failure::Usage(why)) = enough(home.path(), 2) else { panic!("two of three were started") };
        assert!(why.contains("--nodes 3"), "{why}");
    }
}
