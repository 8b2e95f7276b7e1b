//! The name of a node that was given none: its host's, made into a label.

use onrush_types::Label;

/// The port that needs no mention.
const USUAL_PORT: u16 = 7071;

/// `HOST`, or `HOST-PORT` where several nodes may run on one host.
pub(crate) fn by_host(port: u16) -> anyhow::Result<Label> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = from_host(&host, port);
    name.parse().map_err(|error| anyhow::anyhow!("this host's name makes no node name ({error}); give one with --name"))
}

fn from_host(host: &str, port: u16) -> String {
    let first = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let plain: String = first.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(50).collect();
    let plain = plain.trim_matches('-');
    let plain = if plain.is_empty() { "node" } else { plain };
    if port == USUAL_PORT { plain.to_owned() } else { format!("{plain}-{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_labels() {
        for (host, port, expected) in [
            ("web-1.example.com", 7071, "web-1"),
            ("Bob's_Mac", 7071, "bob-s-mac"),
            ("web", 7081, "web-7081"),
            ("", 7071, "node"),
            ("---", 1, "node-1"),
        ] {
            assert_eq!(from_host(host, port), expected);
            assert!(from_host(host, port).parse::<Label>().is_ok());
        }
    }
}
