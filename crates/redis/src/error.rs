//! What Redis says when it makes no decision.

use std::sync::Arc;

use redis::{ErrorKind, RedisError};
use toolgate_limit::StoreError;

/// Sorts an error of Redis into those of a store.
pub(crate) fn to_store_error(error: &RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => corrupt(&error.to_string()),
        _ if is_any(error, &["WRONGTYPE"]) => corrupt("a key of these buckets is no hash"),
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
        || error.kind() == ErrorKind::AuthenticationFailed
        || is_any(error, &["READONLY", "MASTERDOWN", "NOAUTH"])
}

/// Whether the server has refused with one of `codes`, the first words of its errors: a command, or
/// one among the commands of a pipeline.
fn is_any(error: &RedisError, codes: &[&str]) -> bool {
    let refused = error.clone().into_server_errors();
    refused.is_some_and(|errors| {
        errors
            .iter()
            .any(|(_, error)| codes.contains(&error.code()))
    })
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
