//! What Redis says when it makes no decision.

use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use toolgate_limit::StoreError;

/// Sorts an error of Redis into those of a store.
pub(crate) fn to_store_error(error: &RedisError) -> StoreError {
    let text_of = |error: &RedisError| StoreError::Corrupt(error.to_string());
    match error.kind() {
        // A script that cannot read a value says so with a plain ERR.
        ErrorKind::UnexpectedReturnType
        | ErrorKind::Parse
        | ErrorKind::Server(ServerErrorKind::ResponseError) => text_of(error),
        ErrorKind::Extension if error.code() == Some("WRONGTYPE") => text_of(error),
        _ => StoreError::Unavailable {
            reason: error.to_string(),
            source: Some(Arc::new(error.clone())),
        },
    }
}

/// Whether the connection on which `error` came is of no more use: it is gone, or it leads to a
/// server that will not decide, as a replica, which a fail-over has made of the old master.
pub(crate) fn ends_connection(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_io_error()
        || matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        )
}

pub(crate) fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable {
        reason: reason.to_owned(),
        source: None,
    }
}

pub(crate) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}
