//! `onrush.v1.Routes`.

use onrush_proto::v1::{
    DescribeRouteRequest, ListFiltersReply, ListFiltersRequest, ListRoutesReply, ListRoutesRequest, RemoveRouteReply,
    RemoveRouteRequest, Route, SetRouteReply, SetRouteRequest, routes_server::Routes,
};
use tonic::{Request, Response, Status};

use super::Service;
use crate::convert;

#[async_trait::async_trait]
impl Routes for Service {
    async fn set(&self, request: Request<SetRouteRequest>) -> Result<Response<SetRouteReply>, Status> {
        let wish = convert::route_wish(request.into_inner())?;
        Ok(Response::new(convert::route_set(&self.0.set_route(wish).await?)))
    }

    async fn list(&self, request: Request<ListRoutesRequest>) -> Result<Response<ListRoutesReply>, Status> {
        let ListRoutesRequest { namespace, fresh } = request.into_inner();
        let namespace = match namespace.as_str() {
            "" => None,
            namespace => Some(convert::namespace(namespace)?),
        };
        let routes = self.0.routes(namespace, fresh).await?;
        Ok(Response::new(ListRoutesReply { routes: routes.iter().map(|route| convert::route_to(route)).collect() }))
    }

    async fn describe(&self, request: Request<DescribeRouteRequest>) -> Result<Response<Route>, Status> {
        let DescribeRouteRequest { namespace, name, fresh } = request.into_inner();
        let route = self.0.describe_route(&convert::route_name(&namespace, &name)?, fresh).await?;
        Ok(Response::new(convert::route_to(&route)))
    }

    async fn remove(&self, request: Request<RemoveRouteRequest>) -> Result<Response<RemoveRouteReply>, Status> {
        let RemoveRouteRequest { namespace, name, request_id } = request.into_inner();
        let name = convert::route_name(&namespace, &name)?;
        let revision = self.0.remove_route(name, convert::request_id(&request_id)?).await?;
        Ok(Response::new(RemoveRouteReply { revision: revision.0 }))
    }

    async fn list_filters(&self, _request: Request<ListFiltersRequest>) -> Result<Response<ListFiltersReply>, Status> {
        let filters = convert::filters_to(onrush_filters::documentation());
        Ok(Response::new(ListFiltersReply { filters }))
    }
}
