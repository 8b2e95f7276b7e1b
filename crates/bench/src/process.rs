//! Servers under measurement: started on a core, counted, ended by id.

use std::{
    ffi::OsStr,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};
use tokio::{
    process::{Child, Command},
    time::Instant,
};

/// How long a server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server's process and its children. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    child: Child,
    pid: u32,
    log: PathBuf,
}

impl Server {
    /// Starts `program` on one core. What it says goes to `log`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        core: usize,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let out = fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new("taskset")
            .args(["-c", &core.to_string()])
            .arg(program)
            .args(arguments)
            // wasmtime captures a backtrace per call where this is on; every side runs without.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id().context("it ended at once")?;
        Ok(Self { name, child, pid, log: log.to_owned() })
    }

    /// Its id.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` says so.
    pub(crate) async fn until(&mut self, what: &str, mut ready: impl AsyncFnMut(&str) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            if ready(&self.said()).await {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before {what}:\n{}", self.name, tail(&self.said()));
            }
            if began.elapsed() > PATIENCE {
                bail!("{}: no {what} within {PATIENCE:?}:\n{}", self.name, tail(&self.said()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it answers a GET with a success.
    pub(crate) async fn answers(&mut self, http: &reqwest::Client, url: &str) -> anyhow::Result<()> {
        self.until("answer", async |_| http.get(url).send().await.is_ok_and(|reply| reply.status().is_success())).await
    }

    /// Processor time of it and its children so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.watched().cpu()
    }

    /// Resident memory of it and its children, in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        self.watched().resident()
    }

    /// The process for somebody who only looks.
    pub(crate) const fn watched(&self) -> Watched {
        Watched(self.pid)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        signal_to(self.pid, signal)
    }

    /// Asks it to end, and makes it end after a while.
    pub(crate) async fn stop(mut self) {
        let asked = self.signal(Signal::TERM);
        if asked.is_ok() && tokio::time::timeout(Duration::from_secs(8), self.child.wait()).await.is_ok() {
            return;
        }
        drop(self.child.kill().await);
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// A process that belongs to somebody else here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched(u32);

impl Watched {
    /// Processor time of it and its children so far.
    pub(crate) fn cpu(self) -> anyhow::Result<Duration> {
        family(self.0).into_iter().map(cpu_of).sum()
    }

    /// Resident memory of it and its children, in bytes.
    pub(crate) fn resident(self) -> anyhow::Result<u64> {
        family(self.0).into_iter().map(resident_of).sum()
    }
}

/// Sends a signal to a process of ours.
pub(crate) fn signal_to(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(pid.cast_signed()).context("no process id")?;
    rustix::process::kill_process(pid, signal).context("the process is gone")
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// A process and its children. (Servers here have children, but no grandchildren that live on.)
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children).collect()
}

fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    let ticks = ticks(&stat).with_context(|| format!("/proc/{pid}/stat is not understood"))?;
    Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
}

/// User and system time. The name in field 2 may hold blanks and brackets, so count from its last bracket.
fn ticks(stat: &str) -> Option<u64> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

fn resident_of(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} is gone"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}

/// A port on loopback that was free a moment ago, for servers that cannot say which one they took.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_a_strange_name() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("nonsense"), None);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident_of(std::process::id()).unwrap() > 1 << 20);
        assert!(cpu_of(std::process::id()).is_ok());
    }
}
