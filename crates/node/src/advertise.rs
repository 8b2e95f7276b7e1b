//! Under which addresses others reach this node.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
};

use onrush_seams::Network;
use onrush_types::NodeAddresses;

/// What was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) gateway: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// The addresses to tell others, and the peer address as it is registered: with the name that the operator chose where
/// there is one, so that it stays right when the name's address changes.
pub(crate) async fn advertised(
    bound: Bound,
    chosen: Option<&str>,
    seeds: &[String],
    network: &dyn Network,
) -> anyhow::Result<(NodeAddresses, String)> {
    let host = match chosen {
        Some(host) => resolve(host, network).await?,
        None if bound.peer.ip().is_unspecified() => outward(seeds, network).await,
        None => bound.peer.ip(),
    };
    let reach = |listener: SocketAddr| {
        let ip = if listener.ip().is_unspecified() { host } else { listener.ip() };
        SocketAddr::new(ip, listener.port())
    };
    let peer = SocketAddr::new(host, bound.peer.port());
    let registered = chosen.map_or_else(|| peer.to_string(), |host| with_port(host, peer.port()));
    Ok((NodeAddresses { gateway: reach(bound.gateway), api: reach(bound.api), peer }, registered))
}

async fn resolve(host: &str, network: &dyn Network) -> anyhow::Result<IpAddr> {
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let found = network.resolve(&with_port(host, 1)).await;
    let found = found.map_err(|error| anyhow::anyhow!("--advertise {host:?} does not resolve: {error}"))?;
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.map(SocketAddr::ip).ok_or_else(|| anyhow::anyhow!("--advertise {host:?} has no address"))
}

/// The address that this machine uses to reach its seeds. No packet is sent: the kernel picks a route.
async fn outward(seeds: &[String], network: &dyn Network) -> IpAddr {
    for seed in seeds {
        for address in network.resolve(seed).await.unwrap_or_default() {
            if let Ok(ip) = route_to(address)
                && !ip.is_unspecified()
            {
                return ip;
            }
        }
    }
    Ipv4Addr::LOCALHOST.into()
}

fn route_to(address: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    Ok(socket.local_addr()?.ip())
}

fn with_port(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use onrush_seams::TokioNetwork;

    use super::*;

    fn bound(ip: &str) -> Bound {
        let at = |port| SocketAddr::new(ip.parse().unwrap(), port);
        Bound { gateway: at(1), api: at(2), peer: at(3) }
    }

    #[tokio::test]
    async fn a_bound_address_is_told_as_it_is() {
        let (told, registered) = advertised(bound("127.0.0.1"), None, &[], &TokioNetwork).await.unwrap();
        assert_eq!(told.gateway, "127.0.0.1:1".parse().unwrap());
        assert_eq!(registered, "127.0.0.1:3");
    }

    #[tokio::test]
    async fn every_address_becomes_the_one_that_reaches_the_seeds() {
        let seeds = ["127.0.0.1:7071".to_owned()];
        let (told, registered) = advertised(bound("0.0.0.0"), None, &seeds, &TokioNetwork).await.unwrap();
        assert_eq!(told.api, "127.0.0.1:2".parse().unwrap());
        assert_eq!(registered, "127.0.0.1:3");
    }

    #[tokio::test]
    async fn a_chosen_name_is_registered_as_a_name() {
        let (told, registered) = advertised(bound("0.0.0.0"), Some("localhost"), &[], &TokioNetwork).await.unwrap();
        assert!(told.peer.ip().is_loopback());
        assert_eq!(registered, "localhost:3");
        assert!(advertised(bound("0.0.0.0"), Some("no.such.invalid"), &[], &TokioNetwork).await.is_err());
    }
}
