//! The one place that makes a [`Status`].
//!
//! A denial is no status: it is an answer.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _, pb::RequestInfo};
use toolgate_limit::{LimiterError, ServerId, StoreError};
use toolgate_proto::{
    InvalidField,
    pb::{CheckStreamResponse, check_stream_response::Result as Outcome},
};
use toolgate_telemetry::RequestId;

use crate::bound::Full;

/// The `domain` of our [`tonic_types::ErrorInfo`].
const DOMAIN: &str = "toolgate.dev";

/// The longest message of an error that travels in headers, in bytes. It is there twice, encoded;
/// grpcio ends a call whose headers have more than 16 KiB.
const MAX_MESSAGE: usize = 1_024;

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
            StoreError::NoPolicies => (Code::Unavailable, "POLICIES_NOT_READ"),
            StoreError::Unavailable { .. } => (Code::Unavailable, "STORE_UNAVAILABLE"),
            StoreError::Partial { .. } => (Code::Unavailable, "STORE_PARTLY_UNAVAILABLE"),
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

/// The limiter itself has failed. The log says how.
pub(crate) fn failed() -> Status {
    let details = ErrorDetails::with_error_info("FAILED", DOMAIN, HashMap::new());
    Status::with_error_details(Code::Internal, "the limiter has failed", details)
}

/// More calls or checks, which is `what`, are in flight than may be.
pub(crate) fn too_many(what: &str, full: Full) -> Status {
    let reason = format!("TOO_MANY_{}", what.to_uppercase());
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    let Full { whose, max } = full;
    let message = format!("{max} {what} of {whose} are in flight, the most that may be");
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

/// The code under which an error is counted. tonic calls it `INTERNAL` when it cannot read what a
/// caller has sent; our own of that code say why.
pub(crate) fn counted_as(status: &Status) -> Code {
    let is_ours = || {
        let details = status.get_error_details();
        details
            .error_info()
            .is_some_and(|info| info.domain == DOMAIN)
    };
    match status.code() {
        Code::Internal if !is_ours() => Code::InvalidArgument,
        code => code,
    }
}

/// What tonic says of a message that it does not take, as gRPC has it: one above the bound is
/// `RESOURCE_EXHAUSTED` (grpc/grpc, doc/statuscodes.md). We say `OUT_OF_RANGE` of nothing.
pub(crate) fn of_message(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => Status::resource_exhausted(status.message()),
        _ => status,
    }
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

/// `status` as the answer to the request `id`, which it names, as the log does.
pub(crate) fn of_request(status: &Status, id: &RequestId) -> Status {
    log(status.code(), status.message(), id, None);
    let mut details = status.get_error_details();
    details.set_request_info(id.as_str(), "");
    let message = status.message();
    let message = &message[..message.floor_char_boundary(MAX_MESSAGE)];
    Status::with_error_details_and_metadata(
        status.code(),
        message,
        details,
        status.metadata().clone(),
    )
}

/// As [`of_request`], of the answer to one check of the stream `id`.
pub(super) fn of_stream(mut response: CheckStreamResponse, id: &RequestId) -> CheckStreamResponse {
    if let Some(Outcome::Error(error)) = &mut response.result {
        log(
            Code::from(error.code),
            &error.message,
            id,
            Some(response.id),
        );
        let info = RequestInfo {
            request_id: id.to_string(),
            serving_data: String::new(),
        };
        error.details.push(Any {
            type_url: "type.googleapis.com/google.rpc.RequestInfo".to_owned(),
            value: info.encode_to_vec(),
        });
    }
    response
}

/// The message may hold what a caller has sent, so it is for debugging alone.
fn log(code: Code, message: &str, request_id: &RequestId, check: Option<u64>) {
    tracing::debug!(%request_id, check, ?code, error = message, "answered with an error");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::Whose;

    #[test]
    fn the_id_of_a_request_joins_the_details_of_its_error() {
        let id = RequestId::chosen("agent-7").expect("plain");
        let whose = Whose::Caller;
        let full = Full { whose, max: 3 };
        let status = of_request(&too_many("calls", full), &id);
        assert_eq!(status.code(), Code::ResourceExhausted);
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str());
        assert_eq!(reason, Some("TOO_MANY_CALLS"));
        let named = details.request_info().map(|info| info.request_id.as_str());
        assert_eq!(named, Some("agent-7"));
        // One without details, as tonic makes them.
        let status = of_request(&Status::unimplemented("no such method"), &id);
        assert!(status.get_error_details().request_info().is_some());
    }

    /// tonic repeats what it does not understand.
    #[test]
    fn an_error_fits_into_the_headers_of_any_client() {
        let id = RequestId::chosen("a").expect("plain");
        let status = of_request(&Status::unimplemented("\u{20ac}".repeat(10_000)), &id);
        assert_eq!(status.message(), "\u{20ac}".repeat(341));
        let headers = status.into_http::<()>().into_parts().0.headers;
        let bytes = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len());
        assert!(bytes.sum::<usize>() < 8 * 1_024);
    }

    /// A loop of garbage must not look like a limiter that has failed.
    #[test]
    fn what_cannot_be_read_counts_as_the_fault_of_its_caller() {
        let unreadable = Status::internal("failed to decode Protobuf message");
        assert_eq!(counted_as(&unreadable), Code::InvalidArgument);
        let corrupt = StoreError::Corrupt("a field".to_owned());
        assert_eq!(counted_as(&undecided(&corrupt.into())), Code::Internal);
        assert_eq!(counted_as(&too_late()), Code::DeadlineExceeded);
    }

    #[test]
    fn a_message_above_the_bound_is_too_much_and_not_out_of_range() {
        let status = of_message(Status::out_of_range("too large"));
        assert_eq!(
            (status.code(), status.message()),
            (Code::ResourceExhausted, "too large")
        );
        assert_eq!(
            of_message(Status::internal("no UTF-8")).code(),
            Code::Internal
        );
    }

    #[test]
    fn the_error_of_one_check_names_its_stream() {
        let id = RequestId::chosen("stream").expect("plain");
        let response = |result| CheckStreamResponse {
            id: 7,
            result,
            leaving: false,
        };
        let error = to_message(&too_late());
        let marked = of_stream(response(Some(Outcome::Error(error))), &id);
        let Some(Outcome::Error(error)) = marked.result else {
            panic!("no error");
        };
        let info = RequestInfo::decode(&*error.details[0].value).expect("an info");
        assert_eq!(
            (error.details.len(), info.request_id.as_str()),
            (1, "stream")
        );
        let untouched = response(None);
        assert_eq!(of_stream(untouched.clone(), &id), untouched);
    }
}
