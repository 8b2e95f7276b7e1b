//! Connections of one address.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts connections by address. Its size is bounded by the connections that there are.
#[derive(Debug, Clone)]
pub(crate) struct PerIp {
    cap: Option<NonZeroUsize>,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection's place; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    ip: IpAddr,
    counts: Option<Arc<Mutex<HashMap<IpAddr, usize>>>>,
}

impl PerIp {
    pub(crate) fn new(cap: Option<NonZeroUsize>) -> Self {
        Self { cap, counts: Arc::default() }
    }

    /// A place, unless the address has all of its own.
    pub(crate) fn enter(&self, peer: SocketAddr) -> Option<Place> {
        let ip = peer.ip().to_canonical();
        let Some(cap) = self.cap else { return Some(Place { ip, counts: None }) };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_default();
        if *count >= cap.get() {
            return None;
        }
        *count += 1;
        Some(Place { ip, counts: Some(Arc::clone(&self.counts)) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(counts) = &self.counts else { return };
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = counts.entry(self.ip) {
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
        let per_ip = PerIp::new(NonZeroUsize::new(2));
        let (one, other) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap());
        let places = (per_ip.enter(one), per_ip.enter("[::ffff:10.0.0.1]:9".parse().unwrap()));
        assert!(places.0.is_some() && places.1.is_some());
        assert!(per_ip.enter(one).is_none());
        assert!(per_ip.enter(other).is_some());
        drop(places);
        assert!(per_ip.enter(one).is_some());
        assert!(per_ip.counts.lock().unwrap().is_empty(), "nobody is remembered for ever");
    }
}
