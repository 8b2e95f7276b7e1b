//! What a node says of itself, as gossip's keys and values. Written by us, but read from anybody: reading is strict and
//! total.

use std::{collections::BTreeMap, net::SocketAddr, str::FromStr};

use onrush_types::{Label, NodeAddresses, NodeId, NodeInfo, Roles};

/// What this node tells the others. `generation` must grow with every start of the process and be on disk before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// Its id in the catalog.
    pub id: NodeId,
    /// Its name.
    pub name: Label,
    /// Where others reach it; `peer` is also where it gossips.
    pub addresses: NodeAddresses,
    /// What it does.
    pub roles: Roles,
    /// Calls that compute at once.
    pub slots: u32,
    /// Relative speed of one slot in percent.
    pub speed: u32,
    /// Where it stands: 1 to 64 printable ASCII characters.
    pub zone: Option<String>,
    /// Its program's version: 1 to 64 printable ASCII characters.
    pub version: String,
    /// Grows with every start.
    pub generation: u64,
}

const NAME: &str = "name";
const GATEWAY: &str = "gateway";
const API: &str = "api";
const PEER: &str = "peer";
const ROLES: &str = "roles";
const SLOTS: &str = "slots";
const SPEED: &str = "speed";
const ZONE: &str = "zone";
const VERSION: &str = "version";
/// One character each: `1` for ready, draining, left.
const STATE: &str = "state";

/// A node's values by key.
pub(crate) trait Words {
    fn word(&self, key: &str) -> Option<&str>;
}

impl Words for BTreeMap<String, String> {
    fn word(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Words for chitchat::NodeState {
    fn word(&self, key: &str) -> Option<&str> {
        self.get(key)
    }
}

impl Advertised {
    /// What is wrong with it.
    pub(crate) fn problem(&self) -> Option<String> {
        let NodeAddresses { gateway, api, peer } = self.addresses;
        for (what, address) in [("gateway", gateway), ("api", api), ("peer", peer)] {
            if !reachable(address) {
                return Some(format!("others cannot reach the {what} address {address}: advertise a real one"));
            }
        }
        let texts = [Some(&self.version), self.zone.as_ref()];
        let wrong = texts.into_iter().flatten().find(|text| !plain(text))?;
        Some(format!("{wrong:?} must be 1 to 64 printable ASCII characters (zone or version)"))
    }

    /// The picture of a node that has just started.
    pub(crate) fn info(&self) -> NodeInfo {
        NodeInfo {
            id: self.id,
            name: self.name.clone(),
            addresses: self.addresses,
            roles: self.roles,
            slots: self.slots,
            speed: self.speed,
            zone: self.zone.clone(),
            generation: self.generation,
            draining: false,
            ready: false,
            alive: true,
            version: self.version.clone(),
        }
    }
}

/// The name of a node in gossip; short, because every digest carries it.
pub(crate) fn gossip_name(id: NodeId) -> String {
    format!("n{id}")
}

fn node_id(name: &str) -> Option<NodeId> {
    let id = NodeId::from_str(name.strip_prefix('n')?).ok()?;
    // Only the one way of writing it, so that no two names mean the same node; 0 is nobody.
    (id.0 > 0 && gossip_name(id) == name).then_some(id)
}

/// Everything a node says, to be set once.
pub(crate) fn say(info: &NodeInfo) -> Vec<(String, String)> {
    let mut words = vec![
        (NAME, info.name.to_string()),
        (GATEWAY, info.addresses.gateway.to_string()),
        (API, info.addresses.api.to_string()),
        (PEER, info.addresses.peer.to_string()),
        (ROLES, info.roles.to_string()),
        (SLOTS, info.slots.to_string()),
        (SPEED, info.speed.to_string()),
        (VERSION, info.version.clone()),
    ];
    words.extend(info.zone.clone().map(|zone| (ZONE, zone)));
    let (key, value) = say_state(info, false);
    words.into_iter().map(|(key, value)| (key.to_owned(), value)).chain([(key.to_owned(), value)]).collect()
}

/// The only value that changes during a run.
pub(crate) fn say_state(info: &NodeInfo, left: bool) -> (&'static str, String) {
    let digit = |flag| if flag { '1' } else { '0' };
    (STATE, [info.ready, info.draining, left].map(digit).iter().collect())
}

/// Reads what a node says. `alive` is the failure detector's word; a node that said goodbye is not alive.
pub(crate) fn read(name: &str, generation: u64, alive: bool, words: &impl Words) -> Result<NodeInfo, String> {
    let id = node_id(name).ok_or_else(|| format!("{:?} is no node", cut(name)))?;
    let text = |key: &'static str| words.word(key).ok_or_else(|| format!("{key} is missing"));
    let bad = |key: &'static str, value: &str| format!("{key} {:?} makes no sense", cut(value));
    let address = |key| {
        let value = text(key)?;
        let address = value.parse::<SocketAddr>().ok().filter(|address| reachable(*address));
        address.ok_or_else(|| bad(key, value))
    };
    let number = |key| text(key).and_then(|value| value.parse::<u32>().map_err(|_| bad(key, value)));
    let (ready, draining, left) = match text(STATE)?.as_bytes() {
        [ready @ (b'0' | b'1'), draining @ (b'0' | b'1'), left @ (b'0' | b'1')] => {
            (*ready == b'1', *draining == b'1', *left == b'1')
        }
        _ => return Err(bad(STATE, text(STATE)?)),
    };
    let zone = words.word(ZONE);
    let texts = [(VERSION, Some(text(VERSION)?)), (ZONE, zone)];
    if let Some((key, Some(value))) = texts.into_iter().find(|(_, text)| text.is_some_and(|text| !plain(text))) {
        return Err(bad(key, value));
    }
    Ok(NodeInfo {
        id,
        name: text(NAME).and_then(|name| name.parse().map_err(|_| bad(NAME, name)))?,
        addresses: NodeAddresses { gateway: address(GATEWAY)?, api: address(API)?, peer: address(PEER)? },
        roles: text(ROLES).and_then(|roles| roles.parse().map_err(|_| bad(ROLES, roles)))?,
        slots: number(SLOTS)?,
        speed: number(SPEED)?,
        zone: zone.map(str::to_owned),
        generation,
        draining: draining || left,
        ready: ready && !left,
        alive: alive && !left,
        version: text(VERSION)?.to_owned(),
    })
}

fn reachable(address: SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified()
}

fn plain(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn info(id: u64) -> NodeInfo {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = NodeAddresses { gateway: address(1), api: address(2), peer: address(3) };
        Advertised {
            id: NodeId(id),
            name: format!("node-{id}").parse().unwrap(),
            addresses,
            roles: Roles::default(),
            slots: 4,
            speed: 100,
            zone: Some("rack 1".into()),
            version: "0.1.0".into(),
            generation: 1,
        }
        .info()
    }

    pub(crate) fn words(info: &NodeInfo) -> BTreeMap<String, String> {
        say(info).into_iter().collect()
    }

    #[test]
    fn what_is_said_is_understood() {
        for (ready, draining) in [(false, false), (true, false), (true, true)] {
            let said = NodeInfo { ready, draining, ..info(7) };
            assert_eq!(read("n7", 1, true, &words(&said)), Ok(said));
        }
        let said = NodeInfo { zone: None, ..info(7) };
        assert_eq!(read("n7", 1, true, &words(&said)), Ok(said));
    }

    #[test]
    fn who_said_goodbye_is_dead_although_it_still_beats() {
        let mut said = words(&info(7));
        said.insert(STATE.into(), say_state(&info(7), true).1);
        let read = read("n7", 1, true, &said).unwrap();
        assert_eq!((read.alive, read.ready, read.draining), (false, false, true));
    }

    #[test]
    fn every_value_is_checked() {
        for (key, values) in [
            (NAME, &["", "Node", "a b"][..]),
            (GATEWAY, &["", "host:1", "127.0.0.1:0", "0.0.0.0:1", "127.0.0.1"]),
            (API, &["x"]),
            (PEER, &["[::]:7"]),
            (ROLES, &["", "king"]),
            (SLOTS, &["-1", "4294967296", "x"]),
            (SPEED, &["1.5"]),
            (ZONE, &["", "a\nb", "ü"]),
            (VERSION, &["", "\u{1b}[2J"]),
            (STATE, &["", "1", "0000", "002"]),
        ] {
            for value in values {
                let mut said = words(&info(7));
                said.insert(key.into(), (*value).into());
                let error = read("n7", 1, true, &said).unwrap_err();
                assert!(error.contains(key), "{key} {value}: {error}");
            }
        }
        for key in [NAME, GATEWAY, API, PEER, ROLES, SLOTS, SPEED, VERSION, STATE] {
            let mut said = words(&info(7));
            said.remove(key);
            assert!(read("n7", 1, true, &said).unwrap_err().contains(key));
        }
        for name in ["", "n", "n0", "n07", "n+7", "7", "m7", "n18446744073709551616"] {
            assert!(read(name, 1, true, &words(&info(7))).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(name: String, said: BTreeMap<String, String>, key in 0_usize..10, value: String) {
            prop_assert!(read(&name, 1, true, &said).is_err());
            let mut said = words(&info(7));
            let key = said.keys().nth(key).unwrap().clone();
            said.insert(key, value);
            let first = read("n7", 1, true, &said);
            prop_assert_eq!(read("n7", 1, true, &said), first);
        }
    }
}
