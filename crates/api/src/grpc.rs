//! The API over gRPC: translates, and leaves the rules to the operations.

mod cluster;
pub(crate) mod functions;
mod health;
mod invocations;
mod routes;

use std::sync::Arc;

use onrush_proto::{
    PUBLIC_DESCRIPTORS,
    v1::{
        cluster_server::ClusterServer, functions_server::FunctionsServer, invocations_server::InvocationsServer,
        routes_server::RoutesServer,
    },
};
use onrush_types::Code;
use tonic::service::Routes;
use tonic_health::pb::{FILE_DESCRIPTOR_SET as HEALTH_DESCRIPTORS, health_server::HealthServer};
use tonic_reflection::server::Builder;

use crate::{Api, ApiError};

/// A gRPC service over the operations.
#[derive(Clone)]
struct Service(Arc<Api>);

/// Head room for what surrounds a body in a message.
const ENVELOPE: usize = 1 << 20;

/// Every gRPC service, with reflection (both versions) and health.
pub(crate) fn routes(api: &Arc<Api>) -> Result<Routes, ApiError> {
    let service = Service(Arc::clone(api));
    let largest = api.config.max_call_body + ENVELOPE;
    let invocations = InvocationsServer::new(service.clone()).max_decoding_message_size(largest);
    let describe = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(PUBLIC_DESCRIPTORS)
            .register_encoded_file_descriptor_set(HEALTH_DESCRIPTORS)
    };
    let broken = |error| ApiError::new(Code::Internal, format!("reflection cannot be built: {error}"));
    Ok(Routes::new(FunctionsServer::new(service.clone()))
        .add_service(RoutesServer::new(service.clone()))
        .add_service(ClusterServer::new(service.clone()))
        .add_service(invocations)
        .add_service(HealthServer::new(service))
        .add_service(describe().build_v1().map_err(broken)?)
        .add_service(describe().build_v1alpha().map_err(broken)?)
        .prepare())
}

#[cfg(test)]
mod tests;
