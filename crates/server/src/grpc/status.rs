//! The one place that makes a [`Status`].
//!
//! A denial is no status: it is an answer.

use std::collections::HashMap;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use toolgate_limit::{LimiterError, ServerId, StoreError};
use toolgate_proto::InvalidField;

/// The `domain` of our [`tonic_types::ErrorInfo`].
const DOMAIN: &str = "toolgate.dev";

/// The request is wrong, and says where.
pub(crate) fn invalid(field: InvalidField) -> Status {
    let message = field.to_string();
    let details = ErrorDetails::with_bad_request_violation(field.field, field.reason);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// No decision was made.
pub(crate) fn undecided(error: &LimiterError) -> Status {
    let (code, reason) = match error {
        LimiterError::Store(error) => match error {
            StoreError::Unavailable { .. } => (Code::Unavailable, "STORE_UNAVAILABLE"),
            StoreError::Partial(_) => (Code::Unavailable, "STORE_PARTLY_UNAVAILABLE"),
            StoreError::Timeout { .. } => (Code::Unavailable, "STORE_TIMEOUT"),
            StoreError::Overloaded => (Code::ResourceExhausted, "STORE_OVERLOADED"),
            StoreError::Full { .. } => (Code::ResourceExhausted, "STORE_FULL"),
            StoreError::Corrupt(_) => (Code::Internal, "STORE_CORRUPT"),
            _ => (Code::Unknown, "STORE"),
        },
        _ => (Code::Unknown, "LIMITER"),
    };
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, error.to_string(), details)
}

/// The caller of a check on a stream has stopped waiting.
pub(crate) fn too_late() -> Status {
    Status::deadline_exceeded("the check's timeout has passed")
}

/// The caller is bound to other servers.
pub(crate) fn not_your_server(server: &ServerId) -> Status {
    forbidden(
        "SERVER_NOT_GRANTED",
        format!("server {server} is none of those that `callers` grants this caller"),
    )
}

/// Callers are listed, and this one not as an administrator.
pub(crate) fn no_administrator() -> Status {
    forbidden(
        "NOT_AN_ADMINISTRATOR",
        "AdminService is for callers that are listed with `admin: true` in `callers`",
    )
}

/// Nobody knows who the caller is.
pub(crate) fn unknown_administrator() -> Status {
    forbidden(
        "NOT_AN_ADMINISTRATOR",
        "AdminService is off for callers without a certificate on an address that is not \
         loopback: set grpcTls.clientCa (--grpc-tls-client-ca), or insecureAdmin \
         (--insecure-admin) to open it to everybody",
    )
}

fn forbidden(reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::PermissionDenied, message, details)
}

/// A call that came by no connection; the wiring is wrong.
pub(crate) fn no_connection() -> Status {
    Status::internal("the call belongs to no connection")
}

/// More calls are in flight than the limiter takes.
pub(crate) fn too_many_calls(max: usize) -> Status {
    let details = ErrorDetails::with_error_info("TOO_MANY_CALLS", DOMAIN, HashMap::new());
    let message = format!("{max} calls are in flight, the most that this limiter takes");
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// The caller's time is up, or it never sent its request.
pub(crate) fn unanswered() -> Status {
    Status::deadline_exceeded("no answer within the call's time")
}

/// There is no policy for `server`.
pub(crate) fn no_policy(server: &ServerId) -> Status {
    Status::not_found(format!("no policy for server {server}"))
}

/// `status` as a message, for a stream that goes on.
pub(crate) fn to_message(status: &Status) -> tonic_types::Status {
    let with_details = tonic_types::Status::decode(status.details()).ok();
    tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: with_details
            .map(|status| status.details)
            .unwrap_or_default(),
    }
}
