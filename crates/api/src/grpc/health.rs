//! `grpc.health.v1.Health`: the same answer as `/readyz`.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

use super::Service;

/// How often a watcher's answer is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The whole server, and each of its services.
const NAMES: [&str; 5] = ["", "onrush.v1.Functions", "onrush.v1.Routes", "onrush.v1.Invocations", "onrush.v1.Cluster"];

impl Service {
    fn health(&self, name: &str) -> Option<ServingStatus> {
        let serving = || match (self.0.parts.ready)() {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        NAMES.contains(&name).then(serving)
    }
}

#[async_trait::async_trait]
impl Health for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        let status = self.health(&name).ok_or_else(|| Status::not_found(format!("there is no service {name:?}")))?;
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().service;
        let service = self.clone();
        let mut last = None;
        let ticks = stream::unfold(tokio::time::interval(LOOK_EVERY), |mut ticks| async move {
            ticks.tick().await;
            Some(((), ticks))
        });
        let answers = ticks.filter_map(move |()| {
            let status = service.health(&name).unwrap_or(ServingStatus::ServiceUnknown);
            let news = (last != Some(status)).then_some(status);
            last = Some(status);
            std::future::ready(news.map(|status| Ok(HealthCheckResponse { status: status.into() })))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
