//! Verbs about nodes and the cluster.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{Out, Target, function::pair};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush dev                       three nodes; the first one's gateway is http://127.0.0.1:8080
  onrush dev --nodes 1
  onrush dev --data-dir ./dev      what was deployed is there again next time

Node i listens on 8080+i (gateway), 7070+10i (api) and 7071+10i (peers), on loopback only. Ctrl-C stops all.")]
pub(crate) struct Dev {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) nodes: u16,
    /// Where they keep everything [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Added to every port, so that two of these run side by side
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(..=40_000))]
    pub(crate) port_offset: u16,
    #[command(flatten)]
    pub(crate) out: Out,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush start --data-dir /var/lib/onrush --seed 10.0.0.1:7071 --seed 10.0.0.2:7071 --seed 10.0.0.3:7071 --insecure
  onrush start --config /etc/onrush.toml

Every node gets the same seeds, in the same spelling; a seed may be the node itself. Flags win over ONRUSH_*
variables, those over the file. `ready` on standard output means that it serves. SIGTERM drains it; a second
signal ends it at once.")]
pub(crate) struct Start {
    /// Where the node keeps everything
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A peer address of a node that forms the cluster; may be repeated
    #[arg(long = "seed", value_name = "HOST:PORT")]
    pub(crate) seeds: Vec<String>,
    /// A file with settings
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The node's name [default: the host's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where function traffic is taken [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) gateway: Option<String>,
    /// Where gRPC, REST and metrics are served [default: 0.0.0.0:7070]
    #[arg(long, value_name = "ADDR")]
    pub(crate) api: Option<String>,
    /// Where peers are heard, TCP and UDP [default: 0.0.0.0:7071]
    #[arg(long, value_name = "ADDR")]
    pub(crate) peer: Option<String>,
    /// The host under which others reach this node
    #[arg(long, value_name = "HOST")]
    pub(crate) advertise: Option<String>,
    /// How many nodes shall vote, said when the cluster is formed: 1, 3, 5 or 7 [default: 3]
    #[arg(long, value_name = "N")]
    pub(crate) voters: Option<u8>,
    /// What it does [default: gateway,worker,control]
    #[arg(long, value_name = "LIST")]
    pub(crate) roles: Option<String>,
    /// Where it stands: a rack, a data centre
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// Plain text and no credentials, on any address
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Comes with a later release
    #[arg(long, value_name = "TOKEN")]
    pub(crate) join_token: Option<String>,
    /// How far processes are isolated: full or none; for a later release
    #[arg(long, value_name = "LEVEL")]
    pub(crate) process_isolation: Option<String>,
    /// End when the process that started this one ends; `onrush dev` uses it.
    #[arg(long, hide = true)]
    pub(crate) die_with_parent: bool,
    #[command(flatten)]
    pub(crate) out: Out,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush serve hello.wasm
  onrush serve hello.wasm --addr 127.0.0.1:0 --env GREETING=hi")]
pub(crate) struct Serve {
    /// The component
    pub(crate) file: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR", value_parser = address)]
    pub(crate) addr: SocketAddr,
    /// An environment variable; may be repeated
    #[arg(short = 'e', long = "env", value_name = "K=V", value_parser = pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Bounds the whole call
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// Calls per instance before it is dropped; 0 is a fresh one for each
    #[arg(long, default_value_t = 0, value_name = "CALLS")]
    pub(crate) reuse: u32,
    /// A host that it may call, such as https://images.example.com; may be repeated; opens nothing yet
    #[arg(long, value_name = "URL")]
    pub(crate) egress: Vec<String>,
    #[command(flatten)]
    pub(crate) out: Out,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// Lists nodes
    #[command(after_help = "Examples:\n  onrush node list\n  onrush node list -o json")]
    List(Target),
    /// The node takes nothing new and finishes what it has, until it restarts
    #[command(after_help = "Examples:\n  onrush node drain node-2")]
    Drain(Undoable),
    /// The node serves again
    #[command(after_help = "Examples:\n  onrush node undrain node-2")]
    Undrain(NodeName),
    /// Nobody uses the node, across restarts
    #[command(after_help = "Examples:\n  onrush node cordon node-2")]
    Cordon(Undoable),
    /// The node may be used again
    #[command(after_help = "Examples:\n  onrush node uncordon node-2")]
    Uncordon(NodeName),
    /// Takes a node out of the cluster for good
    #[command(
        after_help = "Examples:\n  onrush node remove node-2     stop it first; its data directory cannot come back"
    )]
    Remove(NodeName),
}

#[derive(Debug, Args)]
pub(crate) struct NodeName {
    /// Its name or its id
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// A wish that can be taken back.
#[derive(Debug, Args)]
pub(crate) struct Undoable {
    #[command(flatten)]
    pub(crate) name: NodeName,
    /// Take it back
    #[arg(long)]
    pub(crate) undo: bool,
}

impl NodeVerb {
    pub(super) const fn target(&self) -> &Target {
        match self {
            Self::List(target) => target,
            Self::Drain(wish) | Self::Cordon(wish) => &wish.name.target,
            Self::Undrain(name) | Self::Uncordon(name) | Self::Remove(name) => &name.target,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Shows the cluster as one node sees it; needs no quorum
    #[command(after_help = "Examples:\n  onrush cluster status\n  onrush cluster status -o json")]
    Status(Target),
    /// Changes a setting of the cluster
    #[command(after_help = "Examples:\n  onrush cluster set voters=5")]
    Set(ClusterSet),
}

#[derive(Debug, Args)]
pub(crate) struct ClusterSet {
    /// voters=1, 3, 5 or 7
    #[arg(value_name = "SETTING=VALUE", value_parser = setting)]
    pub(crate) setting: Setting,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// A setting of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// How many nodes shall vote.
    Voters(u32),
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "no IP:PORT, such as 127.0.0.1:8080 or 0.0.0.0:0".to_owned())
}

fn setting(text: &str) -> Result<Setting, String> {
    match pair(text)? {
        (key, value) if key == "voters" => {
            let wanted = value.parse().ok().filter(|wanted| [1, 3, 5, 7].contains(wanted));
            wanted.map(Setting::Voters).ok_or_else(|| format!("voters is 1, 3, 5 or 7, not {value}"))
        }
        (key, _) => Err(format!("there is no setting {key:?}; the only one is voters")),
    }
}

impl ClusterVerb {
    pub(super) const fn target(&self) -> &Target {
        match self {
            Self::Status(target) => target,
            Self::Set(set) => &set.target,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CompileComponent {
    /// IN OUT [BYTES OF MEMORY] [SECONDS OF PROCESSOR TIME]
    #[arg(required = true, num_args = 2..=4, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}
