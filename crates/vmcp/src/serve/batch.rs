//! JSON-RPC batches, which protocol 2025-03-26 has and later ones do not.
//!
//! Each element is served as if it had come alone, so that no batch gets past a limit, and its
//! answer carries its own id. rmcp serves single messages only; the splitting is done here.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    body::{Bytes, to_bytes},
    http::{HeaderMap, Request, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use rmcp::model::ProtocolVersion;
use serde_json::value::RawValue;
use toolgate_limit::Identity;

use super::{Shared, caller::Caller, id::Message, message};
use crate::rejection;

/// The most elements of a batch.
const MAX_ELEMENTS: usize = 100;

/// Elements of one batch that are served at a time.
const CONCURRENCY: usize = 8;

/// When the answers to a batch are so long together, in bytes, no more of its requests are begun. The
/// up to [`CONCURRENCY`] that have begun are answered all the same.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// What became of one element.
enum Served {
    /// It asked for no answer.
    Nothing,
    /// The answer, as JSON.
    Answer(String),
    /// For its headers, which are those of all, and before it was read.
    Refused(Response),
}

/// Whether `body` is a JSON array.
pub(super) fn is_batch(body: &[u8]) -> bool {
    body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[')
}

pub(super) async fn serve(
    shared: &Shared,
    parts: &Parts,
    body: &[u8],
    identity: &Identity,
) -> Response {
    if !has_batches(&parts.headers) {
        let oldest = ProtocolVersion::V_2025_03_26;
        return invalid(&format!("only protocol {oldest} has batches"));
    }
    let elements = match serde_json::from_slice::<Vec<Box<RawValue>>>(body) {
        Ok(elements) if elements.is_empty() => return invalid("an empty batch"),
        Ok(elements) if elements.len() > MAX_ELEMENTS => {
            return invalid(&format!("a batch of more than {MAX_ELEMENTS} elements"));
        }
        Ok(elements) => elements,
        Err(error) => return message::not_json(&error),
    };
    let length = AtomicUsize::new(0);
    let mut served = stream::iter(elements)
        .map(|element| serve_element(shared, parts, element, identity, &length))
        .buffered(CONCURRENCY);
    let mut answers = Vec::new();
    while let Some(served) = served.next().await {
        match served {
            Served::Nothing => {}
            Served::Answer(answer) => answers.push(answer),
            Served::Refused(response) => return response,
        }
    }
    if answers.is_empty() {
        StatusCode::ACCEPTED.into_response()
    } else {
        message::json(StatusCode::OK, format!("[{}]", answers.join(",")))
    }
}

async fn serve_element(
    shared: &Shared,
    parts: &Parts,
    element: Box<RawValue>,
    identity: &Identity,
    length: &AtomicUsize,
) -> Served {
    let read = Message::read(element.get().as_bytes());
    let id = read.as_ref().and_then(Message::raw_id);
    let refused = |reason: &str| Served::Answer(rejection::invalid_request(id, reason));
    let method = read.as_ref().and_then(Message::method);
    if method == Some("initialize") {
        if id.is_none() {
            return Served::Nothing; // a notification, which nobody answers
        }
        return refused("initialize must not be part of a batch");
    }
    if id.is_some() && length.load(Ordering::Relaxed) >= MAX_ANSWER_BYTES {
        return refused(&format!(
            "not run: the answers before are more than {MAX_ANSWER_BYTES} bytes together"
        ));
    }
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.headers_mut() = parts.headers.clone();
    let (own_parts, ()) = request.into_parts();
    let body = Bytes::copy_from_slice(element.get().as_bytes());
    let caller = Caller::new(identity.clone());
    let response = message::serve(shared, own_parts, body, caller).await;
    if response.status() == StatusCode::ACCEPTED {
        return Served::Nothing;
    }
    if response.status().is_client_error() && !message::is_json(response.headers()) {
        return Served::Refused(response);
    }
    let answer = to_bytes(response.into_body(), usize::MAX).await.ok();
    let answer = answer.filter(|answer| serde_json::from_slice::<&RawValue>(answer).is_ok());
    let answer = answer.and_then(|answer| String::from_utf8(answer.into()).ok());
    let Some(answer) = answer else {
        // An error of this process, which its log has.
        return Served::Answer(rejection::internal_error(id));
    };
    length.fetch_add(answer.len(), Ordering::Relaxed);
    Served::Answer(answer)
}

fn has_batches(headers: &HeaderMap) -> bool {
    // A request without the header counts as 2025-03-26, by the specification.
    headers
        .get("mcp-protocol-version")
        .is_none_or(|version| version == ProtocolVersion::V_2025_03_26.as_str())
}

fn invalid(reason: &str) -> Response {
    let error = rejection::invalid_request(None, reason);
    message::json(StatusCode::BAD_REQUEST, error)
}
