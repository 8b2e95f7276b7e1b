//! Clusters of the program under measurement, used as everybody uses them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    bench::Bench,
    process::{Server, free_port},
};

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) server: Option<Server>,
    arguments: Vec<String>,
    core: usize,
    gateway: u16,
    api: u16,
    log: PathBuf,
}

/// What a cluster shall look like.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The roles of each node; empty means all.
    pub(crate) roles: Vec<&'static str>,
    /// The core of each node; the last one goes for the rest.
    pub(crate) cores: Vec<usize>,
    /// `[tune]` of the settings file.
    pub(crate) tune: String,
}

impl Plan {
    /// Nodes that do everything, on the servers' core.
    pub(crate) fn of(bench: &Bench, nodes: usize) -> Self {
        Self { roles: vec![""; nodes], cores: vec![bench.cores.server], tune: String::new() }
    }
}

/// Nodes with one seed list.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    onrush: PathBuf,
    root: TempDir,
}

impl Node {
    /// `http://127.0.0.1:PORT` of its gateway.
    pub(crate) fn gateway(&self) -> String {
        format!("http://127.0.0.1:{}", self.gateway)
    }

    /// `http://127.0.0.1:PORT` of its API.
    pub(crate) fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }

    /// Its process.
    pub(crate) fn running(&self) -> anyhow::Result<&Server> {
        self.server.as_ref().with_context(|| format!("{} does not run", self.name))
    }

    fn start(&mut self, onrush: &Path) -> anyhow::Result<()> {
        self.server = Some(Server::start(self.core, onrush, &self.arguments, &self.log)?);
        Ok(())
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let server = self.server.as_mut().with_context(|| format!("{} does not run", self.name))?;
        server.until("`ready`", async |said| said.lines().any(|line| line == "ready")).await
    }
}

impl Cluster {
    /// Starts it and waits until all serve.
    pub(crate) async fn start(bench: &Bench, plan: &Plan) -> anyhow::Result<Self> {
        let root = tempfile::tempdir().context("a temporary directory")?;
        let config = root.path().join("node.toml");
        std::fs::write(&config, &plan.tune)?;
        let peers = plan.roles.iter().map(|_| free_port()).collect::<anyhow::Result<Vec<_>>>()?;
        let votes = |role: &str| role.is_empty() || role.contains("control");
        let voters: Vec<_> =
            plan.roles.iter().zip(&peers).filter(|(role, _)| votes(role)).map(|(_, port)| port).collect();
        let mut nodes = Vec::new();
        for (index, (role, peer)) in plan.roles.iter().zip(&peers).enumerate() {
            let (name, gateway, api) = (format!("n{}", index + 1), free_port()?, free_port()?);
            let mut words = format!(
                "start --insecure --name {name} --voters {} --gateway 127.0.0.1:{gateway} --api 127.0.0.1:{api} --peer 127.0.0.1:{peer}",
                if voters.len() >= 3 { 3 } else { 1 }
            );
            for seed in &voters {
                words += &format!(" --seed 127.0.0.1:{seed}");
            }
            if !role.is_empty() {
                words += &format!(" --roles {role}");
            }
            let mut arguments: Vec<_> = words.split(' ').map(str::to_owned).collect();
            let data = root.path().join(&name);
            arguments.extend(["--config".to_owned(), config.display().to_string()]);
            arguments.extend(["--data-dir".to_owned(), data.display().to_string()]);
            let core = plan.cores.get(index).or(plan.cores.last()).copied().unwrap_or(bench.cores.server);
            let log = data.with_extension("log");
            nodes.push(Node { name, server: None, arguments, core, gateway, api, log });
        }
        let mut cluster = Self { nodes, onrush: bench.places.onrush.clone(), root };
        for node in &mut cluster.nodes {
            node.start(&cluster.onrush)?;
        }
        for node in &mut cluster.nodes {
            node.ready().await?;
        }
        for node in &cluster.nodes {
            cluster.sees_all(bench, node).await?;
        }
        Ok(cluster)
    }

    /// Waits until a node knows that all the others serve.
    pub(crate) async fn sees_all(&self, bench: &Bench, node: &Node) -> anyhow::Result<()> {
        let mut status = Value::Null;
        for _ in 0..600 {
            status = self.status(bench, node).await.unwrap_or_default();
            let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
            if nodes.iter().filter(|node| node["ready"] == true).count() >= self.nodes.len() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        bail!("{} does not see all nodes: {status}", node.name)
    }

    /// The cluster as one node sees it.
    pub(crate) async fn status(&self, bench: &Bench, node: &Node) -> anyhow::Result<Value> {
        let reply = bench.http.get(format!("{}/v1/cluster", node.api())).send().await?;
        Ok(serde_json::from_slice(&reply.bytes().await?)?)
    }

    /// The index of the leader, as one node sees it.
    pub(crate) async fn leader(&self, bench: &Bench, asked: usize) -> anyhow::Result<usize> {
        for _ in 0..600 {
            let status = self.status(bench, &self.nodes[asked]).await.unwrap_or_default();
            let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
            let leader = nodes.iter().find(|node| node["id"].is_u64() && node["id"] == status["leader"]);
            let index = leader.and_then(|leader| self.nodes.iter().position(|node| leader["name"] == *node.name));
            if let Some(index) = index.filter(|index| self.nodes[*index].server.is_some()) {
                return Ok(index);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        bail!("no leader within 30 s")
    }

    /// Runs a client command against the first node.
    pub(crate) async fn onrush(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.onrush)
            .args(arguments)
            .args(["--api", &self.nodes[0].api()])
            .current_dir(self.root.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        if !output.status.success() {
            bail!("`onrush {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Deploys a guest.
    pub(crate) async fn deploy(&self, bench: &Bench, name: &str, guest: &str, more: &[&str]) -> anyhow::Result<()> {
        let file = bench.guest(guest)?.display().to_string();
        self.onrush(&[&["deploy", name, "--wasm", &file], more].concat()).await?;
        for node in &self.nodes {
            self.called(bench, &format!("{}/function/{name}", node.gateway())).await?;
        }
        Ok(())
    }

    /// Waits until a call through a gateway succeeds.
    async fn called(&self, bench: &Bench, url: &str) -> anyhow::Result<()> {
        let mut last = String::new();
        for _ in 0..100 {
            match bench.http.get(url).send().await {
                // A function may dislike a GET; what counts is that it was asked.
                Ok(reply) if reply.headers().contains_key("x-onrush-node") => return Ok(()),
                Ok(reply) => last = format!("{}: {}", reply.status(), reply.text().await.unwrap_or_default()),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        bail!("{url}: {last}")
    }

    /// Deploys functions and routes from a manifest.
    pub(crate) async fn manifest(&self, text: &str) -> anyhow::Result<()> {
        let file = self.root.path().join("bench.toml");
        std::fs::write(&file, text)?;
        self.onrush(&["deploy", "-f", &file.display().to_string()]).await.map(drop)
    }

    /// The directory that goes with it.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Starts a node that does not run, and waits until it serves.
    pub(crate) async fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        self.nodes[index].start(&self.onrush)?;
        self.nodes[index].ready().await
    }

    /// The processes.
    pub(crate) fn servers(&self) -> Vec<&Server> {
        self.nodes.iter().filter_map(|node| node.server.as_ref()).collect()
    }

    /// Ends all nodes.
    pub(crate) async fn stop(mut self) {
        // All at once: a drain waits for others to notice.
        let servers: Vec<_> = self.nodes.iter_mut().filter_map(|node| node.server.take()).collect();
        for server in &servers {
            drop(server.signal(rustix::process::Signal::TERM));
        }
        for server in servers {
            server.stop().await;
        }
    }
}
