//! Which ports a node of `onrush dev` has.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
};

use onrush_types::Code;

use crate::failure::Failure;

/// The ports of one node, on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    gateway: u16,
    api: u16,
    peer: u16,
}

impl Ports {
    /// Node `node`, counted from 0: `8080 + node`, `7070 + 10 node`, `7071 + 10 node`.
    pub(super) const fn of(node: u16, offset: u16) -> Self {
        Self { gateway: 8080 + node + offset, api: 7070 + 10 * node + offset, peer: 7071 + 10 * node + offset }
    }

    pub(super) fn gateway(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.gateway).into()
    }

    pub(super) fn api(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.api).into()
    }

    pub(super) fn peer(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.peer).into()
    }

    /// Whether they are free, before anything is started.
    pub(super) fn check(&self) -> Result<(), Failure> {
        for address in [self.gateway(), self.api(), self.peer()] {
            free(address, TcpListener::bind(address).map(drop))?;
        }
        free(self.peer(), UdpSocket::bind(self.peer()).map(drop))
    }
}

fn free(address: SocketAddr, outcome: io::Result<()>) -> Result<(), Failure> {
    outcome.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::new(
            Code::Conflict,
            format!(
                "port {} is in use; is another `onrush dev` running? Stop it, or move this one with --port-offset 10000",
                address.port()
            ),
        ),
        _ => Failure::here(format!("cannot listen on {address}: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_follow_the_documented_pattern_and_never_meet() {
        assert_eq!(Ports::of(0, 0), Ports { gateway: 8080, api: 7070, peer: 7071 });
        assert_eq!(Ports::of(2, 0), Ports { gateway: 8082, api: 7090, peer: 7091 });
        let all: Vec<u16> =
            (0..64).map(|node| Ports::of(node, 0)).flat_map(|ports| [ports.gateway, ports.api, ports.peer]).collect();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn the_offset_that_is_advised_leaves_the_usual_ports_alone() {
        let all =
            |offset| (0..64).map(move |node| Ports::of(node, offset)).flat_map(|it| [it.gateway, it.api, it.peer]);
        let usual: std::collections::BTreeSet<_> = all(0).collect();
        assert!(all(10_000).all(|port| !usual.contains(&port)));
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let ports = Ports { gateway: port, api: port, peer: port };
        let Err(Failure::Failed { message, .. }) = ports.check() else { panic!("the port is free") };
        assert!(message.contains(&port.to_string()), "{message}");
    }
}
