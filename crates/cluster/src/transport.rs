//! chitchat's sockets over the network seam.
//!
//! chitchat 0.13 keeps its codec to itself: only its own UDP socket turns a message into bytes. So that socket, on
//! loopback, serves as the codec: what it sends is caught by a second socket, framed, and goes out through the seam; what
//! comes in is unframed and handed to it the same way. A sentinel behind each incoming message tells when the codec has
//! refused one. Costs two loopback datagrams per message, a few per second.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use chitchat::{
    ChitchatEnvelope, ChitchatMessage, ProtocolVersion,
    transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpSocket},
};
use futures::FutureExt as _;
use onrush_seams::Datagrams;
use onrush_types::ClusterId;
use tracing::warn;

use crate::{
    frame::{MAX_DATAGRAM, seal, unseal},
    quiet::Quiet,
};

/// Loopback answers in microseconds; a codec that takes this long is broken.
const CODEC_PATIENCE: Duration = Duration::from_secs(10);
/// After so many failures to receive in a row the socket counts as broken.
const FAILURES: u32 = 100;

/// Hands the one socket that was bound before to chitchat.
pub(crate) struct SeamTransport {
    pub(crate) cluster: ClusterId,
    pub(crate) datagrams: Arc<dyn Datagrams>,
}

#[async_trait]
impl Transport for SeamTransport {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(SeamSocket {
            cluster: self.cluster,
            datagrams: Arc::clone(&self.datagrams),
            codec: Codec::open().await?,
            buffer: vec![0; MAX_DATAGRAM + 1],
            decoding: None,
            failures: 0,
            strangers: Quiet::default(),
            unsent: Quiet::default(),
        }))
    }
}

struct SeamSocket {
    cluster: ClusterId,
    datagrams: Arc<dyn Datagrams>,
    codec: Codec,
    buffer: Vec<u8>,
    /// Whose message the codec holds: `recv` may be dropped at any await and must go on where it was.
    decoding: Option<(SocketAddr, usize)>,
    failures: u32,
    strangers: Quiet,
    unsent: Quiet,
}

#[async_trait]
impl Socket for SeamSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.datagrams.local_addr()?)
    }

    /// A peer that cannot be reached is no error: the failure detector sees to it.
    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        let payload = self.codec.encode(envelope).await?;
        let frame = seal(self.cluster, payload);
        if frame.len() > MAX_DATAGRAM {
            self.complain(to, &format!("{} bytes do not fit in a datagram: too many nodes", frame.len()));
        } else if let Err(error) = self.datagrams.send_to(&frame, to).await {
            self.complain(to, &error.to_string());
        }
        Ok(SendOutcome { num_bytes_sent: frame.len() })
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            if let Some((from_addr, num_bytes_received)) = self.decoding {
                let message = self.codec.decoded().await?;
                self.decoding = None;
                if let Some(envelope) = message {
                    return Ok(RecvOutcome { from_addr, envelope, num_bytes_received });
                }
                self.turn_away(from_addr, "gossip cannot read it");
            }
            self.take().await?;
        }
    }
}

impl SeamSocket {
    /// Takes one datagram and starts to decode it if it is ours.
    async fn take(&mut self) -> anyhow::Result<()> {
        let (length, from) = match self.datagrams.recv_from(&mut self.buffer).await {
            Ok(received) => received,
            Err(error) if passing(&error) && self.failures < FAILURES => {
                self.failures += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
                return Ok(());
            }
            Err(error) => return Err(error).context("the gossip socket is broken"),
        };
        self.failures = 0;
        match unseal(self.cluster, self.buffer.get(..length).unwrap_or_default()) {
            Ok(payload) if self.codec.offer(payload)? => self.decoding = Some((from, length)),
            Ok(_) => {}
            Err(stranger) => self.turn_away(from, &stranger.to_string()),
        }
        Ok(())
    }

    fn turn_away(&self, from: SocketAddr, why: &str) {
        if let Some(held) = self.strangers.pass() {
            warn!(%from, why, others = held, "gossip datagram ignored");
        }
    }

    fn complain(&self, to: SocketAddr, why: &str) {
        if let Some(held) = self.unsent.pass() {
            warn!(%to, why, others = held, "gossip datagram not sent");
        }
    }
}

/// Errors that concern one datagram or one peer, not the socket.
fn passing(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::OutOfMemory
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
            | Kind::WouldBlock
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
    )
}

/// chitchat's own socket and the one that it talks to.
struct Codec {
    inner: UdpSocket,
    inner_at: SocketAddr,
    tap: tokio::net::UdpSocket,
    /// The same socket, past tokio's readiness: that of a new socket is not known yet, and the kernel's answer counts.
    tap_out: std::net::UdpSocket,
    tap_at: SocketAddr,
    buffer: Vec<u8>,
    found: Option<ChitchatEnvelope>,
    panicked: bool,
}

/// As chitchat writes it: magic number, protocol version, message type. Nodes of one cluster never send it: strangers
/// are turned away by the frame.
const SENTINEL: [u8; 4] = [0x53, 0xb0, 0, 3];

/// The sentinel is four bytes to a socket that has just taken a message; the system has no reason to refuse it twice.
const SENTINEL_TRIES: u32 = 1_000;

impl Codec {
    async fn open() -> anyhow::Result<Self> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let inner = UdpSocket::open(loopback).await.context("no loopback socket for gossip's codec")?;
        let tap_out = std::net::UdpSocket::bind(loopback).context("no loopback socket for gossip's codec")?;
        tap_out.set_nonblocking(true)?;
        let tap = tokio::net::UdpSocket::from_std(tap_out.try_clone()?)?;
        let (inner_at, tap_at) = (inner.local_addr()?, tap.local_addr()?);
        let buffer = vec![0; MAX_DATAGRAM];
        Ok(Self { inner, inner_at, tap, tap_out, tap_at, buffer, found: None, panicked: false })
    }

    async fn encode(&mut self, envelope: ChitchatEnvelope) -> anyhow::Result<&[u8]> {
        self.inner.send(self.tap_at, envelope).await?;
        let caught = async {
            loop {
                let (length, from) = self.tap.recv_from(&mut self.buffer).await?;
                // Any process of this machine can send here; only the codec is believed.
                if from == self.inner_at {
                    return io::Result::Ok(length);
                }
            }
        };
        let length = tokio::time::timeout(CODEC_PATIENCE, caught).await.context("gossip's codec does not answer")??;
        Ok(self.buffer.get(..length).unwrap_or_default())
    }

    /// Hands a message to the codec; false if it is not worth it.
    fn offer(&mut self, payload: &[u8]) -> anyhow::Result<bool> {
        if payload.len() < SENTINEL.len() || payload[..2] != SENTINEL[..2] || payload[3] >= SENTINEL[3] {
            return Ok(false);
        }
        // Not awaited, so that message and sentinel are handed over together or not at all.
        match self.tap_out.send_to(payload, self.inner_at) {
            Ok(_) => {}
            // A datagram that is lost is nothing new to gossip.
            Err(error) if passing(&error) => return Ok(false),
            Err(error) => return Err(error).context("gossip's codec does not listen"),
        }
        for _ in 0..SENTINEL_TRIES {
            match self.tap_out.send_to(&SENTINEL, self.inner_at) {
                Ok(_) => return Ok(true),
                Err(error) if passing(&error) => std::hint::spin_loop(),
                Err(error) => return Err(error).context("gossip's codec does not listen"),
            }
        }
        anyhow::bail!("gossip's codec takes no sentinel")
    }

    /// The message that was offered; none if the codec cannot read it.
    async fn decoded(&mut self) -> anyhow::Result<Option<ChitchatEnvelope>> {
        loop {
            let received = AssertUnwindSafe(self.inner.recv()).catch_unwind();
            let received = tokio::time::timeout(CODEC_PATIENCE, received).await;
            let Ok(received) = received.context("gossip's codec does not answer")? else {
                self.panicked = true;
                continue;
            };
            let received = received?;
            if received.from_addr != self.tap_at {
                continue;
            }
            match received.envelope.message {
                ChitchatMessage::BadCluster => {
                    if std::mem::take(&mut self.panicked) {
                        warn!("gossip's codec panicked on a message; it was ignored");
                    }
                    return Ok(self.found.take());
                }
                ChitchatMessage::Syn { .. } | ChitchatMessage::SynAck { .. } | ChitchatMessage::Ack { .. } => {
                    self.found = Some(received.envelope);
                }
            }
        }
    }
}

/// What every node writes: compressed digests, so that a datagram holds more nodes.
pub(crate) const PROTOCOL: ProtocolVersion = ProtocolVersion::V1;

#[cfg(test)]
mod tests {
    use onrush_seams::{Network as _, TokioNetwork};
    use tokio::time::timeout;

    use super::*;

    async fn pair(cluster: ClusterId) -> (Box<dyn Socket>, Arc<dyn Datagrams>) {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let datagrams = TokioNetwork.datagrams(loopback).await.unwrap();
        let transport = SeamTransport { cluster, datagrams: Arc::clone(&datagrams) };
        (transport.open(loopback).await.unwrap(), datagrams)
    }

    fn syn() -> ChitchatEnvelope {
        let message = ChitchatMessage::Syn { cluster_id: "c".into(), digest: Default::default() };
        ChitchatEnvelope { version: PROTOCOL, message }
    }

    #[tokio::test]
    async fn a_message_arrives_although_garbage_came_before_it() {
        let cluster = ClusterId::new();
        let (mut one, _) = pair(cluster).await;
        let (mut other, _) = pair(cluster).await;
        let (stranger, _) = pair(ClusterId::new()).await;
        let to = other.local_addr().unwrap();
        let raw = TokioNetwork.datagrams(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let mut broken = SENTINEL.to_vec();
        broken[3] = 1;
        broken.extend([0xff; 64]);
        for bytes in [b"junk".to_vec(), seal(cluster, b""), seal(cluster, &SENTINEL), seal(cluster, &broken)] {
            raw.send_to(&bytes, to).await.unwrap();
        }
        let mut stranger = stranger;
        stranger.send(to, syn()).await.unwrap();
        one.send(to, syn()).await.unwrap();
        let received = timeout(Duration::from_secs(5), other.recv()).await.unwrap().unwrap();
        assert_eq!(received.envelope, syn());
        assert_eq!(received.from_addr, one.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_codec_takes_messages_from_its_first_moment() {
        for _ in 0..200 {
            let mut codec = Codec::open().await.unwrap();
            let payload = codec.encode(syn()).await.unwrap().to_vec();
            let mut fresh = Codec::open().await.unwrap();
            // Nothing has been awaited on the new socket: the reactor has not seen it yet.
            assert!(fresh.offer(&payload).unwrap());
            assert_eq!(fresh.decoded().await.unwrap(), Some(syn()));
        }
    }

    #[tokio::test]
    async fn dropping_a_receive_loses_and_doubles_nothing() {
        let cluster = ClusterId::new();
        let (mut one, _) = pair(cluster).await;
        let (mut other, _) = pair(cluster).await;
        let to = other.local_addr().unwrap();
        for _ in 0..20 {
            one.send(to, syn()).await.unwrap();
            // Polled a few times and dropped at whatever await it has come to.
            let mut received = None;
            for polls in 0..1_000 {
                let once = futures::poll!(Box::pin(other.recv()));
                if let std::task::Poll::Ready(outcome) = once {
                    received = Some(outcome.unwrap());
                    break;
                }
                assert!(polls < 999, "nothing came");
                tokio::task::yield_now().await;
                // Lets the reactor see what arrived.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(received.unwrap().envelope, syn());
        }
        assert!(timeout(Duration::from_millis(50), other.recv()).await.is_err(), "one too many");
    }
}
