//! Connections of one address.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

/// Whose connection it is: an IPv4 address, or the /64 that an IPv6 client has all to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner(IpAddr);

impl From<SocketAddr> for Owner {
    fn from(peer: SocketAddr) -> Self {
        Self(match peer.ip().to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            ip @ IpAddr::V4(_) => ip,
        })
    }
}

/// Counts connections by address. Its size is bounded by the connections that there are.
#[derive(Debug, Clone)]
pub(crate) struct PerIp {
    cap: usize,
    counts: Arc<Mutex<HashMap<Owner, usize>>>,
}

/// One connection's place; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) owner: Owner,
    counts: Arc<Mutex<HashMap<Owner, usize>>>,
}

impl PerIp {
    pub(crate) fn new(cap: usize) -> Self {
        Self { cap, counts: Arc::default() }
    }

    /// A place, unless the address has all of its own.
    pub(crate) fn enter(&self, peer: SocketAddr) -> Option<Place> {
        let owner = Owner::from(peer);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(owner).or_default();
        if *count >= self.cap {
            return None;
        }
        *count += 1;
        Some(Place { owner, counts: Arc::clone(&self.counts) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = counts.entry(self.owner) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_they_come_back() {
        let per_ip = PerIp::new(2);
        let (one, other) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap());
        let places = (per_ip.enter(one), per_ip.enter("[::ffff:10.0.0.1]:9".parse().unwrap()));
        assert!(places.0.is_some() && places.1.is_some());
        assert!(per_ip.enter(one).is_none());
        assert!(per_ip.enter(other).is_some());
        drop(places);
        assert!(per_ip.enter(one).is_some());
        assert!(per_ip.counts.lock().unwrap().is_empty(), "nobody is remembered for ever");
    }

    #[test]
    fn a_client_of_ipv6_is_its_network() {
        let owner = |text: &str| Owner::from(text.parse::<SocketAddr>().unwrap());
        assert_eq!(owner("[2001:db8::1]:1"), owner("[2001:db8::ffff:2]:2"));
        assert_ne!(owner("[2001:db8::1]:1"), owner("[2001:db8:0:1::1]:1"));
        assert_ne!(owner("[::ffff:10.0.0.1]:1"), owner("[::ffff:10.0.0.2]:1"), "these are IPv4");
    }
}
