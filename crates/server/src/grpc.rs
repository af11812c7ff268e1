//! The gRPC services.

mod admin;
mod in_flight;
mod limiter;
mod status;
mod stream;

pub(crate) use admin::Admin;
pub(crate) use in_flight::InFlight;
pub(crate) use limiter::LimiterGrpc;
