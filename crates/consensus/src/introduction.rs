//! What a node tells about itself before it belongs to anything, and how it lets others in once it does.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use onrush_catalog::{CatalogStore, Command, Outcome, Proposal, Refusal};
use onrush_proto::{
    FormatError, code_status,
    internal::{
        AdmitReply, AdmitRequest, HelloReply, HelloRequest, Refusal as RefusalMessage,
        join_server::{Join, JoinServer},
    },
};
use onrush_seams::{Entropy, WallClock};
use onrush_types::{ClusterId, Code, NodeId};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{DataDir, DirError, Identity, wire};

/// How long the cluster may take to agree on a newcomer.
const ADMISSION: Duration = Duration::from_secs(8);
/// Larger requests are no requests for admission.
const LARGEST_REQUEST: usize = 16 << 10;

/// What this process answers when somebody asks who it is. Shared by the service and by whoever learns more about it.
pub struct Introduction {
    nonce: [u8; 16],
    seeds_hash: [u8; 32],
    who: Mutex<Who>,
    waits_for: watch::Sender<String>,
    door: OnceLock<Door>,
}

#[derive(Clone, Default)]
struct Who {
    cluster: Option<ClusterId>,
    node: NodeId,
    name: String,
}

struct Door {
    store: Arc<dyn CatalogStore>,
    clock: Arc<dyn WallClock>,
}

impl Introduction {
    /// What this data directory says already. Made before it is served: a member that looked pristine for a moment could
    /// make others form a second cluster.
    ///
    /// # Errors
    /// An unreadable file.
    pub fn new(dir: &DataDir, seeds: &[String], entropy: &dyn Entropy) -> Result<Arc<Self>, DirError> {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&entropy.next_u64().to_be_bytes());
        nonce[8..].copy_from_slice(&entropy.next_u64().to_be_bytes());
        let seeds_hash = Sha256::digest(seeds.join("\n").as_bytes()).into();
        let new = Self {
            nonce,
            seeds_hash,
            who: Mutex::default(),
            waits_for: watch::Sender::default(),
            door: OnceLock::new(),
        };
        match (dir.identity()?, dir.pending_join()?) {
            (Some(identity), _) => new.identify(&identity),
            (None, Some(join)) => new.commit_to(join.cluster),
            (None, None) => {}
        }
        Ok(Arc::new(new))
    }

    /// From now on this node lets others in, through the catalog.
    pub fn admit_through(&self, store: Arc<dyn CatalogStore>, clock: Arc<dyn WallClock>) {
        // A second call finds the door open already; the first one stays.
        let _first = self.door.set(Door { store, clock });
    }

    /// From now on this node is somebody.
    pub(crate) fn identify(&self, identity: &Identity) {
        let name = identity.name.to_string();
        *self.lock() = Who { cluster: Some(identity.cluster), node: identity.node, name };
    }

    /// This node has asked this cluster to let it in: it is pristine no more, and nobody must form another one with it.
    pub(crate) fn commit_to(&self, cluster: ClusterId) {
        self.lock().cluster = Some(cluster);
    }

    /// What this node waits for while it looks for its cluster, for people; empty before the first round of questions.
    pub fn waits_for(&self) -> watch::Receiver<String> {
        self.waits_for.subscribe()
    }

    pub(crate) fn wait_for(&self, missing: &[String]) {
        self.waits_for.send_replace(missing.join("; "));
    }

    pub(crate) fn hello(&self) -> HelloRequest {
        HelloRequest { nonce: self.nonce.to_vec().into(), seeds_hash: self.seeds_hash.to_vec().into() }
    }

    pub(crate) fn is_mine(&self, nonce: &[u8]) -> bool {
        nonce == self.nonce
    }

    pub(crate) fn is_same_list(&self, hash: &[u8]) -> bool {
        hash == self.seeds_hash
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Who> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The `Join` service: to be served before anything else, without authentication.
pub fn join_service(introduction: Arc<Introduction>) -> JoinServer<Joining> {
    JoinServer::new(Joining { introduction }).max_decoding_message_size(LARGEST_REQUEST)
}

/// Answers `Hello` and `Admit`.
pub struct Joining {
    introduction: Arc<Introduction>,
}

#[tonic::async_trait]
impl Join for Joining {
    async fn hello(&self, _request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let who = self.introduction.lock().clone();
        Ok(Response::new(HelloReply {
            nonce: self.introduction.nonce.to_vec().into(),
            seeds_hash: self.introduction.seeds_hash.to_vec().into(),
            cluster: who.cluster.map(wire::cluster_bytes).unwrap_or_default(),
            node: who.node.0,
            name: who.name,
        }))
    }

    async fn admit(&self, request: Request<AdmitRequest>) -> Result<Response<AdmitReply>, Status> {
        let command = read_admission(&request.get_ref().name, request.get_ref())?;
        let not_yet = || code_status(Code::Unavailable, "this node cannot let others in yet; ask again");
        let door = self.introduction.door.get().ok_or_else(not_yet)?;
        let cluster = door.store.watch().borrow().cluster.as_ref().map(|cluster| cluster.id).ok_or_else(not_yet)?;
        let request = wire::read_request("AdmitRequest", &request.get_ref().request)?;
        let proposal = Proposal { request, at_ms: door.clock.now_ms(), command };
        let committed = door.store.commit(proposal, ADMISSION).await;
        let committed = committed.map_err(|error| code_status(error.code(), error.to_string()))?;
        let (node, refused) = match committed.outcome {
            Outcome::NodeAllocated(node) => (node, None),
            Outcome::Refused(Refusal { code, why }) => {
                (NodeId::default(), Some(RefusalMessage { code: code.name().to_owned(), why }))
            }
            Outcome::Done | Outcome::FunctionPut { .. } | Outcome::RoutePut { .. } => {
                return Err(code_status(Code::BadRequest, "the request's id belongs to another request"));
            }
        };
        Ok(Response::new(AdmitReply { cluster: wire::cluster_bytes(cluster), node: node.0, refused }))
    }
}

fn read_admission(name: &str, request: &AdmitRequest) -> Result<Command, Status> {
    let field = |field| FormatError::Field { what: "AdmitRequest", field };
    Ok(Command::AllocateNode {
        name: name.parse().map_err(|_| field("name"))?,
        peer: request.peer.clone(),
        roles: request.roles.parse().map_err(|_| field("roles"))?,
    })
}
