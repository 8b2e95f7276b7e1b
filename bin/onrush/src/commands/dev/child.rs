//! One node of `onrush dev`, as a child process.

use std::{path::Path, process::Stdio};

use onrush_types::Code;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::Command,
    sync::watch,
};

use super::ports::Ports;
use crate::failure::Failure;

/// A node's process. It ends with this one, however this one ends.
pub(super) struct Child {
    pub(super) name: String,
    pid: Option<Pid>,
    ready: watch::Receiver<bool>,
    ended: watch::Receiver<Option<String>>,
}

impl Child {
    /// Starts node `number`, counted from 1.
    pub(super) fn start(
        number: usize,
        directory: &Path,
        ports: &Ports,
        (seeds, voters): (&[String], u8),
    ) -> Result<Self, Failure> {
        let name = format!("node-{number}");
        let program =
            std::env::current_exe().map_err(|error| Failure::here(format!("this program's path: {error}")))?;
        let mut command = Command::new(program);
        command.args(["start", "--insecure", "--die-with-parent", "--name", &name]);
        command.arg("--data-dir").arg(directory.join(&name));
        for (flag, address) in [("--gateway", ports.gateway()), ("--api", ports.api()), ("--peer", ports.peer())] {
            command.args([flag, &address.to_string()]);
        }
        command.args(["--voters", &voters.to_string()]);
        command.args(seeds.iter().flat_map(|seed| ["--seed", seed]));
        // Its own group: the terminal's Ctrl-C reaches only this process, which then stops the nodes in its own way.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().map_err(|error| Failure::here(format!("{name} cannot start: {error}")))?;
        let pid = process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let (says_ready, ready) = watch::channel(false);
        let (says_ended, ended) = watch::channel(None);
        let (out, err) = (process.stdout.take(), process.stderr.take());
        let prefix = name.clone();
        tokio::spawn(async move {
            let answers = lines(out, |line| {
                if line == "ready" {
                    says_ready.send_replace(true);
                }
            });
            let log = lines(err, |line| eprintln!("{prefix} | {line}"));
            let (status, (), ()) = tokio::join!(process.wait(), answers, log);
            says_ended.send_replace(Some(status.map_or_else(|error| error.to_string(), |status| status.to_string())));
        });
        Ok(Self { name, pid, ready, ended })
    }

    /// Waits until it serves.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        tokio::select! {
            outcome = self.ready.wait_for(|ready| *ready) => if outcome.is_ok() { return Ok(()) },
            _ = self.ended.wait_for(Option::is_some) => {}
        }
        let status = self.wait().await;
        let why = format!("{} ended before it was ready ({status}); its log lines above say why", self.name);
        Err(Failure::new(Code::Unavailable, why))
    }

    /// Waits until it has ended, and says how.
    pub(super) async fn wait(&mut self) -> String {
        let status = self.ended.wait_for(Option::is_some).await;
        status.ok().and_then(|status| status.clone()).unwrap_or_else(|| "unknown".to_owned())
    }

    /// The same, for whoever waits for several.
    pub(super) fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.clone();
        async move { drop(ended.wait_for(Option::is_some).await) }
    }

    /// Asks it to finish what it has.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Once it has ended its id may be somebody else's.
        if let Some(pid) = self.pid.filter(|_| self.ended.borrow().is_none()) {
            let _gone_already = kill_process(pid, signal).is_err();
        }
    }
}

async fn lines(from: Option<impl AsyncRead + Unpin>, mut each: impl FnMut(&str)) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        each(&line);
    }
}
