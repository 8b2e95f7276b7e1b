//! What people may type.

mod function;
mod node;
mod route;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::{
    function::{Build, Deploy, Describe, Invoke, LimitFlags, List, Logs, New, Remove, Up},
    node::{ClusterVerb, CompileComponent, Dev, NodeVerb, Serve, Setting, Start, Undoable},
    route::{FilterVerb, RouteSet, RouteVerb},
};

/// Functions on a cluster of your own machines.
///
/// Onrush is one binary that turns machines into a function cluster. This command starts nodes and talks to them.
#[derive(Debug, Parser)]
#[command(name = "onrush", version, propagate_version = true, disable_help_subcommand = false)]
#[command(after_help = "\
First steps:
  onrush dev                          a cluster on this machine
  onrush new hello                    a function's project
  cd hello && onrush up               builds and deploys it
  onrush invoke hello                 calls it

Exit codes: 0 done, 1 failed, 2 wrong usage. `onrush help VERB` shows more, with examples.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// The API of any node
    #[arg(
        id = "any_api",
        long = "api",
        env = "ONRUSH_API",
        default_value = "http://127.0.0.1:7070",
        value_name = "URL",
        help_heading = "Cluster"
    )]
    api: String,
    /// How answers and errors look
    #[arg(short = 'o', long = "output", value_name = "FORMAT")]
    format: Option<Format>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The token that says who you are
    #[arg(
        long,
        global = true,
        env = "ONRUSH_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Cluster"
    )]
    pub(crate) token: Option<String>,
    /// The namespace of functions that are named without one ("default"); `list` shows all without it
    #[arg(
        short = 'n',
        long,
        global = true,
        env = "ONRUSH_NAMESPACE",
        value_name = "NAMESPACE",
        help_heading = "Cluster"
    )]
    pub(crate) namespace: Option<String>,
}

/// How answers look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// `-o` of a verb.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Out {
    /// How answers and errors look
    #[arg(id = "answer_format", short = 'o', long = "output", value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
}

/// `--api` of a verb. It is no global flag, because `start --api` says where a node listens.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Target {
    /// The API of any node [default: $ONRUSH_API, or http://127.0.0.1:7070]
    #[arg(long, value_name = "URL", help_heading = "Cluster")]
    pub(crate) api: Option<String>,
    #[command(flatten)]
    pub(crate) out: Out,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Starts a cluster on this machine, for development
    Dev(Dev),
    /// Starts one node
    Start(Box<Start>),
    /// Serves one component without a cluster
    Serve(Serve),
    /// Writes a function's project
    New(New),
    /// Runs the build commands of the manifest
    Build(Build),
    /// Builds and deploys
    Up(Up),
    /// Adds versions of functions to the cluster
    Deploy(Box<Deploy>),
    /// Calls a function
    Invoke(Invoke),
    /// Lists functions
    List(List),
    /// Shows a function with its versions
    Describe(Describe),
    /// Removes a function with all its versions
    Remove(Remove),
    /// Shows what a function wrote, on every node
    Logs(Logs),
    /// Shows and changes which requests go to which function
    #[command(subcommand)]
    Route(RouteVerb),
    /// Shows what a route may put in front of its function
    #[command(subcommand)]
    Filter(FilterVerb),
    /// Shows and changes nodes
    #[command(subcommand)]
    Node(NodeVerb),
    /// Shows and changes the cluster
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// For the node itself: compiles in a process that can be killed
    #[command(hide = true)]
    CompileComponent(CompileComponent),
}

impl Cli {
    /// The format that was asked for, before the verb or behind it.
    pub(crate) fn format(&self) -> Format {
        let of_verb = match &self.verb {
            Verb::Dev(verb) => verb.out.format,
            Verb::Start(verb) => verb.out.format,
            Verb::Serve(verb) => verb.out.format,
            Verb::New(verb) => verb.out.format,
            Verb::Build(verb) => verb.out.format,
            Verb::Invoke(_) | Verb::CompileComponent(_) => None,
            _ => self.target().and_then(|target| target.out.format),
        };
        of_verb.or(self.format).unwrap_or_default()
    }

    /// The API that was asked for, before the verb or behind it.
    pub(crate) fn api(&self) -> String {
        let of_verb = match &self.verb {
            Verb::Invoke(verb) => verb.api.clone(),
            _ => self.target().and_then(|target| target.api.clone()),
        };
        of_verb.unwrap_or_else(|| self.api.clone())
    }

    /// What a verb that talks to a cluster was told about it.
    fn target(&self) -> Option<&Target> {
        match &self.verb {
            Verb::Up(verb) => Some(&verb.target),
            Verb::Deploy(verb) => Some(&verb.target),
            Verb::List(verb) => Some(&verb.target),
            Verb::Describe(verb) => Some(&verb.target),
            Verb::Remove(verb) => Some(&verb.target),
            Verb::Logs(verb) => Some(&verb.target),
            Verb::Route(verb) => Some(verb.target()),
            Verb::Filter(verb) => Some(verb.target()),
            Verb::Node(verb) => Some(verb.target()),
            Verb::Cluster(verb) => Some(verb.target()),
            Verb::Dev(_)
            | Verb::Start(_)
            | Verb::Serve(_)
            | Verb::New(_)
            | Verb::Build(_)
            | Verb::Invoke(_)
            | Verb::CompileComponent(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
