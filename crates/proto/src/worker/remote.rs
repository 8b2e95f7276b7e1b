//! The caller's side.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use onrush_invoke::{Ask, Body, BodyError, Deadline, Invocation, Invoke, InvokeError, LoadReport, Reached, Reply};
use onrush_types::{Code, NodeId};
use tokio::{sync::oneshot, time::Instant};
use tonic::{Request, Response, Status, Streaming};

use super::{
    MESSAGE_LIMIT, WHOLE_BODY_LIMIT,
    bodies::{CallFrames, WireBody},
    wire::{CallMeta, call_head, error_in, load_in, response, split},
};
use crate::{
    internal::{self as pb, worker_client::WorkerClient},
    peers::{PeerChannel, Peers, never_connected},
};

/// How long an address is believed before it is looked up again. A node that moved is found after this time, or at once
/// when its old address refuses the connection.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(1);

type Client = WorkerClient<PeerChannel>;

/// Another node's worker.
pub struct RemoteNode {
    node: NodeId,
    peers: Peers,
    client: Mutex<Option<(Instant, Client)>>,
}

impl RemoteNode {
    /// The worker of this node. Connects with the first call.
    pub fn new(node: NodeId, peers: Peers) -> Self {
        Self { node, peers, client: Mutex::default() }
    }

    fn client(&self) -> Result<Client, InvokeError> {
        let now = Instant::now();
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, client)) = &*client
            && now.saturating_duration_since(*since) < LOOK_UP_AGAIN
        {
            return Ok(client.clone());
        }
        let channel = self.peers.channel(self.node);
        let channel = channel.map_err(|status| InvokeError::refused(Code::Unavailable, status.message()))?;
        let new = WorkerClient::new(channel)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        *client = Some((now, new.clone()));
        Ok(new)
    }

    /// What a transport's failure proves. Nothing ran only if there was no connection; everything else is unknown
    /// (reliability.md 9.1).
    fn failed(&self, status: &Status, deadline: Deadline) -> InvokeError {
        let node = self.node;
        if never_connected(status) {
            self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
            return InvokeError::refused(Code::Unavailable, format!("node {node} cannot be reached"));
        }
        // gRPC says "cancelled" both for a deadline and for a connection that broke; the clock knows which. (tonic's
        // own timer may be a moment early: the header that it reads is rounded down.)
        if deadline.has_passed() || causes(status).any(|error| error.is::<tonic::TimeoutExpired>()) {
            return self.late();
        }
        let why = format!("the connection to node {node} broke during the call: {}", status.message());
        InvokeError::interrupted(Code::OutcomeUnknown, why)
    }

    fn late(&self) -> InvokeError {
        InvokeError::deadline(Reached::MaybeRan, format!("node {} did not answer in time", self.node))
    }

    async fn send_whole(&self, call: CallMeta, head: pb::CallHead, body: Bytes) -> Result<Reply, InvokeError> {
        let mut client = self.client()?;
        let request = timed(pb::CallRequest { head: Some(head), body }, &call);
        let response = client.call(request).await.map_err(|status| self.failed(&status, call.deadline))?;
        self.receive(response, call.deadline, ()).await
    }

    async fn send_stream(&self, call: CallMeta, head: pb::CallHead, body: Body) -> Result<Reply, InvokeError> {
        let mut client = self.client()?;
        let (failed, body_failed) = oneshot::channel();
        let (here, caller) = oneshot::channel();
        let request = timed(CallFrames::new(head, body, failed, caller), &call);
        let exchange = async {
            let response = client.call_stream(request).await;
            let response = response.map_err(|status| self.failed(&status, call.deadline))?;
            self.receive(response, call.deadline, here).await
        };
        tokio::select! {
            biased;
            Ok(error) = body_failed => Err(error.into()),
            outcome = exchange => outcome,
        }
    }

    /// Reads the head. `guard` lives as long as the reply's body.
    async fn receive<G: Send + Unpin + 'static>(
        &self,
        response: Response<Streaming<pb::ReplyFrame>>,
        deadline: Deadline,
        guard: G,
    ) -> Result<Reply, InvokeError> {
        let mut frames = response.into_inner();
        let first = frames.message().await.map_err(|status| self.failed(&status, deadline))?;
        let head = match first.and_then(|frame| frame.part) {
            Some(pb::reply_frame::Part::Head(head)) => head,
            Some(pb::reply_frame::Part::Error(error)) => {
                finish(&mut frames).await;
                return Err(error_in(error));
            }
            Some(pb::reply_frame::Part::Data(_) | pb::reply_frame::Part::Trailers(_)) | None => {
                let why = format!("node {} answered without a head", self.node);
                return Err(InvokeError::interrupted(Code::OutcomeUnknown, why));
            }
        };
        let pb::ReplyHead { status, headers, node, load, body, complete } = head;
        let response = self::response(status, headers)
            .map_err(|error| InvokeError::interrupted(Code::OutcomeUnknown, error.to_string()))?;
        let body = if complete {
            finish(&mut frames).await;
            Body::whole(body)
        } else {
            Body::stream(WireBody::new(body, frames, worker_lost, guard))
        };
        Ok(Reply { response: response.map(|()| body), node: node.into(), load: load.map(load_in).unwrap_or_default() })
    }
}

#[async_trait]
impl Invoke for RemoteNode {
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError> {
        let (call, parts, body) = split(call);
        let head = call_head(&call, &parts)?;
        let whole = body.as_whole().filter(|bytes| bytes.len() <= WHOLE_BODY_LIMIT);
        let deadline = call.deadline;
        let sent = async {
            match whole {
                Some(bytes) => self.send_whole(call, head, bytes).await,
                None => self.send_stream(call, head, body).await,
            }
        };
        deadline.bound(sent).await.unwrap_or_else(|_| Err(self.late()))
    }
}

#[async_trait]
impl Ask for RemoteNode {
    async fn load(&self) -> Result<LoadReport, InvokeError> {
        let answer = self.client()?.load(pb::LoadRequest {}).await;
        let lost = |status: Status| {
            if never_connected(&status) {
                return self.failed(&status, Deadline::after(Duration::MAX));
            }
            // Nothing was called: whatever happened, nothing ran.
            InvokeError::refused(Code::Internal, format!("node {} did not say how busy it is: {status}", self.node))
        };
        answer.map(|answer| load_in(answer.into_inner())).map_err(lost)
    }
}

/// The deadline goes along twice: exactly in the head, and as `grpc-timeout` for whatever stands between.
fn timed<T>(message: T, call: &CallMeta) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(call.deadline.remaining());
    request
}

/// Reads to the end of the stream, which is there already or nearly so: a stream that is dropped before its end is
/// reset, and that costs a frame and looks like a caller that has gone.
async fn finish(frames: &mut Streaming<pb::ReplyFrame>) {
    while let Ok(Some(_)) = frames.message().await {}
}

fn worker_lost(status: Status) -> BodyError {
    BodyError::new(Code::OutcomeUnknown, format!("the reply broke off: {}", status.message()))
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}
