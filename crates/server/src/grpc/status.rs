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
