//! `./x sim`: runs the simulator and writes what it finds.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use onrush_sim::{compare, validate};

/// Simulates clusters under the policies that the router runs.
#[derive(Parser)]
#[command(name = "onrush-sim", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// The simulator against queueing theory. Fails if it is off by more than 3 %.
    Validate(Options),
    /// Policies against each other.
    Compare(Options),
    /// Both.
    All(Options),
}

#[derive(Args)]
struct Options {
    /// Where tables (Markdown) and plots (SVG) are written.
    #[arg(long, default_value = "docs/simulation")]
    out: PathBuf,
    /// The first seed; each run has the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs of each cell.
    #[arg(long, default_value_t = 3)]
    runs: u64,
    /// Of the usual number of calls, in percent.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    effort: u64,
}

fn main() -> anyhow::Result<()> {
    let (options, validates, compares) = match Cli::parse().verb {
        Verb::Validate(options) => (options, true, false),
        Verb::Compare(options) => (options, false, true),
        Verb::All(options) => (options, true, true),
    };
    std::fs::create_dir_all(&options.out).with_context(|| format!("cannot create {}", options.out.display()))?;
    let effort = compare::Effort { seed: options.seed, runs: options.runs.max(1), percent: options.effort };
    let write = |name: &str, text: &str| {
        let path = options.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    if validates {
        let (text, good) = validate::report(effort);
        write("validation.md", &text)?;
        anyhow::ensure!(
            good,
            "the simulator is off by more than 3 %: see {}",
            options.out.join("validation.md").display()
        );
    }
    if compares {
        for (name, text) in compare::report(effort)? {
            write(&name, &text)?;
        }
    }
    Ok(())
}
