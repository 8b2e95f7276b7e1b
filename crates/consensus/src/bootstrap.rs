//! How a node gets its identity: from its disk, from a cluster that lets it in, or by forming one.

use std::sync::Arc;

use futures::future::join_all;
use onrush_proto::{
    internal::{AdmitRequest, join_client::JoinClient},
    peers::dial,
};
use onrush_seams::Network;
use onrush_types::{ClusterId, Code, NodeId, RequestId};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tracing::{info, warn};

use crate::{
    Config, DataDir, DirError, Founding, Identity, Introduction, Me,
    identity::PendingJoin,
    seeds::{Answer, TwoClusters, Verdict, judge},
    wire,
};

/// What a node says when it looks for its cluster.
#[derive(Debug, Clone)]
pub struct Applicant {
    /// Itself.
    pub me: Me,
    /// The list of seeds, `host:port`, as the operator wrote it; the same on every node.
    pub seeds: Vec<String>,
    /// How many nodes shall vote, should this node form the cluster.
    pub voters: u8,
}

/// Why a node has no identity. Final: the process should end and say so.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// Nobody to ask.
    #[error("no seeds: give at least one --seed HOST:PORT, the same list to every node (a single node names itself)")]
    NoSeeds,
    /// A seed that is no address.
    #[error("--seed {seed}: {why}")]
    BadSeed {
        /// As written.
        seed: String,
        /// What is wrong with it.
        why: String,
    },
    /// The seeds do not agree.
    #[error(transparent)]
    TwoClusters(#[from] TwoClusters),
    /// The seeds belong to somebody else.
    #[error(
        "this data directory belongs to cluster {mine}, but seed {seed} to {theirs}. Start the node with the seeds of its \
         own cluster, or with an empty data directory to join the other one"
    )]
    ForeignCluster {
        /// The cluster on this disk.
        mine: ClusterId,
        /// The seed's.
        theirs: ClusterId,
        /// Which seed.
        seed: String,
    },
    /// Another process has this node's identity.
    #[error(
        "another process runs as node {node} already, at {seed}: this data directory is a copy of that node's. Start \
         this node with an empty data directory and a --name of its own, or stop the other process for good first"
    )]
    Double {
        /// Which node both claim to be.
        node: NodeId,
        /// Where the other one answers.
        seed: String,
    },
    /// The cluster does not let this node in.
    #[error("cluster {cluster} does not admit this node: {why}")]
    Refused {
        /// Which cluster.
        cluster: ClusterId,
        /// In the words that clients see.
        code: Code,
        /// Its reason, with instructions.
        why: String,
    },
}

/// Returns when this node is somebody: at once where its disk knows, else when a cluster was joined or formed, which may
/// take as long as the seeds need to appear. The `Join` service with the same `introduction` must be served already.
///
/// # Errors
/// [`BootstrapError`], each with what to do about it.
pub async fn find_identity(
    config: &Config,
    dir: &DataDir,
    introduction: &Introduction,
    network: &Arc<dyn Network>,
    applicant: Applicant,
) -> Result<Identity, BootstrapError> {
    let search =
        Search { config, dir, introduction, network, contacts: contacts(config, network, &applicant)?, applicant };
    let identity = match dir.identity()? {
        Some(identity) => search.confirm(identity).await?,
        None => search.apply().await?,
    };
    introduction.identify(&identity);
    Ok(identity)
}

struct Search<'a> {
    config: &'a Config,
    dir: &'a DataDir,
    introduction: &'a Introduction,
    network: &'a Arc<dyn Network>,
    contacts: Vec<JoinClient<Channel>>,
    applicant: Applicant,
}

fn contacts(
    config: &Config,
    network: &Arc<dyn Network>,
    applicant: &Applicant,
) -> Result<Vec<JoinClient<Channel>>, BootstrapError> {
    if applicant.seeds.is_empty() {
        return Err(BootstrapError::NoSeeds);
    }
    let contact = |seed: &String| {
        let port = seed.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let bad = |why: &str| BootstrapError::BadSeed { seed: seed.clone(), why: why.to_owned() };
        port.ok_or_else(|| bad("a seed is HOST:PORT"))?;
        dial(network, seed, config.seed_timeout).map(JoinClient::new).map_err(|status| bad(status.message()))
    };
    applicant.seeds.iter().map(contact).collect()
}

impl Search<'_> {
    /// The disk knows. A seed that belongs to another cluster shows that somebody mixed something up.
    async fn confirm(&self, identity: Identity) -> Result<Identity, BootstrapError> {
        if identity.name != self.applicant.me.name {
            warn!(registered = %identity.name, given = %self.applicant.me.name, "a node keeps the name it was registered with");
        }
        for (seed, answer) in self.applicant.seeds.iter().zip(self.ask_all().await) {
            match answer {
                Answer::Member { cluster: theirs, .. } if theirs != identity.cluster => {
                    let mine = identity.cluster;
                    return Err(BootstrapError::ForeignCluster { mine, theirs, seed: seed.clone() });
                }
                Answer::Member { node, .. } if node == identity.node => {
                    return Err(BootstrapError::Double { node, seed: seed.clone() });
                }
                Answer::Member { .. } | Answer::Myself | Answer::Pristine { .. } | Answer::Silent { .. } => {}
            }
        }
        Ok(identity)
    }

    /// The disk knows nothing: asks until the answer is clear.
    async fn apply(&self) -> Result<Identity, BootstrapError> {
        let mut reminded: Option<Instant> = None;
        loop {
            let missing = match judge(&self.applicant.seeds, &self.ask_all().await)? {
                Verdict::Join { cluster, through } => match self.join(cluster, &through).await? {
                    Ok(identity) => return Ok(identity),
                    Err(missing) => missing,
                },
                Verdict::Form if self.dir.pending_join()?.is_none() => return self.form(),
                Verdict::Form => vec!["the cluster that this node has asked to join".to_owned()],
                Verdict::Wait(missing) => missing,
            };
            self.introduction.wait_for(&missing);
            if reminded.is_none_or(|last| last.elapsed() >= self.config.seed_reminder) {
                info!(missing = missing.join("; "), "this node looks for its cluster and waits for");
                reminded = Some(Instant::now());
            }
            sleep(self.config.seed_interval).await;
        }
    }

    /// Makes this node the founder. What follows (Raft, the first command) can be interrupted and repeated.
    fn form(&self) -> Result<Identity, BootstrapError> {
        let founding = Some(Founding { request: RequestId::new(), voters: self.applicant.voters });
        let name = self.applicant.me.name.clone();
        let identity = Identity { cluster: ClusterId::new(), node: NodeId(1), name, founding };
        self.dir.keep_identity(&identity)?;
        info!(cluster = %identity.cluster, "this node forms the cluster");
        Ok(identity)
    }

    /// Asks the cluster to let this node in; the inner error says what is missing for now.
    async fn join(
        &self,
        cluster: ClusterId,
        through: &[usize],
    ) -> Result<Result<Identity, Vec<String>>, BootstrapError> {
        let join = self.request_for(cluster)?;
        let mut missing = Vec::new();
        for &i in through {
            let seed = &self.applicant.seeds[i];
            match self.admit(self.contacts[i].clone(), &join).await? {
                Ok(identity) => {
                    self.dir.keep_identity(&identity)?;
                    info!(cluster = %identity.cluster, node = %identity.node, through = %seed, "this node was admitted");
                    return Ok(Ok(identity));
                }
                Err(why) => missing.push(format!("{seed} to admit it ({why})")),
            }
        }
        Ok(Err(missing))
    }

    /// The request for admission: on disk before it is sent, so that a crash repeats the same one.
    fn request_for(&self, cluster: ClusterId) -> Result<PendingJoin, BootstrapError> {
        let name = &self.applicant.me.name;
        if let Some(join) = self.dir.pending_join()? {
            if join.cluster != cluster {
                let (mine, seed) = (join.cluster, self.applicant.seeds.join(", "));
                return Err(BootstrapError::ForeignCluster { mine, theirs: cluster, seed });
            }
            if join.name == *name {
                return Ok(join);
            }
        }
        let join = PendingJoin { cluster, request: RequestId::new(), name: name.clone() };
        self.dir.keep_join(&join)?;
        self.introduction.commit_to(cluster);
        Ok(join)
    }

    async fn admit(
        &self,
        mut contact: JoinClient<Channel>,
        join: &PendingJoin,
    ) -> Result<Result<Identity, String>, BootstrapError> {
        let me = &self.applicant.me;
        let request = AdmitRequest {
            request: wire::request_bytes(join.request),
            name: join.name.to_string(),
            peer: me.peer.clone(),
            roles: me.roles.to_string(),
        };
        let reply = match timeout(self.config.admit_timeout, contact.admit(request)).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => return Ok(Err(wire::with_cause(&status))),
            Err(_) => return Ok(Err("no answer".to_owned())),
        };
        if let Some(refused) = reply.refused {
            // The cluster remembers what it answered to this request; the next one must be another.
            self.dir.forget_join()?;
            let code = Code::from_name(&refused.code).unwrap_or(Code::Internal);
            if code.meaning().retryable {
                return Ok(Err(refused.why));
            }
            return Err(BootstrapError::Refused { cluster: join.cluster, code, why: refused.why });
        }
        match wire::read_cluster("AdmitReply", &reply.cluster) {
            Ok(Some(cluster)) if cluster == join.cluster && reply.node != 0 => {
                Ok(Ok(Identity { cluster, node: NodeId(reply.node), name: join.name.clone(), founding: None }))
            }
            Ok(_) | Err(_) => Ok(Err("it answered for another cluster".to_owned())),
        }
    }

    async fn ask_all(&self) -> Vec<Answer> {
        let asked = self.applicant.seeds.iter().zip(&self.contacts);
        join_all(asked.map(|(seed, contact)| self.ask(seed, contact.clone()))).await
    }

    /// This process answered to a seed's name. Where others answer to it as well, each of them would take itself for that
    /// seed, and each would form a cluster.
    async fn alone_under(&self, seed: &str) -> Answer {
        let addresses = self.network.resolve(seed).await.unwrap_or_default();
        if addresses.len() < 2 {
            return Answer::Myself;
        }
        for address in addresses {
            let Ok(channel) = dial(self.network, &address.to_string(), self.config.seed_timeout) else { continue };
            let mut contact = JoinClient::new(channel);
            let reply = timeout(self.config.seed_timeout, contact.hello(self.introduction.hello())).await;
            if let Ok(Ok(reply)) = reply
                && !self.introduction.is_mine(&reply.get_ref().nonce)
            {
                let why = format!("its name stands for several nodes ({address} is another one); name each by itself");
                return Answer::Silent { why };
            }
        }
        Answer::Myself
    }

    async fn ask(&self, seed: &str, mut contact: JoinClient<Channel>) -> Answer {
        let asked = timeout(self.config.seed_timeout, async {
            // Said apart from "unreachable": in a compose file names appear late, and a typing error never does.
            match self.network.resolve(seed).await {
                Ok(addresses) if addresses.is_empty() => return Err("its name has no address".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("its name does not resolve: {error}")),
            }
            contact.hello(self.introduction.hello()).await.map_err(|status| wire::with_cause(&status))
        });
        let reply = match asked.await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(why)) => return Answer::Silent { why },
            Err(_) => return Answer::Silent { why: "no answer".to_owned() },
        };
        if self.introduction.is_mine(&reply.nonce) {
            return self.alone_under(seed).await;
        }
        match wire::read_cluster("HelloReply", &reply.cluster) {
            Ok(Some(cluster)) => Answer::Member { cluster, node: NodeId(reply.node) },
            Ok(None) => Answer::Pristine { same_list: self.introduction.is_same_list(&reply.seeds_hash) },
            Err(error) => Answer::Silent { why: error.to_string() },
        }
    }
}
