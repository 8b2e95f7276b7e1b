//! Every figure that Onrush claims, measured beside its peer in the same run.
//!
//! Knows: how to start both, how to load them without flattering either, how to count processors' time, what was promised.
//! Does not know: anything inside a node; it uses the command line, the gateway and the API as everybody does.
//!
//! - `row.rs`: the list of rows; `rows/`: one file each
//! - `load/`: generators of load; `peers/`: whom Onrush is compared with; `onrush.rs`: clusters of its own
//! - `process.rs`, `machine.rs`: processes, their processor time and memory, the machine they ran on
//! - `verdict.rs`, `record.rs`, `report.rs`: what was promised, what was measured, the page
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

mod args;
mod bench;
mod load;
mod machine;
mod onrush;
mod origin;
mod peers;
mod process;
mod record;
mod report;
mod row;
mod rows;
mod verdict;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match args::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
