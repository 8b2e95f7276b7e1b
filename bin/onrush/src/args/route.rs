//! Verbs about routes and filters.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use onrush_types::FilterUse;

use super::Target;
use crate::manifest::filter_of;

#[derive(Debug, Subcommand)]
pub(crate) enum RouteVerb {
    /// Adds a route, or replaces the one of this name
    Set(Box<RouteSet>),
    /// Lists routes
    List(RouteList),
    /// Removes a route
    #[command(visible_alias = "rm")]
    Remove(RouteRemove),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush route set thumb --path '/thumb/{*rest}' --function thumbnail
  onrush route set shop --host '*.example.com' --path / --method GET,HEAD --function shop@3
  onrush route set thumb --path '/thumb/{*rest}' --function thumbnail --filter 'rate-limit rate=100/s per=ip' --filter coalesce
  onrush route set thumb --path / --function thumbnail --filter '{ use = \"cache\", ttl = \"60s\" }'
  onrush route set -f onrush.toml          the routes of a manifest, whose functions are deployed

A route is set as a whole: what is left out has its default, whatever it was before. `onrush filter list` shows the filters.")]
pub(crate) struct RouteSet {
    /// NAME[.NAMESPACE]; with a manifest, only this one of it
    #[arg(required_unless_present = "file")]
    pub(crate) name: Option<String>,
    /// The manifest
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with_all = ["path", "function", "host", "methods", "filters"])]
    pub(crate) file: Option<PathBuf>,
    /// Which paths: {name} stands for one segment, {*name} for the rest
    #[arg(long, value_name = "PATH", required_unless_present = "file")]
    pub(crate) path: Option<String>,
    /// The function of the route's namespace, with a version where it is not the newest
    #[arg(long, value_name = "NAME[@VERSION]", required_unless_present = "file")]
    pub(crate) function: Option<String>,
    /// Which host; *.example.com for any one label in front [default: every host]
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Which methods; may be repeated [default: every method]
    #[arg(long = "method", value_name = "METHOD", value_delimiter = ',')]
    pub(crate) methods: Vec<String>,
    /// What a request passes through: NAME [KEY=VALUE...], or as in a manifest; may be repeated
    #[arg(long = "filter", value_name = "FILTER", value_parser = filter_of)]
    pub(crate) filters: Vec<FilterUse>,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush route list
  onrush route list -n shop -o json")]
pub(crate) struct RouteList {
    /// Show every write that was acknowledged before; needs a quorum
    #[arg(long)]
    pub(crate) fresh: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush route remove thumb
  onrush route remove thumb -n shop")]
pub(crate) struct RouteRemove {
    /// NAME[.NAMESPACE]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) target: Target,
}

impl RouteVerb {
    pub(super) fn target(&self) -> &Target {
        match self {
            Self::Set(set) => &set.target,
            Self::List(list) => &list.target,
            Self::Remove(remove) => &remove.target,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum FilterVerb {
    /// Lists the filters that routes may have, in the order in which a request passes them
    List(FilterList),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush filter list
  onrush filter list cache          its parameters
  onrush filter list -o json")]
pub(crate) struct FilterList {
    /// Only this one, with its parameters
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
}

impl FilterVerb {
    pub(super) fn target(&self) -> &Target {
        let Self::List(list) = self;
        &list.target
    }
}
