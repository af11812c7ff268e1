//! Why a request was not served.

use rmcp::ErrorData;
use toolgate_limit::{Denial, OperationKind};

/// Why a [`Vmcp`](crate::Vmcp) did not serve a request. [`rejection`](crate::rejection) turns it
/// into what the client sees.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmcpError {
    /// The limiter has denied it. Nothing has run.
    #[error("{0}")]
    Denied(Denial),
    /// The limiter made no decision, and this gateway denies then. Nothing has run.
    #[error("the rate limiter is unavailable")]
    Undecided,
    /// Nobody has established who calls: a fault of this server, which must not become a call of
    /// nobody in particular.
    #[error("the caller was not identified")]
    Unidentified,
    /// No backend has it.
    #[error("unknown {kind} {name:?}")]
    Unknown {
        /// What was asked for.
        kind: OperationKind,
        /// Its name as it was asked for.
        name: String,
    },
    /// A parameter that is not what it must be.
    #[error("{0}")]
    InvalidParams(String),
    /// Tools could not be searched.
    #[error("the search for tools failed: {0}")]
    Search(String),
    /// The backend is down; the request was not sent.
    #[error("backend {backend} is unavailable: {reason}")]
    Unavailable {
        /// Its name in the configuration.
        backend: String,
        /// Why, as of its last attempt to connect.
        reason: String,
    },
    /// The backend did not answer. It may have run the request, unless the reason says that it was
    /// not sent.
    #[error("backend {backend} failed: {reason}")]
    Failed {
        /// Its name in the configuration.
        backend: String,
        /// What went wrong on the way.
        reason: String,
    },
    /// The caller has hung up. The backend is told if the request was sent; nobody reads this.
    #[error("the caller has hung up")]
    Cancelled,
    /// The backend's own answer, passed on as it came.
    #[error("{0}")]
    Backend(ErrorData),
}
