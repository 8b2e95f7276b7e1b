//! By what a limit tells callers apart.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Deserializer, de::Error};

use crate::value::Name;

/// What a limit counts by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Per {
    /// Each client address; IPv6 by its /64, which one household has to itself.
    #[default]
    Ip,
    /// All callers together.
    Route,
    /// Each value of a header; callers without it by their address.
    Header(HeaderName),
    /// Each caller that `auth` recognised.
    Key,
}

impl<'de> Deserialize<'de> for Per {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (text.as_str(), text.strip_prefix("header:")) {
            ("ip", _) => Ok(Self::Ip),
            ("route", _) => Ok(Self::Route),
            ("key", _) => Ok(Self::Key),
            (_, Some(name)) => Name::parse(name).map(|name| Self::Header(name.0)).map_err(D::Error::custom),
            _ => Err(D::Error::custom(format!("{text:?} is none of \"ip\", \"route\", \"key\" and \"header:NAME\""))),
        }
    }
}

/// A caller that `auth` recognised: the same number for the same caller, while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Caller(pub(crate) u64);

/// Makes keys that nobody outside can foresee, so that nobody can choose whom to collide with.
#[derive(Debug, Default)]
pub(crate) struct Hasher(RandomState);

impl Hasher {
    /// The key of a caller. Two callers share one with a chance of 1 in 2^64.
    pub(crate) fn key(&self, per: &Per, client: IpAddr, headers: &HeaderMap, caller: Option<Caller>) -> u64 {
        key(&self.0, per, (client, headers, caller))
    }

    pub(crate) fn text(&self, text: &str) -> u64 {
        self.0.hash_one(text)
    }
}

/// The key of a caller, by any hash.
pub(crate) fn key<S: BuildHasher>(
    hash: &S,
    per: &Per,
    (client, headers, caller): (IpAddr, &HeaderMap, Option<Caller>),
) -> u64 {
    match (per, caller) {
        (Per::Route, _) => 0,
        (Per::Key, Some(caller)) => hash.hash_one(("key", caller)),
        (Per::Ip, _) | (Per::Key, None) => hash.hash_one(network(client)),
        (Per::Header(name), _) => match headers.get(name) {
            Some(value) => hash.hash_one(("header", value.as_bytes())),
            None => hash.hash_one(network(client)),
        },
    }
}

/// Whose address this is: an IPv4 address as it is, an IPv6 address by its first 64 bits.
fn network(ip: IpAddr) -> (bool, u64) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => (false, u64::from(ip.to_bits())),
        IpAddr::V6(ip) => (true, u64::try_from(ip.to_bits() >> 64).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hasher: &Hasher, per: &Per, ip: &str, header: Option<&'static str>) -> u64 {
        let headers = header.map(|value| (HeaderName::from_static("x-tenant"), value.parse().unwrap()));
        hasher.key(per, ip.parse().unwrap(), &headers.into_iter().collect(), None)
    }

    #[test]
    fn a_household_is_one_caller_and_two_are_two() {
        let hasher = Hasher::default();
        let ip = |text| key(&hasher, &Per::Ip, text, None);
        assert_eq!(ip("2001:db8:1:2::1"), ip("2001:db8:1:2:ffff::9"));
        assert_ne!(ip("2001:db8:1:2::1"), ip("2001:db8:1:3::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
        assert_ne!(ip("192.0.2.1"), ip("192.0.2.2"));
        assert_ne!(ip("0.0.0.1"), ip("::1:0:0:0:1"), "the families do not meet");
    }

    #[test]
    fn a_header_counts_and_leaving_it_out_is_no_way_around() {
        let hasher = Hasher::default();
        let per = Per::Header(HeaderName::from_static("x-tenant"));
        assert_eq!(key(&hasher, &per, "192.0.2.1", Some("a")), key(&hasher, &per, "192.0.2.2", Some("a")));
        assert_ne!(key(&hasher, &per, "192.0.2.1", Some("a")), key(&hasher, &per, "192.0.2.1", Some("b")));
        assert_eq!(key(&hasher, &per, "192.0.2.1", None), key(&hasher, &Per::Ip, "192.0.2.1", None));
    }
}
