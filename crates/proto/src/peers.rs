//! Connections to other nodes: one HTTP/2 channel per peer, made lazily, found by node id, and refused by whoever
//! turns out to be somebody else.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use onrush_seams::Network;
use onrush_types::{ClusterId, NodeId};
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::Interceptor,
    transport::{Channel, Endpoint, Uri},
};

/// Metadata with the cluster that the sender belongs to.
pub const CLUSTER_KEY: &str = "onrush-cluster";
/// Metadata with the node that the sender means to reach.
pub const NODE_KEY: &str = "onrush-node";

/// A stream's window bounds what one unread body holds. The connection's must never be what is short: a few bodies that
/// nobody reads would stop everybody else's (docs/adr/0009-flow-control-between-nodes.md).
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Finds out where a node listens for peers.
pub trait FindPeer: Send + Sync {
    /// Its `host:port`, if anybody knows it.
    fn find(&self, node: NodeId) -> Option<String>;
}

impl<F: Fn(NodeId) -> Option<String> + Send + Sync> FindPeer for F {
    fn find(&self, node: NodeId) -> Option<String> {
        self(node)
    }
}

/// Channels to peers. Cheap to clone; each clone shares the connections. Give consensus a set of its own, so that bulk
/// data never stands in its way.
#[derive(Clone)]
pub struct Peers {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: ClusterId,
    network: Arc<dyn Network>,
    find: Arc<dyn FindPeer>,
    connect_timeout: Duration,
    channels: Mutex<BTreeMap<NodeId, (String, PeerChannel)>>,
}

/// A channel that tells the other side whom it means to reach.
pub type PeerChannel = tonic::service::interceptor::InterceptedService<Channel, Identify>;

/// Adds cluster and node id to every request.
#[derive(Clone)]
pub struct Identify {
    cluster: MetadataValue<tonic::metadata::Ascii>,
    node: MetadataValue<tonic::metadata::Ascii>,
}

impl Identify {
    fn of(cluster: ClusterId, node: NodeId) -> Result<Self, Status> {
        let ascii = |text: String| {
            text.parse().map_err(|_| Status::internal("an id is not ASCII; this is a defect of the platform"))
        };
        Ok(Self { cluster: ascii(cluster.to_string())?, node: ascii(node.to_string())? })
    }
}

impl Interceptor for Identify {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(CLUSTER_KEY, self.cluster.clone());
        request.metadata_mut().insert(NODE_KEY, self.node.clone());
        Ok(request)
    }
}

impl Peers {
    /// Channels for a member of `cluster`.
    pub fn new(cluster: ClusterId, network: Arc<dyn Network>, find: Arc<dyn FindPeer>) -> Self {
        let channels = Mutex::default();
        Self { inner: Arc::new(Inner { cluster, network, find, connect_timeout: Duration::from_secs(1), channels }) }
    }

    /// A channel to this node; connects with the first request.
    ///
    /// # Errors
    /// `unavailable` where nobody knows its address.
    pub fn channel(&self, node: NodeId) -> Result<PeerChannel, Status> {
        let address = self.inner.find.find(node);
        let address = address.ok_or_else(|| Status::unavailable(format!("nobody knows the address of node {node}")))?;
        let mut channels = self.inner.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, channel)) = channels.get(&node)
            && *known == address
        {
            return Ok(channel.clone());
        }
        let channel = dial(&self.inner.network, &address, self.inner.connect_timeout)?;
        let channel = PeerChannel::new(channel, Identify::of(self.inner.cluster, node)?);
        channels.insert(node, (address, channel.clone()));
        Ok(channel)
    }

    /// Forgets a node's channel, so that the next one is new.
    pub fn forget(&self, node: NodeId) {
        self.inner.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }
}

/// A channel to an address whose owner is not known yet; connects with the first request.
///
/// # Errors
/// `invalid_argument` for what is no `host:port`.
pub fn dial(network: &Arc<dyn Network>, address: &str, timeout: Duration) -> Result<Channel, Status> {
    let uri = Uri::builder().scheme("http").authority(address).path_and_query("/").build();
    let uri = uri.map_err(|error| Status::invalid_argument(format!("{address:?} is no host:port: {error}")))?;
    let network = Arc::clone(network);
    let connect = tower::service_fn(move |uri: Uri| {
        let network = Arc::clone(&network);
        async move { connect_any(&*network, uri.authority().map_or("", |authority| authority.as_str()), timeout).await }
    });
    let endpoint = Endpoint::from(uri)
        .connect_timeout(timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(connect))
}

/// Whether a call failed before it had a connection: then nothing of it can have reached the other side.
pub fn never_connected(status: &Status) -> bool {
    std::iter::successors(std::error::Error::source(status), |error| error.source()).any(|error| {
        // tonic wraps what the connector says, but not its own time limit around it. That one stands bare below the
        // transport's error; below anything that happens to a connection once it is there stands hyper's.
        let bare = error.is::<tonic::transport::Error>().then(|| error.source()).flatten();
        let late = bare.and_then(|error| error.downcast_ref::<std::io::Error>());
        error.is::<tonic::ConnectError>() || late.is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
    })
}

async fn connect_any(
    network: &dyn Network,
    authority: &str,
    patience: Duration,
) -> std::io::Result<hyper_util::rt::TokioIo<onrush_seams::Connection>> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, format!("{authority} has no address"));
    let addresses = network.resolve(authority).await?;
    // Each address gets its share of the time: a first one that swallows packets must not hide the others.
    let share = patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        match tokio::time::timeout(share, network.connect(address)).await {
            Ok(Ok(connection)) => return Ok(hyper_util::rt::TokioIo::new(connection)),
            Ok(Err(error)) => last = error,
            Err(_) => {
                let why = format!("{address} did not answer within {share:?}");
                last = std::io::Error::new(std::io::ErrorKind::TimedOut, why);
            }
        }
    }
    Err(last)
}

/// The server's side of [`Peers`]: refuses requests that were meant for another node or cluster. One that names nobody
/// is refused as well.
///
/// # Errors
/// `failed_precondition` with both sides' names.
pub fn check_identity<T>(request: &Request<T>, cluster: ClusterId, me: NodeId) -> Result<(), Status> {
    // Each forwarded call passes here: what is right is compared without printing it.
    let said = |key| request.metadata().get(key).and_then(|value| value.to_str().ok());
    if said(CLUSTER_KEY).and_then(|said| said.parse().ok()) != Some(cluster) {
        let theirs = said(CLUSTER_KEY).unwrap_or("nobody");
        let why = format!("this node belongs to cluster {cluster}, the request is for {theirs}");
        return Err(Status::failed_precondition(why));
    }
    if said(NODE_KEY).and_then(|said| said.parse().ok()) != Some(me) {
        let theirs = said(NODE_KEY).unwrap_or("nobody");
        return Err(Status::failed_precondition(format!("this is node {me}, the request is for node {theirs}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_somebody_else_is_refused() {
        let cluster = ClusterId::new();
        let mut request = Request::new(());
        assert!(check_identity(&request, cluster, NodeId(1)).is_err(), "a request that names nobody");
        request.metadata_mut().insert(CLUSTER_KEY, cluster.to_string().parse().unwrap());
        request.metadata_mut().insert(NODE_KEY, "1".parse().unwrap());
        assert!(check_identity(&request, cluster, NodeId(1)).is_ok());
        assert!(check_identity(&request, cluster, NodeId(2)).is_err());
        assert!(check_identity(&request, ClusterId::new(), NodeId(1)).is_err());
    }
}
