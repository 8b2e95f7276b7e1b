//! `onrush.v1.Functions`.

use std::{io, pin::Pin};

use futures::{Stream, StreamExt as _, stream};
use onrush_catalog::ByteStream;
use onrush_proto::v1::{
    DeployDone, DeployEvent, DeployRequest, DeployStep, DescribeRequest, Function, ListReply, ListRequest, LogLine,
    LogsRequest, RemoveReply, RemoveRequest, UploadReply, UploadRequest, deploy_event::Event,
    functions_server::Functions, upload_request::Part,
};
use onrush_types::Revision;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use crate::{
    ApiError, convert,
    operations::{Announced, DeployWish, Deployed, Progress, Step, logs::DEFAULT_TAIL},
};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A deploy has fewer steps than this, so that a slow reader misses none.
const STEPS: usize = 16;

#[async_trait::async_trait]
impl Functions for Service {
    async fn upload(&self, request: Request<Streaming<UploadRequest>>) -> Result<Response<UploadReply>, Status> {
        let mut parts = request.into_inner();
        let idle = self.0.config.upload_idle;
        let first = tokio::time::timeout(idle, parts.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("the upload stood still"))??;
        let Some(Part::Head(head)) = first.and_then(|message| message.part) else {
            return Err(ApiError::bad_request("the first message of an upload is its head").into());
        };
        let said = Announced {
            digest: match head.digest.as_str() {
                "" => None,
                digest => Some(convert::field("digest", digest)?),
            },
            size: Some(head.size).filter(|size| *size > 0),
        };
        let artifact = self.0.upload(said, bytes_of(parts)).await?;
        Ok(Response::new(UploadReply { digest: artifact.digest.to_string(), size: artifact.size }))
    }

    type DeployStream = Answers<DeployEvent>;

    async fn deploy(&self, request: Request<DeployRequest>) -> Result<Response<Self::DeployStream>, Status> {
        let wish = wish(request.into_inner())?;
        let (steps, listener) = mpsc::channel(STEPS);
        let api = std::sync::Arc::clone(&self.0);
        let outcome: Outcome = Box::pin(async move { api.deploy(wish, Progress(Some(steps))).await });
        Ok(Response::new(Box::pin(stream::unfold(Some((listener, outcome)), follow).flat_map(stream::iter))))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        let ListRequest { namespace, fresh } = request.into_inner();
        let namespace = match namespace.as_str() {
            "" => None,
            namespace => Some(convert::namespace(namespace)?),
        };
        let functions = self.0.list(namespace, fresh).await?;
        let functions = functions.iter().map(|function| convert::function_to(function)).collect();
        Ok(Response::new(ListReply { functions }))
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<Function>, Status> {
        let DescribeRequest { namespace, name, fresh } = request.into_inner();
        let function = self.0.describe(&convert::function_name(&namespace, &name)?, fresh).await?;
        Ok(Response::new(convert::described(&function)))
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Result<Response<RemoveReply>, Status> {
        let RemoveRequest { namespace, name, request_id, with_routes } = request.into_inner();
        let name = convert::function_name(&namespace, &name)?;
        let (revision, routes) = self.0.remove(name, with_routes, convert::request_id(&request_id)?).await?;
        Ok(Response::new(RemoveReply { revision: revision.0, routes }))
    }

    type LogsStream = Answers<LogLine>;

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let LogsRequest { namespace, name, tail, follow } = request.into_inner();
        let name = convert::function_name(&namespace, &name)?;
        let tail = if tail == 0 { DEFAULT_TAIL } else { tail };
        let lines = self.0.logs(name, tail, follow).await?;
        let clock = std::sync::Arc::clone(&self.0.parts.clock);
        Ok(Response::new(Box::pin(lines.map(move |line| Ok(convert::log_line(line, clock.now_ms()))))))
    }
}

type Outcome = Pin<Box<dyn Future<Output = Result<Deployed, ApiError>> + Send>>;
type Following = Option<(mpsc::Receiver<Step>, Outcome)>;

/// The deploy's next step; at its end the steps that are left, then its outcome.
async fn follow(state: Following) -> Option<(Vec<Result<DeployEvent, Status>>, Following)> {
    let (mut listener, mut outcome) = state?;
    let end = tokio::select! {
        biased;
        Some(step) = listener.recv() => return Some((vec![Ok(step_to(step))], Some((listener, outcome)))),
        end = &mut outcome => end,
    };
    let mut last: Vec<_> = std::iter::from_fn(|| listener.try_recv().ok()).map(|step| Ok(step_to(step))).collect();
    last.push(end.map(|deployed| event(Event::Done(done(&deployed)))).map_err(Into::into));
    Some((last, None))
}

fn wish(request: DeployRequest) -> Result<DeployWish, ApiError> {
    Ok(DeployWish {
        name: convert::function_name(&request.namespace, &request.name)?,
        spec: convert::spec_from(request.spec.ok_or_else(|| convert::missing("spec"))?)?,
        expected: request.expected_revision.map(Revision),
        request: convert::request_id(&request.request_id)?,
    })
}

fn event(event: Event) -> DeployEvent {
    DeployEvent { event: Some(event) }
}

fn step_to(step: Step) -> DeployEvent {
    event(Event::Step(DeployStep { step: step.step.to_owned(), detail: step.detail }))
}

pub(crate) fn done(deployed: &Deployed) -> DeployDone {
    DeployDone {
        function: Some(convert::function_to(&deployed.function)),
        revision: deployed.revision.0,
        changed: deployed.changed,
        laggards: deployed.laggards.clone(),
    }
}

/// The bytes of an upload after its head.
fn bytes_of(parts: Streaming<UploadRequest>) -> ByteStream {
    Box::pin(parts.map(|message| match message.map_err(io::Error::other)?.part {
        Some(Part::Data(bytes)) => Ok(bytes),
        Some(Part::Head(_)) | None => Err(io::Error::other("after its head an upload has only data")),
    }))
}
