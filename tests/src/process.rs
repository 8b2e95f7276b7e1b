//! One `onrush` process, as an operator starts it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// What a command that ended had to say.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The output, if the command succeeded.
    ///
    /// # Panics
    /// Where it failed, with everything that it said.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "the command failed: {}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The output as JSON, if the command succeeded.
    ///
    /// # Panics
    /// Where it failed or printed something else.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.success();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    }
}

/// Runs a client command to its end.
///
/// # Panics
/// Where it cannot be started or takes longer than a minute.
pub async fn run(exe: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(exe);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    let ended = ended.unwrap_or_else(|_| panic!("`onrush {}` did not end", arguments.join(" ")));
    let ended = ended.unwrap_or_else(|error| panic!("{}: {error}", exe.display()));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output { code: ended.status.code().unwrap_or(-1), stdout: text(ended.stdout), stderr: text(ended.stderr) }
}

/// A running `onrush start`; killed when it is dropped.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl NodeProcess {
    /// Starts it. Its log goes to `log`.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start(exe: &Path, arguments: &[String], log: &Path) -> Self {
        let file = std::fs::File::options().create(true).append(true).open(log).expect("a log file");
        let mut child = Command::new(exe)
            .arg("start")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", exe.display()));
        let stdout = child.stdout.take().expect("stdout is piped");
        Self { child, lines: BufReader::new(stdout).lines(), log: log.to_owned() }
    }

    /// Waits for the line `ready`; returns the lines before it.
    ///
    /// # Panics
    /// Where the process ends first or `limit` passes; with its log.
    pub async fn ready(&mut self, limit: Duration) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            match tokio::time::timeout(limit, self.lines.next_line()).await {
                Ok(Ok(Some(line))) if line == "ready" => return before,
                Ok(Ok(Some(line))) => before.push(line),
                Ok(Ok(None) | Err(_)) => panic!("the node ended before it was ready:\n{}", self.log()),
                Err(_) => panic!("the node was not ready after {limit:?}:\n{}", self.log()),
            }
        }
    }

    /// `SIGKILL`, and waits until it is gone.
    ///
    /// # Panics
    /// Where the system refuses.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the process can be killed");
    }

    /// Sends a signal by name, such as `TERM`.
    ///
    /// # Panics
    /// Where the process is gone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        rustix::process::kill_process(pid.expect("a running process"), signal).expect("it can be signalled");
    }

    /// Waits for its end; the exit code, -1 after a signal.
    ///
    /// # Panics
    /// When `limit` passes; with its log.
    pub async fn ended(&mut self, limit: Duration) -> i32 {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => status.expect("a child of ours").code().unwrap_or(-1),
            Err(_) => panic!("the node did not end within {limit:?}:\n{}", self.log()),
        }
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    ///
    /// # Panics
    /// Where it is gone.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a running process")
    }

    /// Its resident memory in bytes.
    ///
    /// # Panics
    /// Where the system does not say.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
    }
}
