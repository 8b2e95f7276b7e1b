//! `onrush.v1.Cluster`.

use onrush_proto::v1::{
    ChangeReply, CordonRequest, DrainRequest, RemoveNodeRequest, SetVotersRequest, StatusReply, StatusRequest,
    cluster_server::Cluster,
};
use onrush_types::Revision;
use tonic::{Request, Response, Status};

use super::Service;
use crate::{ApiError, convert};

fn changed(outcome: Result<Revision, ApiError>) -> Result<Response<ChangeReply>, Status> {
    Ok(Response::new(ChangeReply { revision: outcome?.0 }))
}

#[async_trait::async_trait]
impl Cluster for Service {
    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(convert::status_to(&self.0.status())))
    }

    async fn set_voters(&self, request: Request<SetVotersRequest>) -> Result<Response<ChangeReply>, Status> {
        let SetVotersRequest { wanted, request_id } = request.into_inner();
        changed(self.0.set_voters(wanted, convert::request_id(&request_id)?).await)
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<ChangeReply>, Status> {
        let DrainRequest { node, undo } = request.into_inner();
        changed(self.0.drain(&node, !undo).await)
    }

    async fn cordon(&self, request: Request<CordonRequest>) -> Result<Response<ChangeReply>, Status> {
        let CordonRequest { node, undo, request_id } = request.into_inner();
        changed(self.0.cordon(&node, !undo, convert::request_id(&request_id)?).await)
    }

    async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Result<Response<ChangeReply>, Status> {
        let RemoveNodeRequest { node, request_id } = request.into_inner();
        changed(self.0.remove_node(&node, convert::request_id(&request_id)?).await)
    }
}
