//! The command line.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use tokio::time::Instant;

use crate::{
    bench::{Bench, Places},
    machine, origin,
    record::{self, Record},
    report,
    row::{self, Row},
};

/// Measures Onrush beside its peers.
#[derive(Debug, Parser)]
#[command(name = "onrush-bench")]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Names every row and what it promises
    List,
    /// Runs the named rows
    Run {
        /// Names of rows; see `list`
        #[arg(required = true)]
        rows: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Runs every row
    All {
        #[command(flatten)]
        how: How,
    },
    /// Writes docs/benchmarks.md from what was measured
    Report {
        /// Where the results are
        #[arg(long)]
        results: PathBuf,
        /// The page
        #[arg(long)]
        page: PathBuf,
    },
    /// A plain web server, as the origin behind peers
    #[command(hide = true)]
    Origin {
        /// Where it listens
        addr: SocketAddr,
        /// Bytes of its reply
        #[arg(long, default_value_t = 64)]
        bytes: usize,
    },
}

#[derive(Debug, clap::Args)]
struct How {
    /// Short rounds: what one looks at while working, not what one publishes
    #[arg(long)]
    quick: bool,
    /// The `onrush` to measure
    #[arg(long)]
    onrush: PathBuf,
    /// The `wasmtime` to compare with; rows that need it fail without
    #[arg(long)]
    wasmtime: Option<PathBuf>,
    /// Where results go
    #[arg(long)]
    results: PathBuf,
    /// The repository
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.verb {
        Verb::List => {
            for row in row::ALL {
                println!("{:<16} {}\n{:<16} bar: {}; aim: {}", row.name, row.title, "", row.bar, row.aim);
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Run { rows, how } => {
            let chosen = rows.iter().map(|name| row::find(name)).collect::<anyhow::Result<Vec<_>>>()?;
            measure(&chosen, how)
        }
        Verb::All { how } => measure(&row::ALL.iter().collect::<Vec<_>>(), how),
        Verb::Report { results, page } => {
            let records = record::read_all(&results)?;
            let text = std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
            std::fs::write(&page, report::renew(&text, &records)?)?;
            eprintln!("bench: {} rows are in {}", records.len(), page.display());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Origin { addr, bytes } => {
            runtime()?.block_on(origin::serve(addr, bytes))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn measure(rows: &[&Row], how: How) -> anyhow::Result<ExitCode> {
    let root = how.root.canonicalize().context("the repository")?;
    let onrush = how.onrush.canonicalize().with_context(|| format!("no program at {}", how.onrush.display()))?;
    // Before any thread is made: they inherit it. Servers are put elsewhere when they start.
    let cores = machine::Cores::found()?;
    machine::pin(cores.load)?;
    let places = Places { root, onrush, wasmtime: how.wasmtime };
    let bench = Bench::new(places, cores, how.quick)?;
    std::fs::create_dir_all(&how.results)?;
    let mut failed = Vec::new();
    for row in rows {
        eprintln!("bench: {} -- {}", row.name, row.title);
        let (began, before) = (Instant::now(), machine::Busy::now()?);
        // Everything a row starts ends with its runtime, whatever happens.
        let outcome = runtime()?.block_on(async {
            tokio::time::timeout(row.limit(how.quick), (row.run)(&bench)).await.unwrap_or_else(|_| {
                bail!("did not end within {:?}", row.limit(how.quick));
            })
        });
        match outcome {
            Ok(finding) => {
                let record = Record::new(row, finding, machine::Facts::gather(&bench, before)?, how.quick);
                record.write(&how.results)?;
                println!("{}", report::one(&record));
                eprintln!("bench: {} took {:.0?}", row.name, rounded(began.elapsed()));
            }
            Err(error) => {
                eprintln!("bench: {} failed: {error:#}", row.name);
                failed.push(row.name);
            }
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("{} of {} rows failed: {}", failed.len(), rows.len(), failed.join(", "))
}

fn rounded(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}
