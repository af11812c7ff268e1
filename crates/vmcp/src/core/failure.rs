//! What kept an answer of a backend from coming.

use std::{fmt, time::Duration};

use rmcp::{
    ErrorData, ServiceError,
    transport::{DynamicTransportError, streamable_http_client::StreamableHttpError},
};

use super::answer;

type HttpError = StreamableHttpError<reqwest::Error>;

/// Why there is no result. It names no address, so callers may see it.
#[derive(Debug)]
pub(super) enum Failure {
    /// The backend's own error: it has answered.
    Refused(ErrorData),
    /// An answer, but none that can be used. The connection lives.
    Unusable(Unusable),
    /// No answer in time. The connection may be dead.
    Late(Duration),
    /// The connection is gone.
    Broken,
}

/// Why an answer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// More bytes than are read.
    TooLarge(usize),
    /// No success, in HTTP.
    Status(u16),
    /// Credentials that it does not take.
    Credentials,
    /// No MCP, or the result of another kind of request.
    Nonsense,
}

impl Failure {
    pub(super) fn of(error: ServiceError) -> Self {
        match error {
            ServiceError::McpError(error) if error.code == answer::TOO_LARGE => {
                Self::Unusable(Unusable::TooLarge(answer::MAX_BYTES))
            }
            ServiceError::McpError(error) if error.code == answer::UNREADABLE => {
                Self::Unusable(Unusable::Nonsense)
            }
            ServiceError::McpError(error) => Self::Refused(error),
            ServiceError::UnexpectedResponse => Self::Unusable(Unusable::Nonsense),
            ServiceError::TransportSend(error) => {
                Unusable::of(&error).map_or(Self::Broken, Self::Unusable)
            }
            _ => Self::Broken,
        }
    }
}

impl Unusable {
    fn of(error: &DynamicTransportError) -> Option<Self> {
        Some(match error.error.downcast_ref::<HttpError>()? {
            HttpError::ResponseBodyTooLarge { max_size } => Self::TooLarge(*max_size),
            HttpError::HttpStatus(error) => Self::Status(error.status),
            HttpError::AuthRequired(_) | HttpError::InsufficientScope(_) => Self::Credentials,
            HttpError::UnexpectedServerResponse(_)
            | HttpError::UnexpectedContentType(_)
            | HttpError::Deserialize(_) => Self::Nonsense,
            _ => return None,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "error {}", error.code.0),
            Self::Unusable(Unusable::TooLarge(bytes)) => {
                write!(f, "its answer is larger than {bytes} bytes")
            }
            Self::Unusable(Unusable::Status(status)) => {
                write!(f, "it answered with HTTP status {status}")
            }
            Self::Unusable(Unusable::Credentials) => {
                f.write_str("it does not take this server's credentials")
            }
            Self::Unusable(Unusable::Nonsense) => f.write_str("its answer is none to this request"),
            Self::Late(within) => write!(f, "no answer within {within:?}"),
            Self::Broken => f.write_str("the connection broke before an answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use rmcp::transport::streamable_http_client::HttpStatusError;

    use super::*;

    const BROKEN: &str = "the connection broke before an answer";

    #[test]
    fn what_went_wrong_is_told_apart() {
        let sent = |error: HttpError| {
            let id = TypeId::of::<()>();
            let error = DynamicTransportError::from_parts("http", id, Box::new(error));
            ServiceError::TransportSend(error)
        };
        let refused = ErrorData::internal_error("no", None);
        for (error, expected) in [
            (
                sent(HttpError::ResponseBodyTooLarge { max_size: 9 }),
                "its answer is larger than 9 bytes",
            ),
            (
                sent(HttpError::HttpStatus(HttpStatusError::new(503, None))),
                "it answered with HTTP status 503",
            ),
            (
                sent(HttpError::UnexpectedContentType(None)),
                "its answer is none to this request",
            ),
            (
                ServiceError::UnexpectedResponse,
                "its answer is none to this request",
            ),
            (ServiceError::McpError(refused), "error -32603"),
            (sent(HttpError::TransportChannelClosed), BROKEN),
            (ServiceError::TransportClosed, BROKEN),
        ] {
            assert_eq!(Failure::of(error).to_string(), expected);
        }
    }
}
