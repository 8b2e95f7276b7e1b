//! Several nodes with equal seed lists.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{
    ports::Port,
    process::{self, NodeProcess, Output},
    wait,
};

/// How long a node may take to be ready on a busy machine of two cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One node of a test cluster: its ports and its directory outlive its process.
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its process, while it runs.
    pub process: Option<NodeProcess>,
    gateway: Port,
    api: Port,
    peer: Port,
    dir: PathBuf,
    config: PathBuf,
}

impl Member {
    /// A node that does not run yet.
    pub fn new(name: &str, root: &Path) -> Self {
        let (gateway, api, peer) = (Port::reserve(), Port::reserve(), Port::reserve());
        let (dir, config) = (root.join(name), root.join("onrush-node.toml"));
        if !config.is_file() {
            std::fs::write(&config, "").expect("a settings file");
        }
        Self { name: name.to_owned(), process: None, gateway, api, peer, dir, config }
    }

    /// `http://127.0.0.1:PORT` of its gateway.
    pub fn gateway(&self) -> String {
        format!("http://{}", self.gateway.address())
    }

    /// `http://127.0.0.1:PORT` of its API.
    pub fn api(&self) -> String {
        format!("http://{}", self.api.address())
    }

    /// `127.0.0.1:PORT` of its peer listener.
    pub fn peer(&self) -> String {
        self.peer.address()
    }

    /// Its data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The arguments of its `onrush start`.
    pub fn arguments(&self, seeds: &[String]) -> Vec<String> {
        let mut arguments: Vec<String> = ["--insecure", "--name", &self.name].map(str::to_owned).to_vec();
        let own = [
            ("--config", self.config.display().to_string()),
            ("--gateway", self.gateway.address()),
            ("--api", self.api.address()),
            ("--peer", self.peer.address()),
            ("--data-dir", self.dir.display().to_string()),
        ];
        let seeds = seeds.iter().map(|seed| ("--seed", seed.clone()));
        for (flag, value) in own.into_iter().chain(seeds) {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments
    }

    /// The log of its process.
    pub fn log_path(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    /// Its running process.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn running(&mut self) -> &mut NodeProcess {
        self.process.as_mut().expect("the node runs")
    }

    /// `SIGKILL`.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
    }
}

/// Nodes, their directory and the program they run.
pub struct Cluster {
    /// The nodes, in the order of the seed list and then of their joining.
    pub members: Vec<Member>,
    /// The client that tests use.
    pub http: reqwest::Client,
    exe: PathBuf,
    seeds: Vec<String>,
    root: tempfile::TempDir,
}

impl Cluster {
    /// Starts `count` nodes `n1`, `n2`... with equal seed lists and waits until each is ready.
    ///
    /// # Panics
    /// Where one is not.
    pub async fn start(exe: &str, count: usize) -> Self {
        Self::start_with(exe, count, "").await
    }

    /// The same with a settings file.
    ///
    /// # Panics
    /// Where one node is not ready in time.
    pub async fn start_with(exe: &str, count: usize, settings: &str) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::write(root.path().join("onrush-node.toml"), settings).expect("a settings file");
        let members: Vec<_> = (1..=count).map(|i| Member::new(&format!("n{i}"), root.path())).collect();
        let seeds = members.iter().map(Member::peer).collect();
        let http = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        let mut cluster = Self { members, http, exe: exe.into(), seeds, root };
        cluster.start_all().await;
        cluster
    }

    /// Starts every node that does not run and waits until each is ready.
    ///
    /// # Panics
    /// Where one is not.
    pub async fn start_all(&mut self) {
        for member in self.members.iter_mut().filter(|member| member.process.is_none()) {
            let process = NodeProcess::start(&self.exe, &member.arguments(&self.seeds), &member.log_path());
            member.process = Some(process);
        }
        for member in &mut self.members {
            member.running().ready(PATIENCE).await;
        }
        let count = self.members.len();
        let all_ready = |status: &Value| {
            let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
            nodes.iter().filter(|node| node["ready"] == true).count() >= count
        };
        for node in 0..count {
            self.status_until(node, "each node to know that the others serve", PATIENCE, all_ready).await;
        }
    }

    /// Starts one node and waits until it is ready.
    ///
    /// # Panics
    /// Where it is not.
    pub async fn restart(&mut self, index: usize) {
        self.launch(index);
        self.members[index].running().ready(PATIENCE).await;
    }

    /// Starts one node without waiting.
    pub fn launch(&mut self, index: usize) {
        let member = &mut self.members[index];
        let process = NodeProcess::start(&self.exe, &member.arguments(&self.seeds), &member.log_path());
        member.process = Some(process);
    }

    /// Adds a node that joins by the seed list without being in it.
    ///
    /// # Panics
    /// Where it is not ready in time.
    pub async fn join(&mut self, name: &str) -> usize {
        self.members.push(Member::new(name, self.root.path()));
        let index = self.members.len() - 1;
        self.restart(index).await;
        index
    }

    /// The program under test.
    pub fn exe(&self) -> &Path {
        &self.exe
    }

    /// The seed list.
    pub fn seeds(&self) -> &[String] {
        &self.seeds
    }

    /// The directory that goes with the cluster.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Runs a client command against one node's API.
    pub async fn onrush(&self, node: usize, arguments: &[&str]) -> Output {
        let api = self.members[node].api();
        let arguments: Vec<_> = [&["--api", &api], arguments].concat();
        process::run(&self.exe, &arguments).await
    }

    /// Deploys an example component through one node.
    ///
    /// # Panics
    /// Where that fails.
    pub async fn deploy(&self, node: usize, name: &str, component: &str, more: &[&str]) {
        let file = crate::guests::component(component).display().to_string();
        let arguments: Vec<_> = [&["deploy", name, "--wasm", &file], more].concat();
        self.onrush(node, &arguments).await.success();
    }

    /// The cluster's status as one node sees it.
    ///
    /// # Panics
    /// Where the command fails.
    pub async fn status(&self, node: usize) -> Value {
        self.onrush(node, &["cluster", "status", "-o", "json"]).await.json()
    }

    /// Waits until the status that one node gives satisfies `condition`; the status, and how long it took.
    ///
    /// # Panics
    /// When the time is over.
    pub async fn status_until(
        &self,
        node: usize,
        what: &str,
        limit: Duration,
        condition: impl Fn(&Value) -> bool,
    ) -> (Value, Duration) {
        let looked = async || {
            let output = self.onrush(node, &["cluster", "status", "-o", "json"]).await;
            let status: Value = serde_json::from_str(&output.stdout).map_err(|_| output.stderr)?;
            if condition(&status) { Ok(status) } else { Err(status.to_string()) }
        };
        wait::until(what, limit, looked).await
    }

    /// The index of the node that leads, as one node sees it.
    ///
    /// # Panics
    /// Where none is known in time.
    pub async fn leader(&self, node: usize) -> usize {
        let known = |status: &Value| status["leader"].as_u64().is_some_and(|id| id > 0);
        let (status, _) = self.status_until(node, "a leader", PATIENCE, known).await;
        let nodes = status["nodes"].as_array().expect("nodes");
        let leader = nodes.iter().find(|node| node["id"] == status["leader"]).expect("the leader is a node");
        self.members.iter().position(|member| leader["name"] == member.name).expect("the leader is a member")
    }

    /// One call through one node's gateway: status, the node that ran it, body.
    ///
    /// # Errors
    /// The client's own: no connection, cut off.
    pub async fn call(&self, node: usize, path: &str) -> Result<(u16, String, bytes::Bytes), reqwest::Error> {
        let url = format!("{}{path}", self.members[node].gateway());
        let reply = self.http.get(url).send().await?;
        let ran_on = reply.headers().get("x-onrush-node").and_then(|name| name.to_str().ok());
        let ran_on = ran_on.unwrap_or_default().to_owned();
        Ok((reply.status().as_u16(), ran_on, reply.bytes().await?))
    }
}

impl Drop for Cluster {
    /// A test that fails shows what the nodes said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for member in &self.members {
                let log = std::fs::read_to_string(member.log_path()).unwrap_or_default();
                eprintln!("--- log of {} ---\n{log}", member.name);
            }
        }
    }
}
