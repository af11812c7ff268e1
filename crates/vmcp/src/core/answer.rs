//! The one place where what a backend has written becomes a message.
//!
//! Backends are not exact. What can be understood is kept, and what cannot is left out or replaced:
//! a tool has run by then, and its call is paid.

use std::borrow::Cow;

use rmcp::model::{ErrorCode, ErrorData, RequestId, ServerJsonRpcMessage, ServerResult};
use serde_json::Value;

use super::mend;
use crate::json::{Writer, marked};

/// The most bytes of one message.
pub(super) const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The code of the error that stands for an answer which is too large. No backend sends it.
pub(super) const TOO_LARGE: ErrorCode = ErrorCode(i32::MIN);

/// The code of the error that stands for an answer which is none. No backend sends it.
pub(super) const UNREADABLE: ErrorCode = ErrorCode(i32::MIN + 1);

/// The message in `bytes`, and those bytes as rmcp reads them. None if there is no message in them.
pub(super) fn read(bytes: &[u8]) -> Option<(ServerJsonRpcMessage, Cow<'_, str>)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => marked(text, Writer::Backend),
        Cow::Owned(text) => Cow::Owned(marked(&text, Writer::Backend).into_owned()),
    };
    match serde_json::from_str::<ServerJsonRpcMessage>(&text) {
        Ok(message) if is_understood(&message) => Some((message, text)),
        _ => {
            let value = serde_json::from_str::<Value>(&text).ok()?;
            let mended = mend::message(value)?;
            let text = mended.to_string();
            Some((serde_json::from_value(mended).ok()?, Cow::Owned(text)))
        }
    }
}

/// Whether a result is of a kind that says what it is. rmcp makes others of what it cannot read.
fn is_understood(message: &ServerJsonRpcMessage) -> bool {
    let ServerJsonRpcMessage::Response(response) = message else {
        return true;
    };
    !matches!(
        response.result,
        ServerResult::TaskAckResult(_)
            | ServerResult::EmptyResult(_)
            | ServerResult::CustomResult(_)
    )
}

/// Whose answer a message is.
#[derive(Debug)]
pub(super) enum Answer {
    /// That of the request, with its id.
    Own(ServerJsonRpcMessage),
    /// An error that names another request, or none. It comes where the answer belongs, so it is
    /// the answer, and it has the request's id now.
    Adopted(ServerJsonRpcMessage),
    /// No answer to it.
    Other,
}

impl Answer {
    /// Of a `message` that comes where the answer to the request `id` belongs.
    pub(super) fn to(id: &RequestId, message: ServerJsonRpcMessage) -> Self {
        match message {
            ServerJsonRpcMessage::Error(mut error) => {
                let is_own = error.id.as_ref().is_some_and(|own| is_same(own, id));
                error.id = Some(id.clone());
                let error = ServerJsonRpcMessage::Error(error);
                if is_own {
                    Self::Own(error)
                } else {
                    Self::Adopted(error)
                }
            }
            ServerJsonRpcMessage::Response(mut response) if is_same(&response.id, id) => {
                response.id = id.clone();
                Self::Own(ServerJsonRpcMessage::Response(response))
            }
            _ => Self::Other,
        }
    }
}

/// Some write a number as a text.
fn is_same(given: &RequestId, id: &RequestId) -> bool {
    given.to_string() == id.to_string()
}

/// What stands for an answer to the request `id` that is too large.
pub(super) fn too_large(id: &RequestId) -> ServerJsonRpcMessage {
    let error = ErrorData::new(TOO_LARGE, "an answer that is too large", None);
    ServerJsonRpcMessage::error(error, Some(id.clone()))
}

/// What stands for an answer to the request `id` that cannot be read.
pub(super) fn unreadable(id: &RequestId) -> ServerJsonRpcMessage {
    let error = ErrorData::new(UNREADABLE, "an answer that cannot be read", None);
    ServerJsonRpcMessage::error(error, Some(id.clone()))
}

#[cfg(test)]
mod tests;
