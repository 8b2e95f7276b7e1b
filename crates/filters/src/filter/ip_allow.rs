//! `ip-allow`: who may come, by address.

use std::net::IpAddr;

use onrush_invoke::InvokeError;
use onrush_types::Code;
use serde::Deserialize;

use super::{Filter, Parameter, Wrong, wrong};
use crate::{
    stack::Gateways,
    value::{List, Network},
};

/// More networks than this belong into a firewall.
const MOST: usize = 1_024;

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default)]
    allow: List<Network>,
    #[serde(default)]
    deny: List<Network>,
}

/// The filter.
#[derive(Debug)]
pub(crate) struct IpAllow(Settings);

impl Filter for IpAllow {
    const NAME: &'static str = "ip-allow";
    const SUMMARY: &'static str = "Lets only some addresses in; the others get 403. The address is the client's as \
        `trusted-proxies` let it be known.";
    const EXAMPLE: &'static str = r#"{ use = "ip-allow", allow = ["10.0.0.0/8", "fd00::/8"], deny = ["10.9.0.0/16"] }"#;
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "allow",
            form: r#"["10.0.0.0/8", "2001:db8::1"]"#,
            default: Some("(everyone)"),
            meaning: "networks and addresses that may come; at most 1024",
        },
        Parameter {
            name: "deny",
            form: r#"["10.9.0.0/16"]"#,
            default: Some("[]"),
            meaning: "networks and addresses that may not, whatever `allow` says; at most 1024",
        },
    ];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        if settings.allow.0.is_empty() && settings.deny.0.is_empty() {
            return Err(vec![wrong("allow", "give `allow`, `deny` or both: without them everyone may come")]);
        }
        let long = [("allow", settings.allow.0.len()), ("deny", settings.deny.0.len())];
        let long = long.into_iter().filter(|(_, length)| *length > MOST);
        let long: Vec<_> = long.map(|(name, len)| wrong(name, format!("at most {MOST} networks, not {len}"))).collect();
        if long.is_empty() { Ok(Self(settings)) } else { Err(long) }
    }
}

impl IpAllow {
    pub(crate) fn check(&self, client: IpAddr) -> Result<(), InvokeError> {
        let among = |networks: &[Network]| networks.iter().any(|network| network.contains(client));
        let Settings { allow: List(allow), deny: List(deny) } = &self.0;
        if !among(deny) && (allow.is_empty() || among(allow)) {
            return Ok(());
        }
        Err(InvokeError::refused(Code::Forbidden, format!("{client} may not call this route (filter ip-allow)")))
    }
}
