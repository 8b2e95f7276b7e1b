//! Whom a request is from: the connection's own address, or what proxies that are trusted say of it.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

use crate::{Config, connection::Client};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Each proxy adds whom it was asked by at the end. So the list is read from there, and the first address that is no
/// trusted proxy's is the client: what stands before it is that client's own invention. Where both headers are there,
/// `X-Forwarded-For` counts: more proxies write it, and the other one may be a client's that was passed on.
pub(crate) fn client(config: &Config, client: &Client, headers: &HeaderMap) -> IpAddr {
    if !client.trusted {
        return client.address;
    }
    let mut nearest = client.address;
    let mut chain = |address: Option<IpAddr>| match address {
        Some(address) => {
            nearest = address;
            config.trusts(address)
        }
        None => false,
    };
    let name = if headers.contains_key(FORWARDED_FOR) { &FORWARDED_FOR } else { &FORWARDED };
    let read = if *name == FORWARDED { said_to_be_for } else { address };
    'values: for value in headers.get_all(name).iter().rev() {
        for element in elements(value).rev() {
            if !chain(read(element)) {
                break 'values;
            }
        }
    }
    nearest
}

/// The parts of a list. A quoted comma splits, too: such an element is then no address, and nothing before it counts.
fn elements(value: &HeaderValue) -> impl DoubleEndedIterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    parsed.map(|ip: IpAddr| ip.to_canonical())
}

/// The address behind `for=` (RFC 7239); none where it is hidden.
fn said_to_be_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(node.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, headers: &[(&str, &str)]) -> String {
        let config = Config { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Config::default() };
        let address: IpAddr = peer.parse().unwrap();
        let connection = Client { address, ip: HeaderValue::from_static("unused"), trusted: config.trusts(address) };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        client(&config, &connection, &map).to_string()
    }

    #[test]
    fn the_first_stranger_from_the_right_is_the_client() {
        let xff = "x-forwarded-for";
        for (what, peer, headers, expected) in [
            ("a stranger is not believed", "192.0.2.1", &[(xff, "203.0.113.9")][..], "192.0.2.1"),
            ("a proxy is", "10.0.0.1", &[(xff, "203.0.113.9")], "203.0.113.9"),
            ("a proxy without a word is the client", "10.0.0.1", &[], "10.0.0.1"),
            ("what the client invented does not count", "10.0.0.1", &[(xff, "1.1.1.1, 203.0.113.9")], "203.0.113.9"),
            ("proxies in a row", "10.0.0.1", &[(xff, "1.1.1.1, 203.0.113.9, 10.0.0.3,10.0.0.2")], "203.0.113.9"),
            ("proxies alone", "10.0.0.1", &[(xff, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            (
                "several headers are one",
                "10.0.0.1",
                &[(xff, "1.1.1.1"), (xff, "203.0.113.9"), (xff, "10.0.0.2")],
                "203.0.113.9",
            ),
            ("nonsense ends it", "10.0.0.1", &[(xff, "203.0.113.9, what, 10.0.0.2")], "10.0.0.2"),
            ("ports and brackets", "10.0.0.1", &[(xff, "[2001:db8::1]:443")], "2001:db8::1"),
            ("IPv4 in IPv6 clothes", "10.0.0.1", &[(xff, "203.0.113.9, ::ffff:10.0.0.2")], "203.0.113.9"),
            (
                "RFC 7239",
                "10.0.0.1",
                &[("forwarded", "for=1.1.1.1, For=\"203.0.113.9:80\";proto=http, for=10.0.0.2")],
                "203.0.113.9",
            ),
            ("IPv6 there", "10.0.0.1", &[("forwarded", "proto=https;for=\"[2001:db8::1]\"")], "2001:db8::1"),
            ("hidden", "10.0.0.1", &[("forwarded", "for=203.0.113.9, for=_secret")], "10.0.0.1"),
            ("one header counts", "10.0.0.1", &[("forwarded", "for=1.1.1.1"), (xff, "203.0.113.9")], "203.0.113.9"),
        ] {
            assert_eq!(seen(peer, headers), expected, "{what}");
        }
    }
}
