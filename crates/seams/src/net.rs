//! The network: listen, connect, datagrams.

use std::{io, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connected byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connected byte stream of any kind.
pub type Connection = Box<dyn Stream>;

/// Takes connections on one address.
#[async_trait]
pub trait Listener: Send + Sync {
    /// The address that was bound: port 0 has become a real one.
    ///
    /// # Errors
    /// Those of the operating system.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next connection and where it comes from.
    ///
    /// # Errors
    /// Those of the operating system; most concern one connection and the next call may succeed.
    async fn accept(&self) -> io::Result<(Connection, SocketAddr)>;
}

/// Sends and receives datagrams on one address.
#[async_trait]
pub trait Datagrams: Send + Sync {
    /// The address that was bound.
    ///
    /// # Errors
    /// Those of the operating system.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Sends one datagram.
    ///
    /// # Errors
    /// Those of the operating system.
    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize>;

    /// Receives one datagram.
    ///
    /// # Errors
    /// Those of the operating system.
    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
}

/// Makes sockets.
#[async_trait]
pub trait Network: Send + Sync {
    /// Listens for connections; port 0 picks a free one.
    ///
    /// # Errors
    /// Those of the operating system, such as an address in use.
    async fn listen(&self, address: SocketAddr) -> io::Result<Arc<dyn Listener>>;

    /// Connects, with Nagle's algorithm off.
    ///
    /// # Errors
    /// Those of the operating system. The caller bounds the time.
    async fn connect(&self, address: SocketAddr) -> io::Result<Connection>;

    /// Opens a socket for datagrams.
    ///
    /// # Errors
    /// Those of the operating system.
    async fn datagrams(&self, address: SocketAddr) -> io::Result<Arc<dyn Datagrams>>;

    /// Looks a `host:port` up; all its addresses.
    ///
    /// # Errors
    /// Those of the resolver.
    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>>;
}

/// The real network.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioNetwork;

/// How many connections may wait to be accepted: a burst must not be turned away by the kernel's default of 128.
const BACKLOG: i32 = 4_096;

struct TcpListener(tokio::net::TcpListener);

#[async_trait]
impl Listener for TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn accept(&self) -> io::Result<(Connection, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), peer))
    }
}

struct UdpSocket(tokio::net::UdpSocket);

#[async_trait]
impl Datagrams for UdpSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.0.send_to(bytes, to).await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.recv_from(buffer).await
    }
}

#[async_trait]
impl Network for TokioNetwork {
    async fn listen(&self, address: SocketAddr) -> io::Result<Arc<dyn Listener>> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        // A restarted node must get its port back while old connections linger in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Arc::new(TcpListener(tokio::net::TcpListener::from_std(socket.into())?)))
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Connection> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    async fn datagrams(&self, address: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
        Ok(Arc::new(UdpSocket(tokio::net::UdpSocket::bind(address).await?)))
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(name).await?.collect())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_refused_and_a_free_one_is_named() {
        let listener = TokioNetwork.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_ne!(address.port(), 0);
        let taken = TokioNetwork.listen(address).await.err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn bytes_go_both_ways() {
        let listener = TokioNetwork.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, connected) = tokio::join!(listener.accept(), TokioNetwork.connect(address));
        let ((mut one, _), mut other) = (accepted.unwrap(), connected.unwrap());
        one.write_all(b"hi").await.unwrap();
        let mut buffer = [0; 2];
        other.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"hi");
    }
}
