//! The gRPC services.

mod admin;
mod limiter;
mod status;

pub(crate) use admin::Admin;
pub(crate) use limiter::LimiterGrpc;
