//! Why a call has no answer, for whoever typed the command.

use std::{error::Error, fmt, io, iter};

use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt as _;
use toolgate_limit::GoDuration;

/// A call without an answer.
#[derive(Debug, thiserror::Error)]
#[error("{call} failed at {endpoint}")]
pub(crate) struct CallError {
    pub(super) call: &'static str,
    pub(super) endpoint: String,
    #[source]
    pub(super) cause: Cause,
}

impl CallError {
    /// As a call fails that nobody has answered.
    #[cfg(test)]
    pub(crate) fn no_answer(endpoint: &str) -> Self {
        Self {
            call: "reading the activity",
            endpoint: endpoint.to_owned(),
            cause: Cause::NoAnswer(GoDuration(std::time::Duration::from_secs(1))),
        }
    }

    /// Whether a limiter has answered, if only with an error.
    pub(crate) const fn is_answer(&self) -> bool {
        matches!(self.cause, Cause::Status(_))
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("no answer within {0}")]
    NoAnswer(GoDuration),
    #[error(
        "nothing listens there ({0})\n\
         hint: start a limiter with `toolgate serve`, or name another with --endpoint or \
         TOOLGATE_ENDPOINT"
    )]
    NobodyListens(String),
    #[error("cannot connect: {0}")]
    CannotConnect(String),
    #[error("{}", Explained(.0))]
    Status(Box<Status>),
    #[error("the answer says neither allowed nor denied; is the limiter newer than this command?")]
    NoDecision,
}

impl From<Status> for Cause {
    fn from(status: Status) -> Self {
        if !sources(&status).any(<dyn Error>::is::<ConnectError>) {
            return Self::Status(Box::new(status));
        }
        let root = sources(&status).last().map(ToString::to_string);
        let root = root.unwrap_or_else(|| status.message().to_owned());
        let nobody_listens = sources(&status)
            .filter_map(|source| source.downcast_ref::<io::Error>())
            .any(|error| {
                // Refused: no listener on the port or socket. Not found: no socket at the path.
                let kind = error.kind();
                kind == io::ErrorKind::ConnectionRefused || kind == io::ErrorKind::NotFound
            });
        if nobody_listens {
            Self::NobodyListens(root)
        } else {
            Self::CannotConnect(root)
        }
    }
}

fn sources(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    iter::successors(status.source(), |&error| error.source())
}

/// A status in full: code, message, what lies beneath, and the details of google.rpc.
struct Explained<'a>(&'a Status);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        write!(f, "{}: {}", code_name(status.code()), status.message())?;
        if let Some(root) = sources(status).last() {
            write!(f, " ({root})")?;
        }
        let details = status.get_error_details();
        for violation in details
            .bad_request()
            .into_iter()
            .flat_map(|bad| &bad.field_violations)
        {
            write!(f, "\n  {}: {}", violation.field, violation.description)?;
        }
        if let Some(info) = details.error_info() {
            write!(f, "\n  reason: {} ({})", info.reason, info.domain)?;
            let mut metadata: Vec<_> = info.metadata.iter().collect();
            metadata.sort();
            for (key, value) in metadata {
                write!(f, "\n  {key}: {value}")?;
            }
        }
        if speaks_otherwise(status) {
            write!(f, "\nhint: is this the gRPC port of a limiter?")?;
        }
        Ok(())
    }
}

/// Whether whoever answered may be no limiter, but for example its HTTP port: another HTTP/2 server
/// has no such path, and where HTTP/1 is spoken the connection breaks, which leaves a source. What a
/// limiter says itself has none.
fn speaks_otherwise(status: &Status) -> bool {
    status.code() == Code::Unimplemented || status.source().is_some()
}

/// As the gRPC specification writes it: `INVALID_ARGUMENT`.
pub(crate) fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    fn explained(code: Code, message: &str, details: ErrorDetails) -> String {
        Explained(&Status::with_error_details(code, message, details)).to_string()
    }

    #[test]
    fn an_invalid_request_names_each_field() {
        let details = ErrorDetails::with_bad_request([
            FieldViolation::new("server", "must not be empty"),
            FieldViolation::new("identity.subject", "must be at most 2048 bytes long"),
        ]);
        assert_eq!(
            explained(Code::InvalidArgument, "the request is invalid", details),
            "INVALID_ARGUMENT: the request is invalid\n  \
             server: must not be empty\n  \
             identity.subject: must be at most 2048 bytes long"
        );
    }

    #[test]
    fn an_outage_says_its_reason_and_what_the_limiter_knows() {
        let metadata = [("store", "redis"), ("kind", "timeout")];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let details = ErrorDetails::with_error_info("STORE_UNAVAILABLE", "toolgate.dev", metadata);
        assert_eq!(
            explained(Code::Unavailable, "the store does not answer", details),
            "UNAVAILABLE: the store does not answer\n  \
             reason: STORE_UNAVAILABLE (toolgate.dev)\n  \
             kind: timeout\n  \
             store: redis"
        );
    }

    #[test]
    fn a_status_without_details_is_one_line() {
        let details = ErrorDetails::new();
        assert_eq!(
            explained(Code::NotFound, "no policy", details),
            "NOT_FOUND: no policy"
        );
    }
}
