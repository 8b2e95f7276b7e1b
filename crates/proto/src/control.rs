//! A node's own affairs, asked for by another node: draining, waiting for a revision, reading logs.

use std::{pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use onrush_catalog::{ControlError, LogQuery, LogStreamOf};
use onrush_types::{ClusterId, FunctionName, InvocationId, LogLine, LogStream, NodeId, Revision, VersionNumber};
use tonic::{Request, Response, Status};

use crate::{
    FormatError, code_status,
    internal::{self as wire, node_control_client::NodeControlClient, node_control_server},
    peers::{Peers, check_identity},
    status_code,
};

/// How much longer than the remote wait the caller waits for its answer.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// What a node does for its peers.
#[async_trait]
pub trait LocalNode: Send + Sync {
    /// Take nothing new and finish what is there, or serve again.
    async fn set_draining(&self, draining: bool);

    /// Waits until the catalog has this revision, or for `timeout`; returns the revision it has then.
    async fn await_revision(&self, revision: Revision, timeout: Duration) -> Revision;

    /// A function's lines on this node.
    fn logs(&self, query: &LogQuery) -> LogStreamOf;
}

/// Serves [`LocalNode`] to peers.
pub struct ControlService {
    node: Arc<dyn LocalNode>,
    cluster: ClusterId,
    me: NodeId,
}

impl ControlService {
    /// The service, ready for a router.
    pub fn server(
        node: Arc<dyn LocalNode>,
        cluster: ClusterId,
        me: NodeId,
    ) -> node_control_server::NodeControlServer<Self> {
        node_control_server::NodeControlServer::new(Self { node, cluster, me })
    }
}

#[async_trait]
impl node_control_server::NodeControl for ControlService {
    type LogsStream = Pin<Box<dyn Stream<Item = Result<wire::LogLine, Status>> + Send>>;

    async fn set_draining(
        &self,
        request: Request<wire::SetDrainingRequest>,
    ) -> Result<Response<wire::Nothing>, Status> {
        check_identity(&request, self.cluster, self.me)?;
        self.node.set_draining(request.into_inner().draining).await;
        Ok(Response::new(wire::Nothing {}))
    }

    async fn await_revision(
        &self,
        request: Request<wire::AwaitRevisionRequest>,
    ) -> Result<Response<wire::AwaitRevisionReply>, Status> {
        check_identity(&request, self.cluster, self.me)?;
        let wanted = request.into_inner();
        let timeout = Duration::from_millis(wanted.timeout_ms);
        let revision = self.node.await_revision(Revision(wanted.revision), timeout).await;
        Ok(Response::new(wire::AwaitRevisionReply { revision: revision.0 }))
    }

    async fn logs(&self, request: Request<wire::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        check_identity(&request, self.cluster, self.me)?;
        let wanted = request.into_inner();
        let query = LogQuery { function: name_from(wanted.function)?, tail: wanted.tail, follow: wanted.follow };
        let lines = self.node.logs(&query).map(|line| match line {
            Ok(line) => Ok(line_to(line)),
            Err(error) => Err(code_status(error.code, error.why)),
        });
        Ok(Response::new(Box::pin(lines)))
    }
}

/// Asks other nodes.
#[derive(Clone)]
pub struct ControlClient {
    peers: Peers,
}

impl ControlClient {
    /// Over these channels.
    pub const fn new(peers: Peers) -> Self {
        Self { peers }
    }

    fn client(&self, node: NodeId) -> Result<NodeControlClient<crate::peers::PeerChannel>, ControlError> {
        self.peers.channel(node).map(NodeControlClient::new).map_err(|status| control_error(node, &status))
    }

    /// See [`LocalNode::set_draining`].
    ///
    /// # Errors
    /// The node cannot be reached.
    pub async fn set_draining(&self, node: NodeId, draining: bool) -> Result<(), ControlError> {
        let mut request = Request::new(wire::SetDrainingRequest { draining });
        request.set_timeout(Duration::from_secs(5));
        let answer = self.client(node)?.set_draining(request).await;
        answer.map(drop).map_err(|status| control_error(node, &status))
    }

    /// See [`LocalNode::await_revision`].
    ///
    /// # Errors
    /// The node cannot be reached.
    pub async fn await_revision(
        &self,
        node: NodeId,
        revision: Revision,
        timeout: Duration,
    ) -> Result<Revision, ControlError> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let mut request = Request::new(wire::AwaitRevisionRequest { revision: revision.0, timeout_ms });
        request.set_timeout(timeout + ANSWER_GRACE);
        let answer = self.client(node)?.await_revision(request).await;
        answer.map(|reply| Revision(reply.into_inner().revision)).map_err(|status| control_error(node, &status))
    }

    /// See [`LocalNode::logs`].
    ///
    /// # Errors
    /// The node cannot be reached.
    pub async fn logs(&self, node: NodeId, query: &LogQuery) -> Result<LogStreamOf, ControlError> {
        let request = wire::LogsRequest {
            function: Some(wire::FunctionName {
                namespace: query.function.namespace.to_string(),
                name: query.function.name.to_string(),
            }),
            tail: query.tail,
            follow: query.follow,
        };
        let answer = self.client(node)?.logs(request).await.map_err(|status| control_error(node, &status))?;
        let lines = answer.into_inner().map(move |line| {
            let line = line.map_err(|status| control_error(node, &status))?;
            line_from(line).map_err(|error| ControlError { code: onrush_types::Code::Internal, why: error.to_string() })
        });
        Ok(Box::pin(lines))
    }
}

fn control_error(node: NodeId, status: &Status) -> ControlError {
    ControlError { code: status_code(status), why: format!("node {node}: {}", status.message()) }
}

fn field(field: &'static str) -> FormatError {
    FormatError::Field { what: "LogLine", field }
}

fn name_from(name: Option<wire::FunctionName>) -> Result<FunctionName, FormatError> {
    let name = name.ok_or_else(|| field("function"))?;
    let label = |text: String| text.parse().map_err(|_| field("function"));
    Ok(FunctionName::new(label(name.namespace)?, label(name.name)?))
}

fn line_to(line: LogLine) -> wire::LogLine {
    let stream = match line.stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
        LogStream::Platform => "platform",
    };
    wire::LogLine {
        at_ms: line.at_ms,
        node: line.node,
        function: Some(wire::FunctionName {
            namespace: line.function.namespace.to_string(),
            name: line.function.name.to_string(),
        }),
        version: line.version.0,
        invocation: line.invocation.map(|id| id.0.as_bytes().to_vec().into()).unwrap_or_default(),
        stream: stream.to_owned(),
        text: line.text,
    }
}

fn line_from(line: wire::LogLine) -> Result<LogLine, FormatError> {
    let stream = match line.stream.as_str() {
        "stdout" => LogStream::Stdout,
        "stderr" => LogStream::Stderr,
        "platform" => LogStream::Platform,
        _ => return Err(field("stream")),
    };
    let invocation = if line.invocation.is_empty() {
        None
    } else {
        let id = uuid::Uuid::from_slice(&line.invocation).map_err(|_| field("invocation"))?;
        Some(InvocationId(id))
    };
    Ok(LogLine {
        at_ms: line.at_ms,
        node: line.node,
        function: name_from(line.function)?,
        version: VersionNumber(line.version),
        invocation,
        stream,
        text: line.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_the_wire() {
        for stream in [LogStream::Stdout, LogStream::Stderr, LogStream::Platform] {
            for invocation in [None, Some(InvocationId::new())] {
                let line = LogLine {
                    at_ms: 7,
                    node: "a".into(),
                    function: FunctionName::new("default".parse().unwrap(), "f".parse().unwrap()),
                    version: VersionNumber(3),
                    invocation,
                    stream,
                    text: "hello".into(),
                };
                assert_eq!(line_from(line_to(line.clone())), Ok(line));
            }
        }
    }

    #[test]
    fn a_line_without_its_function_is_an_error() {
        assert_eq!(line_from(wire::LogLine { stream: "stdout".into(), ..Default::default() }), Err(field("function")));
        assert_eq!(line_from(wire::LogLine::default()), Err(field("stream")));
    }
}
