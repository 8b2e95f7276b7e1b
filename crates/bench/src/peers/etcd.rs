//! etcd: three members on loopback.

use std::path::PathBuf;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{
    bench::Bench,
    process::{Server, free_port},
};

/// A cluster of three.
#[derive(Debug)]
pub(crate) struct Etcd {
    pub(crate) members: Vec<Member>,
    _root: TempDir,
}

/// One member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) server: Option<Server>,
    /// `http://IP:PORT` for clients.
    pub(crate) client: String,
    arguments: Vec<String>,
    log: PathBuf,
    core: usize,
}

impl Member {
    fn start(&mut self) -> anyhow::Result<()> {
        self.server = Some(Server::start(self.core, &program()?, &self.arguments, &self.log)?);
        Ok(())
    }
}

fn program() -> anyhow::Result<PathBuf> {
    let known = ["/usr/bin/etcd", "/usr/local/bin/etcd"].map(PathBuf::from);
    known.into_iter().find(|path| path.is_file()).context("etcd is missing: apt-get install etcd-server")
}

impl Etcd {
    /// Starts it on the servers' core with the defaults that Debian ships.
    pub(crate) async fn start(bench: &Bench) -> anyhow::Result<Self> {
        let root = tempfile::tempdir().context("a temporary directory")?;
        let peers = (0..3).map(|_| free_port()).collect::<anyhow::Result<Vec<_>>>()?;
        let all: Vec<_> = peers.iter().enumerate().map(|(i, port)| format!("e{i}=http://127.0.0.1:{port}")).collect();
        let mut members = Vec::new();
        for (i, peer) in peers.iter().enumerate() {
            let client = format!("http://127.0.0.1:{}", free_port()?);
            let (peer, dir) = (format!("http://127.0.0.1:{peer}"), root.path().join(format!("e{i}")));
            let log = dir.with_extension("log");
            let pairs = [
                ("--name", format!("e{i}")),
                ("--data-dir", dir.display().to_string()),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer),
                ("--listen-client-urls", client.clone()),
                ("--advertise-client-urls", client.clone()),
                ("--initial-cluster", all.join(",")),
                ("--initial-cluster-state", "new".to_owned()),
            ];
            let arguments = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
            members.push(Member { server: None, client, arguments, log, core: bench.cores.server });
        }
        for member in &mut members {
            member.start()?;
        }
        for member in &mut members {
            let (server, url) = (member.server.as_mut(), format!("{}/health", member.client));
            server.context("just started")?.answers(&bench.http, &url).await?;
        }
        Ok(Self { members, _root: root })
    }

    /// The index of the leader.
    pub(crate) async fn leader(&self, bench: &Bench) -> anyhow::Result<usize> {
        for _ in 0..600 {
            for (index, member) in self.members.iter().enumerate().filter(|(_, member)| member.server.is_some()) {
                let url = format!("{}/v3/maintenance/status", member.client);
                let Ok(reply) = bench.http.post(url).body("{}").send().await else { continue };
                let status: serde_json::Value = serde_json::from_slice(&reply.bytes().await?).unwrap_or_default();
                let own = &status["header"]["member_id"];
                if own.is_string() && *own == status["leader"] {
                    return Ok(index);
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        anyhow::bail!("etcd has no leader within 30 s")
    }

    /// Starts a member that does not run.
    pub(crate) async fn restart(&mut self, bench: &Bench, index: usize) -> anyhow::Result<()> {
        let member = &mut self.members[index];
        member.start()?;
        let url = format!("{}/health", member.client);
        member.server.as_mut().context("just started")?.answers(&bench.http, &url).await
    }

    /// The processes.
    pub(crate) fn servers(&self) -> Vec<&Server> {
        self.members.iter().filter_map(|member| member.server.as_ref()).collect()
    }

    /// Ends all members.
    pub(crate) async fn stop(self) {
        for member in self.members {
            if let Some(server) = member.server {
                // A member that hands over its leadership to others that are leaving waits for long.
                drop(server.kill().await);
            }
        }
    }
}
