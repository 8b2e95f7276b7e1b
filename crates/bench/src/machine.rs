//! The machine: whose cores are whose, how busy others keep it, what it is.

use std::{fs, path::Path, process::Command};

use anyhow::Context as _;
use rustix::thread::CpuSet;
use serde::{Deserialize, Serialize};

use crate::bench::Bench;

/// Servers have one core, whoever loads them another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    /// For servers.
    pub(crate) server: usize,
    /// For this program and other generators.
    pub(crate) load: usize,
}

impl Cores {
    /// The first two that this process may use.
    pub(crate) fn found() -> anyhow::Result<Self> {
        let allowed = rustix::thread::sched_getaffinity(None).context("which cores there are")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (server, load) = (cores.next(), cores.next());
        let both = server.zip(load);
        let (server, load) = both.context("this needs two cores: one for servers, one for the load")?;
        Ok(Self { server, load })
    }
}

/// Puts this thread, and all that it will make, on one core.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).context("pinning to a core")
}

/// Processor time so far, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Busy {
    /// Of the whole machine, idle time included.
    all: u64,
    /// Of that: spent by anybody, other guests of the host included.
    spent: u64,
    /// Of that: by this program and by those that it started and that have ended.
    own: u64,
}

impl Busy {
    pub(crate) fn now() -> anyhow::Result<Self> {
        let machine = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let own = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
        Self::read(&machine, &own).context("/proc/stat is not understood")
    }

    fn read(machine: &str, own: &str) -> Option<Self> {
        let numbers =
            |text: &str| text.split_whitespace().map(|field| field.parse::<u64>().unwrap_or(0)).collect::<Vec<_>>();
        let machine = numbers(machine.lines().next()?.strip_prefix("cpu ")?);
        let all: u64 = machine.get(..8)?.iter().sum();
        let idle = machine[3] + machine[4];
        // The name may hold blanks and brackets: fields count from behind it. The state is a letter.
        let (_, fields) = own.rsplit_once(')')?;
        let fields = numbers(fields.trim_start().get(1..)?);
        // User and system time, of the process and of its children that have ended.
        let own = fields.get(10..14)?.iter().sum();
        Some(Self { all, spent: all - idle, own })
    }

    /// The part of the machine that others had since then, in percent.
    fn others_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        let spent = self.spent.saturating_sub(before.spent);
        ratio(spent.saturating_sub(self.own.saturating_sub(before.own)), all) * 100.0
    }
}

/// Where and with what a row was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// `YYYY-MM-DD`.
    pub(crate) date: String,
    /// What was measured.
    pub(crate) commit: String,
    pub(crate) versions: Vec<String>,
    /// Percent of the machine that others had meanwhile; a figure made on a busy machine is worth less.
    pub(crate) others_percent: f64,
    /// The load average at the end.
    pub(crate) load_average: String,
}

impl Facts {
    pub(crate) fn gather(bench: &Bench, before: Busy) -> anyhow::Result<Self> {
        let others = Busy::now()?.others_since(before);
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let root = &bench.places.root;
        let changed = !said(Command::new("git").args(["status", "--porcelain", "-uno"]).current_dir(root)).is_empty();
        let commit = said(Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).current_dir(root));
        Ok(Self {
            processor: processor.trim_start_matches(['\t', ' ', ':']).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from).max(count_cores(&cpuinfo)),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            date: said(Command::new("date").args(["-u", "+%Y-%m-%d"])),
            commit: if changed { format!("{commit}+") } else { commit },
            versions: versions(bench),
            others_percent: (others * 10.0).round() / 10.0,
            load_average: fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned(),
        })
    }
}

fn count_cores(cpuinfo: &str) -> usize {
    cpuinfo.lines().filter(|line| line.starts_with("processor")).count()
}

fn versions(bench: &Bench) -> Vec<String> {
    let wasmtime = bench.places.wasmtime.as_deref().unwrap_or(Path::new("wasmtime"));
    let all = [
        said(Command::new(&bench.places.onrush).arg("--version")),
        said(Command::new(wasmtime).arg("--version")),
        said(Command::new("nginx").arg("-v")),
        said(Command::new("etcd").arg("--version")),
    ];
    all.into_iter().filter(|version| !version.is_empty()).collect()
}

/// The first line that a program says; nothing where it is not there.
fn said(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return String::new() };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

/// `a / b` of counts that are far below what a float holds exactly.
#[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
pub(crate) fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_what_neither_idles_nor_is_ours() {
        let own = |ticks: u64| format!("1 (a b) c) R 1 2 3 4 5 6 7 8 9 10 {ticks} 0 0 0 20");
        let before = Busy::read("cpu  100 0 0 100 0 0 0 0 0 0\n", &own(10)).unwrap();
        let after = Busy::read("cpu  160 0 0 140 0 0 0 0 0 0\n", &own(50)).unwrap();
        // 100 ticks went by: 60 were spent, 40 of them by us.
        assert!((after.others_since(before) - 20.0).abs() < 1e-9);
    }

    #[test]
    fn this_machine_is_understood() {
        assert!(Busy::now().unwrap().spent > 0);
    }
}
