//! Settings: raw as they are written (defaults < file < environment < flags), then resolved once, with every problem
//! named, before a port is bound.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use onrush_types::{Label, Roles};
use serde::Deserialize;

use crate::telemetry::LogFormat;

/// Settings as somebody wrote them: everything may be missing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Raw {
    /// The node's name, a DNS label; one node of the cluster has it. Default: the host's name, with the peer port
    /// behind it where that is not 7071.
    pub name: Option<String>,
    /// Where the node keeps everything. Required.
    pub data_dir: Option<PathBuf>,
    /// Peer addresses (`HOST:PORT`) of the nodes that form the cluster: the same list, in the same spelling, on each.
    pub seeds: Option<Vec<String>>,
    /// Where function traffic is taken. Default `0.0.0.0:8080`.
    pub gateway: Option<String>,
    /// Where gRPC, REST and metrics are served. Default `0.0.0.0:7070`.
    pub api: Option<String>,
    /// Where peers are heard, TCP and UDP. Default `0.0.0.0:7071`.
    pub peer: Option<String>,
    /// The host or address under which others reach this node. Default: the address that is bound, or, where that is
    /// `0.0.0.0`, the one that the machine uses to reach its seeds.
    pub advertise: Option<String>,
    /// How many nodes shall vote, said when the cluster is formed: 1, 3, 5 or 7. Default 3.
    pub voters: Option<u8>,
    /// What the node does: `gateway,worker,control`, the default.
    pub roles: Option<String>,
    /// Where the node stands: a rack, a data centre.
    pub zone: Option<String>,
    /// Plain text and no credentials. Required until security is there.
    pub insecure: Option<bool>,
    /// How far processes are isolated: `full` or `none`. For a later release; read and checked today.
    pub process_isolation: Option<String>,
    /// For a later release; refused today.
    pub join_token: Option<String>,
    /// A level, or a filter such as `info,onrush_router=debug`. Default `info`.
    pub log: Option<String>,
    /// `text` or `json`.
    pub log_format: Option<LogFormat>,
    /// Limits and intervals of each component.
    pub tune: Option<Tune>,
}

/// Each component's own settings; every one has a default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tune {
    /// Raft and the catalog.
    pub consensus: onrush_consensus::Config,
    /// Gossip.
    pub cluster: onrush_cluster::Config,
    /// The artifact store.
    pub artifacts: onrush_artifacts::Config,
    /// Admission and the log ring.
    pub worker: onrush_worker::Config,
    /// Choice of worker, retries, ejection.
    pub router: onrush_router::Config,
    /// Function traffic.
    pub gateway: onrush_gateway::Config,
    /// Shared executions and kept replies.
    pub sharing: onrush_sharing::Config,
    /// gRPC and REST.
    pub api: onrush_api::Config,
    /// Wasm engines and pools.
    pub wasm: onrush_runtime::wasm::Config,
    /// Starting and stopping.
    pub node: NodeConfig,
}

/// Starting and stopping.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeConfig {
    /// After a stop request, how long the node still takes calls while others learn that it is draining.
    #[serde(with = "humantime_serde")]
    pub drain_notice: Duration,
    /// How long calls in the house may take to finish when the node stops.
    #[serde(with = "humantime_serde")]
    pub drain_grace: Duration,
    /// How long one stage of tasks may take to stop.
    #[serde(with = "humantime_serde")]
    pub stop_grace: Duration,
    /// Threads for sockets, gRPC, gossip and quick functions. 0 means one for each core.
    pub io_threads: usize,
    /// Threads that run guests. 0 means one for each core.
    pub guest_threads: usize,
    /// How much guests give way to the rest of the node when both want a core: 0, not at all, to 19, as in nice(1).
    pub guest_niceness: u8,
    /// Connections to the peer listener at once.
    pub peer_connections: NonZeroUsize,
    /// Connections to the API at once.
    pub api_connections: NonZeroUsize,
    /// Whether compilation of guests runs in a child process that can be killed. Off in tests that embed a node.
    pub compile_in_child: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            drain_notice: Duration::from_secs(2),
            drain_grace: Duration::from_secs(30),
            stop_grace: Duration::from_secs(10),
            io_threads: 0,
            guest_threads: 0,
            guest_niceness: 5,
            peer_connections: onrush_server::Config::peers().max_connections,
            api_connections: onrush_server::Config::operators().max_connections,
            compile_in_child: true,
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {why}")]
pub struct Problem {
    /// Which setting, as a flag spells it.
    pub setting: &'static str,
    /// What is wrong and what is allowed.
    pub why: String,
}

/// Settings that a node can start with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name; none means that the bound peer port decides.
    pub name: Option<Label>,
    /// Where it keeps everything.
    pub data_dir: PathBuf,
    /// The seed list as it was written.
    pub seeds: Vec<String>,
    /// Listener for function traffic.
    pub gateway: SocketAddr,
    /// Listener for the API.
    pub api: SocketAddr,
    /// Listener for peers.
    pub peer: SocketAddr,
    /// Host or address that others use.
    pub advertise: Option<String>,
    /// Wanted voters at formation.
    pub voters: u8,
    /// What it does.
    pub roles: Roles,
    /// Where it stands.
    pub zone: Option<String>,
    /// Each component's own.
    pub tune: Tune,
}

impl Raw {
    /// Reads a settings file.
    ///
    /// # Errors
    /// A file that cannot be read, or a line in it that cannot; the message says which.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| anyhow::anyhow!("settings file {}: {error}", path.display()))?;
        toml::from_str(&text).map_err(|error| anyhow::anyhow!("settings file {}: {error}", path.display()))
    }

    /// Reads `ONRUSH_NAME`, `ONRUSH_DATA_DIR`, `ONRUSH_SEEDS` (comma-separated), `ONRUSH_GATEWAY_ADDR`,
    /// `ONRUSH_API_ADDR`, `ONRUSH_PEER_ADDR`, `ONRUSH_ADVERTISE`, `ONRUSH_VOTERS`, `ONRUSH_ROLES`, `ONRUSH_ZONE`,
    /// `ONRUSH_INSECURE`, `ONRUSH_LOG` and `ONRUSH_LOG_FORMAT`. (`ONRUSH_API` and `ONRUSH_GATEWAY` without `_ADDR`
    /// belong to the client.)
    ///
    /// # Errors
    /// A value that is no number or no truth.
    pub fn from_environment() -> Result<Self, Problem> {
        Self::from_variables(&std::env::vars().filter(|(key, _)| key.starts_with("ONRUSH_")).collect())
    }

    fn from_variables(variables: &BTreeMap<String, String>) -> Result<Self, Problem> {
        let text = |key: &str| variables.get(key).filter(|value| !value.is_empty()).cloned();
        let wrong = |setting, why: &str| Problem { setting, why: why.to_owned() };
        let voters = text("ONRUSH_VOTERS").map(|value| value.parse());
        let insecure = text("ONRUSH_INSECURE").map(|value| match value.as_str() {
            "1" | "true" | "yes" => Ok(true),
            "0" | "false" | "no" => Ok(false),
            _ => Err(wrong("ONRUSH_INSECURE", "is true or false")),
        });
        let log_format = text("ONRUSH_LOG_FORMAT").map(|value| match value.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(wrong("ONRUSH_LOG_FORMAT", "is text or json")),
        });
        Ok(Self {
            name: text("ONRUSH_NAME"),
            data_dir: text("ONRUSH_DATA_DIR").map(PathBuf::from),
            seeds: text("ONRUSH_SEEDS").map(|list| list.split(',').map(|seed| seed.trim().to_owned()).collect()),
            gateway: text("ONRUSH_GATEWAY_ADDR"),
            api: text("ONRUSH_API_ADDR"),
            peer: text("ONRUSH_PEER_ADDR"),
            advertise: text("ONRUSH_ADVERTISE"),
            voters: voters.transpose().map_err(|_| wrong("ONRUSH_VOTERS", "is 1, 3, 5 or 7"))?,
            roles: text("ONRUSH_ROLES"),
            zone: text("ONRUSH_ZONE"),
            insecure: insecure.transpose()?,
            log: text("ONRUSH_LOG"),
            log_format: log_format.transpose()?,
            ..Self::default()
        })
    }

    /// These settings, with those of `stronger` where it has any.
    #[must_use]
    pub fn merge(self, stronger: Self) -> Self {
        Self {
            name: stronger.name.or(self.name),
            data_dir: stronger.data_dir.or(self.data_dir),
            seeds: stronger.seeds.or(self.seeds),
            gateway: stronger.gateway.or(self.gateway),
            api: stronger.api.or(self.api),
            peer: stronger.peer.or(self.peer),
            advertise: stronger.advertise.or(self.advertise),
            voters: stronger.voters.or(self.voters),
            roles: stronger.roles.or(self.roles),
            zone: stronger.zone.or(self.zone),
            insecure: stronger.insecure.or(self.insecure),
            process_isolation: stronger.process_isolation.or(self.process_isolation),
            join_token: stronger.join_token.or(self.join_token),
            log: stronger.log.or(self.log),
            log_format: stronger.log_format.or(self.log_format),
            tune: stronger.tune.or(self.tune),
        }
    }

    /// Checks everything.
    ///
    /// # Errors
    /// Every problem there is, not just the first.
    pub fn resolve(self) -> Result<Settings, Vec<Problem>> {
        let mut found = Vec::new();
        let name = keep(&mut found, "--name", self.name.map(|name| name.parse::<Label>()).transpose());
        let roles = keep(&mut found, "--roles", self.roles.map(|roles| roles.parse::<Roles>()).transpose());
        let address = |found: &mut Vec<Problem>, setting, text: Option<String>, default: &str| {
            keep(found, setting, parse_address(&text.unwrap_or_else(|| default.to_owned())).map(Some))
        };
        let gateway = address(&mut found, "--gateway", self.gateway, "0.0.0.0:8080");
        let api = address(&mut found, "--api", self.api, "0.0.0.0:7070");
        let peer = address(&mut found, "--peer", self.peer, "0.0.0.0:7071");
        let mut refuse = |setting, why: String| found.push(Problem { setting, why });
        if self.data_dir.is_none() {
            refuse("--data-dir", "is required: the directory where this node keeps everything".to_owned());
        }
        let voters = self.voters.unwrap_or(3);
        if !matches!(voters, 1 | 3 | 5 | 7) {
            refuse("--voters", format!("must be 1, 3, 5 or 7, not {voters}"));
        }
        if self.insecure != Some(true) {
            let why = "is required: encryption and tokens come with a later release, and without them a node must be \
                       told that it may talk in plain text";
            refuse("--insecure", why.to_owned());
        }
        if self.join_token.is_some() {
            refuse("--join-token", "tokens come with a later release; leave it out".to_owned());
        }
        if let Some(other) = self.process_isolation.as_deref().filter(|level| !matches!(*level, "full" | "none")) {
            refuse("--process-isolation", format!("must be full or none, not {other:?}"));
        }
        for seed in self.seeds.iter().flatten() {
            if !is_host_and_port(seed) {
                refuse("--seed", format!("{seed:?} is no HOST:PORT, such as 10.0.0.1:7071"));
            }
        }
        if let Some(host) = self.advertise.as_deref().filter(|host| host.is_empty() || host.contains('/')) {
            refuse("--advertise", format!("{host:?} is no host or address"));
        }
        match (gateway, api, peer, self.data_dir) {
            (Some(gateway), Some(api), Some(peer), Some(data_dir)) if found.is_empty() => Ok(Settings {
                name,
                data_dir,
                seeds: self.seeds.unwrap_or_default(),
                gateway,
                api,
                peer,
                advertise: self.advertise,
                voters,
                roles: roles.unwrap_or_default(),
                zone: self.zone,
                tune: self.tune.unwrap_or_default(),
            }),
            _ => Err(found),
        }
    }
}

fn keep<T, E: fmt::Display>(found: &mut Vec<Problem>, setting: &'static str, value: Result<Option<T>, E>) -> Option<T> {
    value.unwrap_or_else(|error| {
        found.push(Problem { setting, why: error.to_string() });
        None
    })
}

/// `IP:PORT`, `:PORT` for every address, or `localhost:PORT`.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let full = match text.split_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some(_) | None => text.to_owned(),
    };
    full.parse().map_err(|_| format!("{text:?} is no address to listen on, such as 0.0.0.0:7071 or 127.0.0.1:0"))
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Raw {
        Raw { data_dir: Some("/data".into()), insecure: Some(true), ..Raw::default() }
    }

    fn settings_of(raw: Raw) -> Vec<&'static str> {
        raw.resolve().unwrap_err().iter().map(|problem| problem.setting).collect()
    }

    #[test]
    fn a_data_directory_and_the_word_insecure_are_enough() {
        let settings = good().resolve().unwrap();
        assert_eq!(settings.gateway.port(), 8080);
        assert_eq!(settings.voters, 3);
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let raw = Raw {
            name: Some("Not A Label".into()),
            gateway: Some("nowhere".into()),
            voters: Some(2),
            roles: Some("king".into()),
            seeds: Some(vec!["noport".into()]),
            ..Raw::default()
        };
        let named = settings_of(raw);
        for setting in ["--name", "--gateway", "--voters", "--roles", "--seed", "--data-dir", "--insecure"] {
            assert!(named.contains(&setting), "{setting} is missing in {named:?}");
        }
    }

    #[test]
    fn flags_beat_the_environment_and_that_beats_the_file() {
        let file: Raw = toml::from_str("name = 'file'\nzone = 'file'\nvoters = 5").unwrap();
        let variables = [("ONRUSH_NAME", "env"), ("ONRUSH_ZONE", "env"), ("ONRUSH_SEEDS", "a:1, b:2")];
        let variables = variables.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let flags = Raw { name: Some("flag".into()), ..good() };
        let settings = file.merge(Raw::from_variables(&variables).unwrap()).merge(flags).resolve().unwrap();
        assert_eq!(settings.name.unwrap().as_str(), "flag");
        assert_eq!(settings.zone.as_deref(), Some("env"));
        assert_eq!(settings.voters, 5);
        assert_eq!(settings.seeds, ["a:1", "b:2"]);
    }

    #[test]
    fn unknown_settings_in_a_file_are_refused_with_their_name() {
        let error = toml::from_str::<Raw>("gatway = ':8080'").unwrap_err().to_string();
        assert!(error.contains("gatway"), "{error}");
        let error = toml::from_str::<Raw>("[tune.worker]\nno-such-thing = 1").unwrap_err().to_string();
        assert!(error.contains("no-such-thing"), "{error}");
    }

    #[test]
    fn short_addresses_are_understood() {
        assert_eq!(parse_address(":7").unwrap(), "0.0.0.0:7".parse().unwrap());
        assert_eq!(parse_address("localhost:0").unwrap(), "127.0.0.1:0".parse().unwrap());
        assert!(parse_address("7071").is_err());
    }
}
