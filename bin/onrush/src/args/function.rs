//! Verbs about functions.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use clap::Args;

use super::{Out, Target};

/// The manifest's name where none is given.
const MANIFEST: &str = "onrush.toml";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush new hello
  cd hello && onrush up
  onrush new tiny --template rust-lean")]
pub(crate) struct New {
    /// The function's name, which is also the directory's
    pub(crate) name: String,
    /// What to start from: "rust", or "rust-lean", which costs less per call but has no println! and the like
    #[arg(long, default_value = "rust")]
    pub(crate) template: String,
    #[command(flatten)]
    pub(crate) out: Out,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush build
  onrush build thumbnail
  onrush build -f services/onrush.toml")]
pub(crate) struct Build {
    /// Only this function of the manifest
    pub(crate) name: Option<String>,
    /// The manifest
    #[arg(short = 'f', long, default_value = MANIFEST, value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) out: Out,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush up
  onrush up thumbnail --api http://10.0.0.1:7070")]
pub(crate) struct Up {
    /// Only this function of the manifest
    pub(crate) name: Option<String>,
    /// The manifest
    #[arg(short = 'f', long, default_value = MANIFEST, value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush deploy                                       every function of ./onrush.toml, then its routes
  onrush deploy thumbnail -f services/onrush.toml     one of them
  onrush deploy hello --wasm hello.wasm               without a manifest
  onrush deploy hello --wasm hello.wasm --env GREETING=hi --timeout 5s --memory 64MiB --idempotent

With -o json it prints what was deployed: an object where a function is named, an array otherwise.")]
pub(crate) struct Deploy {
    /// The function; with a manifest, only this one of it
    pub(crate) name: Option<String>,
    /// The manifest [default: onrush.toml]
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with_all = ["wasm", "process"])]
    pub(crate) file: Option<PathBuf>,
    /// A WebAssembly component
    #[arg(long, value_name = "FILE", requires = "name")]
    pub(crate) wasm: Option<PathBuf>,
    /// A program; comes with a later release
    #[arg(long, value_name = "DIR_OR_ZIP", requires = "name", conflicts_with = "wasm")]
    pub(crate) process: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// What a function may use, where there is no manifest.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Without a manifest")]
pub(crate) struct LimitFlags {
    /// An environment variable; may be repeated
    #[arg(short = 'e', long = "env", value_name = "K=V", value_parser = pair, requires = "wasm")]
    pub(crate) env: Vec<(String, String)>,
    /// Bounds the whole call, such as 5s [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "wasm")]
    pub(crate) timeout: Option<Duration>,
    /// Memory of one instance, such as 64MiB [default: 128MiB]
    #[arg(long, value_name = "SIZE", requires = "wasm")]
    pub(crate) memory: Option<ByteSize>,
    /// Calls at once in the whole cluster [default: no cap]
    #[arg(long, value_name = "CALLS", requires = "wasm", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: Option<u32>,
    /// Calls per instance before it is dropped [default: 0, a fresh one for each]
    #[arg(long, value_name = "CALLS", requires = "wasm")]
    pub(crate) reuse: Option<u32>,
    /// A host that it may call, such as https://images.example.com; may be repeated; kept, but opens nothing yet
    #[arg(long, value_name = "URL", requires = "wasm")]
    pub(crate) egress: Vec<String>,
    /// Running a call twice is harmless
    #[arg(long, requires = "wasm")]
    pub(crate) idempotent: bool,
    /// An idle limit takes the timeout's place after the reply's head
    #[arg(long, requires = "wasm")]
    pub(crate) streaming: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush invoke hello
  onrush invoke hello@3 -p '/greet?name=Ada'
  onrush invoke thumbnail -p /?w=256 -d @photo.jpg -o small.jpg
  cat big.csv | onrush invoke count -d - -H 'content-type: text/csv'

The call goes through the gateway of the node that --api names. The body comes out as it is; where the
status is 400 or above, the exit code is 1.")]
pub(crate) struct Invoke {
    /// NAME[.NAMESPACE][@VERSION]
    pub(crate) name: String,
    /// The method [default: GET, or POST where there is data]
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub(crate) method: Option<http::Method>,
    /// Path and query, as the function sees them
    #[arg(short = 'p', long, default_value = "/", value_name = "PATH")]
    pub(crate) path: String,
    /// A header; may be repeated
    #[arg(short = 'H', long = "header", value_name = "K:V", value_parser = header)]
    pub(crate) headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The body: text, @FILE, or - for standard input
    #[arg(short = 'd', long, value_name = "DATA")]
    pub(crate) data: Option<String>,
    /// Where the body goes, instead of standard output
    #[arg(short = 'o', long, value_name = "FILE", id = "output_file")]
    pub(crate) output: Option<PathBuf>,
    /// The API of any node [default: $ONRUSH_API, or http://127.0.0.1:7070]
    #[arg(long, value_name = "URL", help_heading = "Cluster")]
    pub(crate) api: Option<String>,
    /// The gateway, where the cluster shall not be asked for it
    #[arg(long, env = "ONRUSH_GATEWAY", value_name = "URL")]
    pub(crate) gateway: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush list
  onrush list -n shop -o json")]
pub(crate) struct List {
    /// Show every write that was acknowledged before; needs a quorum
    #[arg(long)]
    pub(crate) fresh: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush describe hello
  onrush describe hello -o json")]
pub(crate) struct Describe {
    /// NAME[.NAMESPACE]
    pub(crate) name: String,
    /// Show every write that was acknowledged before; needs a quorum
    #[arg(long)]
    pub(crate) fresh: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
#[command(
    visible_alias = "rm",
    after_help = "\
Examples:
  onrush remove hello
  onrush remove hello -n shop
  onrush remove hello --with-routes"
)]
pub(crate) struct Remove {
    /// NAME[.NAMESPACE]
    pub(crate) name: String,
    /// Remove the routes that point to it as well, instead of refusing
    #[arg(long)]
    pub(crate) with_routes: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush logs hello
  onrush logs -f hello --tail 10
  onrush logs hello -o json       one JSON document a line")]
pub(crate) struct Logs {
    /// NAME[.NAMESPACE]
    pub(crate) name: String,
    /// Go on with new lines as they come
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Old lines per node
    #[arg(long, default_value_t = 100, value_name = "LINES", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tail: u32,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

fn header(text: &str) -> Result<(http::HeaderName, http::HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("{text:?} is not NAME:VALUE"))?;
    let name = name.trim().parse().map_err(|error| format!("{name:?}: {error}"))?;
    let value = value.trim().parse().map_err(|error| format!("{value:?}: {error}"))?;
    Ok((name, value))
}
