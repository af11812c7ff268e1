//! The gRPC services of a limiter.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use prost::DecodeError;
use tonic::{
    Request, Status,
    service::{Routes, interceptor::InterceptedService},
};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::pb::v1::server_reflection_server::ServerReflectionServer;
use toolgate_policy::Registry;
use toolgate_proto::{
    FILE_DESCRIPTOR_SET,
    pb::{admin_service_server::AdminServiceServer, limiter_service_server::LimiterServiceServer},
};

use crate::{
    bound::Bound,
    grpc::{
        ActivityReader, Admin, Index, LimiterGrpc, OlderName, Peer, Readings, Reflection,
        ServiceHealth,
    },
    observe::{Activity, ObservedLimiter, Observers},
    stores::Stores,
};

/// The largest request, in bytes. Above what a check needs whose identity came in a token that fits into
/// HTTP headers; a larger message ends its stream.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// The services of the limiter, for one worker.
pub(super) fn services(
    registry: &Arc<Registry>,
    stores: &Stores,
    checks: Bound,
    (activity, readings): (Activity, Readings),
    observers: Observers,
) -> Routes {
    let limiter = stores.limiter(&(Arc::clone(registry) as _));
    let activity = ActivityReader::new(activity, limiter.clone(), checks, readings);
    let admin = Admin::new(limiter.clone(), Arc::clone(registry), activity);
    let errors = observers.errors.clone();
    let limiter = ObservedLimiter::new(limiter, observers);
    let limiter = LimiterGrpc::new(Arc::new(limiter), errors);
    let limiter = LimiterServiceServer::new(limiter).max_decoding_message_size(MAX_REQUEST_BYTES);
    let admin = AdminServiceServer::new(admin).max_decoding_message_size(MAX_REQUEST_BYTES);
    Routes::new(limiter).add_service(InterceptedService::new(admin, only_administrators))
}

/// `routes`, and the services that all of gRPC has in common.
pub(super) fn with_standard_services(
    routes: Routes,
    health: ServiceHealth,
    index: &Arc<Index>,
) -> Routes {
    let reflection = ServerReflectionServer::new(Reflection::of(index));
    let reflection = reflection.max_decoding_message_size(MAX_REQUEST_BYTES);
    let health = HealthServer::new(health).max_decoding_message_size(MAX_REQUEST_BYTES);
    routes
        .add_service(health)
        .add_service(OlderName(reflection.clone()))
        .add_service(reflection)
}

/// What reflection shows.
pub(super) fn index() -> Result<Index, DecodeError> {
    Index::of(&[
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        // So that the details of errors can be read.
        tonic_types::pb::FILE_DESCRIPTOR_SET,
    ])
}

#[allow(clippy::result_large_err, reason = "as tonic wants it")]
fn only_administrators(request: Request<()>) -> Result<Request<()>, Status> {
    Peer::of(request.extensions())?.caller.may_administer()?;
    Ok(request)
}
