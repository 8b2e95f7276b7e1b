//! One binary: arguments become a node, or calls of a client.
//!
//! Knows: what people type, and how answers look in a terminal.
//! Does not know: any rule of the cluster; those are behind the API.
#![allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    reason = "doc comments on arguments are the text of --help, where NAME[@VERSION] and addresses stand as they are typed"
)]
mod args;
mod artifact;
mod client;
mod commands;
mod failure;
mod manifest;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{args::Cli, failure::Failure};

/// Many small allocations on many threads: where mimalloc is at its best.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages. When a crowd of connections comes, each of its small buffers would then cost
    // the clearing of two megabytes (measured: half of the time of the thread that serves sockets), and a quiet node would
    // take a third more memory. Where the kernel refuses, it is as slow as that and no more.
    let _refused = rustix::thread::disable_transparent_huge_pages(true).is_err();
    let cli = Cli::parse();
    let format = cli.format();
    match commands::run(cli) {
        Ok(code) => code,
        Err(Failure::ReaderGone) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.show(format);
            failure.exit_code()
        }
    }
}
