//! The server's side.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use onrush_invoke::{Body, BodyError, Invocation, Invoke, InvokeError, LoadNow, Reply};
use onrush_types::{ClusterId, Code, NodeId};
use tonic::{Request, Response, Status, Streaming};

use super::{
    MESSAGE_LIMIT, WHOLE_BODY_LIMIT,
    bodies::{Carries, Piece, Pieces, WireBody},
    wire::{error_out, invocation, load_out, reply_head},
};
use crate::{
    FormatError,
    internal::{self as pb, worker_server},
    peers::check_identity,
};

/// Serves calls of other nodes. Everything that the worker says, refusals included, travels as a frame with all its
/// fields; a gRPC status means that the transport failed.
pub struct WorkerService {
    invoke: Arc<dyn Invoke>,
    load: LoadNow,
    cluster: ClusterId,
    me: NodeId,
}

impl WorkerService {
    /// Over this worker, as this member of this cluster. `load` says how busy it is.
    pub fn new(invoke: Arc<dyn Invoke>, load: LoadNow, cluster: ClusterId, me: NodeId) -> Self {
        Self { invoke, load, cluster, me }
    }

    /// As a gRPC service, with its limits.
    pub fn into_server(self) -> worker_server::WorkerServer<Self> {
        worker_server::WorkerServer::new(self)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    async fn run(&self, call: Result<Invocation, InvokeError>) -> Response<ReplyFrames> {
        let outcome = match call {
            Ok(call) => self.invoke.invoke(call).await,
            Err(error) => Err(error),
        };
        let frames = match outcome {
            Ok(reply) => ReplyFrames::of(reply),
            Err(error) => Err(error),
        };
        Response::new(frames.unwrap_or_else(|error| ReplyFrames::failed(&error, &self.me.to_string())))
    }

    /// A request for somebody else is a typed refusal: nothing ran, another node may try.
    fn check<T>(&self, request: &Request<T>) -> Result<(), InvokeError> {
        check_identity(request, self.cluster, self.me)
            .map_err(|status| InvokeError::refused(Code::Unavailable, status.message()))
    }
}

fn malformed(error: FormatError) -> InvokeError {
    InvokeError::refused(Code::BadRequest, error.to_string())
}

#[tonic::async_trait]
impl worker_server::Worker for WorkerService {
    type CallStream = ReplyFrames;
    type CallStreamStream = ReplyFrames;

    async fn call(&self, request: Request<pb::CallRequest>) -> Result<Response<ReplyFrames>, Status> {
        let checked = self.check(&request);
        let pb::CallRequest { head, body } = request.into_inner();
        let call = checked.and_then(|()| invocation(head, Body::whole(body)).map_err(malformed));
        Ok(self.run(call).await)
    }

    async fn load(&self, request: Request<pb::LoadRequest>) -> Result<Response<pb::LoadReport>, Status> {
        check_identity(&request, self.cluster, self.me)?;
        Ok(Response::new(load_out((self.load)())))
    }

    async fn call_stream(&self, request: Request<Streaming<pb::CallFrame>>) -> Result<Response<ReplyFrames>, Status> {
        let checked = self.check(&request);
        let mut frames = request.into_inner();
        let call = match checked {
            Ok(()) => match frames.message().await?.and_then(|frame| frame.part) {
                Some(pb::call_frame::Part::Head(head)) => {
                    let body = WireBody::new(Bytes::new(), frames, caller_lost, ());
                    invocation(Some(head), Body::stream(body)).map_err(malformed)
                }
                Some(_) | None => Err(InvokeError::refused(Code::BadRequest, "a call begins with its head")),
            },
            Err(error) => Err(error),
        };
        Ok(self.run(call).await)
    }
}

fn caller_lost(status: Status) -> BodyError {
    BodyError::new(Code::Unavailable, format!("the caller's body broke off: {}", status.message()))
}

/// A reply as messages: its head with what is there of the body, then the rest as it comes.
pub struct ReplyFrames {
    waiting: VecDeque<pb::ReplyFrame>,
    rest: Option<Pieces>,
}

impl ReplyFrames {
    fn of(reply: Reply) -> Result<Self, InvokeError> {
        let (parts, body) = reply.response.into_parts();
        let mut head = reply_head(&parts, &reply.node, reply.load)?;
        let mut pieces = Pieces::new(body);
        let (mut first, ended) = pieces.ready_now();
        let data = take_data(&mut first);
        if data.len() <= WHOLE_BODY_LIMIT {
            head.body = data;
        } else {
            first.push_front(Piece::Data(data));
        }
        head.complete = ended && first.is_empty();
        let mut waiting = VecDeque::with_capacity(1 + first.len());
        waiting.push_back(pb::ReplyFrame { part: Some(pb::reply_frame::Part::Head(head)) });
        waiting.extend(first.into_iter().map(pb::ReplyFrame::pack));
        Ok(Self { waiting, rest: (!ended).then_some(pieces) })
    }

    fn failed(error: &InvokeError, node: &str) -> Self {
        let part = pb::reply_frame::Part::Error(error_out(error, node));
        Self { waiting: VecDeque::from([pb::ReplyFrame { part: Some(part) }]), rest: None }
    }
}

/// The data at the front, joined; one piece alone is moved.
fn take_data(pieces: &mut VecDeque<Piece>) -> Bytes {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(Piece::Data(data)) = pieces.pop_front_if(|piece| matches!(piece, Piece::Data(_))) {
        if first.is_empty() {
            first = data;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&data);
        }
    }
    if joined.is_empty() { first } else { joined.freeze() }
}

impl Stream for ReplyFrames {
    type Item = Result<pb::ReplyFrame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(frame) = this.waiting.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut this.rest {
            Some(pieces) => pieces.poll(cx).map(|piece| piece.map(|piece| Ok(pb::ReplyFrame::pack(piece)))),
            None => Poll::Ready(None),
        }
    }
}
