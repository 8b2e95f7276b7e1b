//! Addresses become listeners.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::TcpKeepalive;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

use crate::Config;

/// How often, and how far apart, the kernel asks a silent peer before it gives it up.
const PROBES: (u32, Duration) = (3, Duration::from_secs(10));

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{0} is in use: stop the program that listens there, or choose another address (port 0 picks a free one)")]
    InUse(SocketAddr),
    /// The machine has no such address.
    #[error("{0} is no address of this machine: use one that it has, 127.0.0.1 or 0.0.0.0")]
    NotHere(SocketAddr),
    /// The port is reserved.
    #[error("not allowed to listen on {0}: use a port from 1024 up, or grant CAP_NET_BIND_SERVICE")]
    NotAllowed(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {0}: {1}")]
    Failed(SocketAddr, #[source] io::Error),
}

impl BindError {
    fn new(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::AddrNotAvailable => Self::NotHere(address),
            io::ErrorKind::PermissionDenied => Self::NotAllowed(address),
            _ => Self::Failed(address, error),
        }
    }
}

/// Takes connections: the operating system's TCP without a box, or any listener of the network seam.
pub trait Accept: Send + 'static {
    /// A connected byte stream.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The address that was bound.
    ///
    /// # Errors
    /// Those of the operating system.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next connection, with Nagle's algorithm off. Losing the future loses no connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Io, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    type Io = TcpStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }
}

impl Accept for Arc<dyn onrush_seams::Listener> {
    type Io = onrush_seams::Connection;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        (**self).local_addr()
    }

    async fn accept(&self) -> io::Result<(Self::Io, SocketAddr)> {
        (**self).accept().await
    }
}

/// Listens on `address`; port 0 picks a free one. What is set on a listener its connections inherit: it costs them
/// nothing.
pub(crate) fn listen(address: SocketAddr, config: &Config) -> Result<TcpListener, BindError> {
    let bound = || {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        // A restarted node must get its port back while old connections linger in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        let (retries, interval) = PROBES;
        let keepalive =
            TcpKeepalive::new().with_time(config.tcp_keepalive).with_interval(interval).with_retries(retries);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(config.tcp_user_timeout))?;
        socket.set_tcp_notsent_lowat(config.tcp_unsent_bytes)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|error| BindError::new(address, error))
}
