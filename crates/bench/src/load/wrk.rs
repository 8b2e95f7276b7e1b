//! `wrk`: as many requests as go through, over connections that stay.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, bail, ensure};
use tokio::process::Command;

use crate::{bench::Bench, process::Server};

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) struct Target<'a> {
    pub(crate) url: &'a str,
    pub(crate) connections: usize,
    /// A script for `wrk`, where it is not a plain GET.
    pub(crate) script: Option<&'a str>,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ran {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Processor time of all servers per request, in microseconds.
    pub(crate) cpu: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// What `wrk` printed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Printed {
    requests: f64,
    rate: f64,
    p50: Duration,
    p99: Duration,
}

/// Loads a server for a while, warm-up excluded. Any answer but a success is an error.
pub(crate) async fn measure(bench: &Bench, target: &Target<'_>, servers: &[&Server]) -> anyhow::Result<Ran> {
    run(bench, target, bench.pick(Duration::from_secs(1), Duration::from_secs(2))).await?;
    let cpu = || servers.iter().map(|server| server.cpu()).sum::<anyhow::Result<Duration>>();
    let before = cpu()?;
    let printed = run(bench, target, bench.round()).await?;
    let spent = cpu()?.saturating_sub(before);
    ensure!(printed.requests > 0.0, "nothing was answered by {}", target.url);
    let cpu = spent.as_secs_f64() * 1e6 / printed.requests;
    Ok(Ran { rate: printed.rate, cpu, p50: printed.p50, p99: printed.p99 })
}

async fn run(bench: &Bench, target: &Target<'_>, time: Duration) -> anyhow::Result<Printed> {
    let mut command = Command::new("taskset");
    command.args(["-c", &bench.cores.load.to_string(), "wrk", "-t", "1", "-c", &target.connections.to_string()]);
    command.args(["-d", &format!("{}s", time.as_secs()), "--latency"]);
    if let Some(script) = target.script {
        command.args(["-s", script]);
    }
    let output = command.arg(target.url).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.context("wrk is missing: apt-get install wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("{} answered with errors:\n{text}{}", target.url, String::from_utf8_lossy(&output.stderr));
    }
    parse(&text).with_context(|| format!("wrk's report is not understood:\n{text}"))
}

fn parse(text: &str) -> Option<Printed> {
    let after = |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "))?.0;
    Some(Printed {
        requests: requests.parse().ok()?,
        rate: after("Requests/sec:")?.parse().ok()?,
        p50: time(after("50%")?)?,
        p99: time(after("99%")?)?,
    })
}

/// `2.50ms`, `812.00us`, `1.20s`, `1.05m`.
fn time(text: &str) -> Option<Duration> {
    let split = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let text = "Running 2s test @ http://x/\n  1 threads and 64 connections\n  Thread Stats   Avg\n  Latency Distribution\n     50%    3.02ms\n     75%    3.51ms\n     90%    4.00ms\n     99%  812.00us\n  42074 requests in 2.00s, 6.38MB read\nRequests/sec:  21037.15\n";
        let printed = parse(text).unwrap();
        assert!((printed.rate - 21037.15).abs() < 1e-6 && (printed.requests - 42074.0).abs() < 1e-6);
        assert_eq!((printed.p50, printed.p99), (Duration::from_micros(3020), Duration::from_micros(812)));
        assert!(parse("nonsense").is_none());
    }
}
