//! One message to the MCP service: its id, the HTTP status of a denial, and its place in metrics.

use std::borrow::Cow;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::time::Instant;
use toolgate_limit::Denial;

use super::{
    Shared,
    caller::Caller,
    id::{Answer, Id, Message},
    metrics,
    outcome::Outcome,
    request_id,
};
use crate::{
    json::{Writer, marked, unmarked_bytes},
    rejection::{self, HttpStatus, retry_after_seconds},
};

/// Serves one message.
pub(super) async fn serve(shared: &Shared, parts: Parts, body: Bytes, caller: Caller) -> Response {
    if parts.method != Method::POST {
        return ask(shared, parts, body, caller).await;
    }
    let mut told = Told::new(shared);
    let body = with_marks(body);
    let message = Message::read(&body);
    let method = message.as_ref().and_then(Message::method);
    let method = method.map_or(metrics::Method::OTHER, metrics::Method::of);
    told.method = method;
    let id = message.as_ref().map_or(Id::Plain, Message::id);
    let entered = message.as_ref().zip(shared.in_flight.as_ref());
    let _entered = entered.and_then(|(message, in_flight)| {
        if let Some(id) = message.cancels() {
            in_flight.cancel(&caller.identity, id);
        }
        let id = message.raw_id().filter(|_| message.method().is_some())?;
        in_flight.enter(&caller.identity, id, caller.cancelled.clone())
    });
    let is_json = is_json(&parts.headers);
    let request_id = request_id::of(&parts.headers).to_owned();
    let response = match (id, &message) {
        (Id::Wrong(id), _) => {
            let error = rejection::invalid_request(Some(id), "id: must be a string or a number");
            json(StatusCode::BAD_REQUEST, error)
        }
        (Id::Odd(id), Some(message)) => {
            caller.note_odd_id(id.get());
            match message.with_stand_in() {
                Ok(body) => ask(shared, parts, body, caller.clone()).await,
                Err(error) => internal(&error),
            }
        }
        _ => ask(shared, parts, body.clone(), caller.clone()).await,
    };
    let response = match response.status() {
        // What rmcp cannot read though it came as JSON. It says so in words for people.
        StatusCode::UNSUPPORTED_MEDIA_TYPE if is_json => unreadable(&body, message.as_ref()),
        _ => response,
    };
    let (response, outcome) = match settle(response, id, &caller).await {
        Ok(settled) => settled,
        Err(error) => (internal(&*error), Outcome::Error),
    };
    if outcome != Outcome::Ok {
        let outcome = outcome.as_str();
        tracing::debug!(request_id, outcome, "a message was answered with an error");
    }
    told.outcome = outcome;
    response
}

/// Counts a message when it is dropped, with its answer or without.
struct Told<'a> {
    shared: &'a Shared,
    received: Instant,
    method: metrics::Method,
    outcome: Outcome,
}

impl<'a> Told<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            received: Instant::now(),
            method: metrics::Method::OTHER,
            // Only the caller of a message can end it before there is another one.
            outcome: Outcome::Cancelled,
        }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let took = self.received.elapsed();
        self.shared.metrics.served(self.method, self.outcome, took);
    }
}

async fn ask(shared: &Shared, parts: Parts, body: Bytes, caller: Caller) -> Response {
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(caller.clone());
    let response = shared.mcp.handle(request).await.map(Body::new);
    let response = without_marks(response).await;
    match caller.denial() {
        Some(denial) if shared.rejection.http_status == HttpStatus::TooManyRequests => {
            with_denial(response, denial).await
        }
        _ => response,
    }
}

/// As [`marked`]. What is no text passes, and is found to be none later.
fn with_marks(body: Bytes) -> Bytes {
    match std::str::from_utf8(&body).map(|text| marked(text, Writer::Caller)) {
        Ok(Cow::Owned(text)) => text.into(),
        Ok(Cow::Borrowed(_)) | Err(_) => body,
    }
}

/// As [`unmarked_bytes`].
async fn without_marks(response: Response) -> Response {
    if !is_json(response.headers()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    // Made by this process, and as long as it made it.
    match to_bytes(body, usize::MAX).await {
        Ok(body) => Response::from_parts(parts, unmarked_bytes(body.into()).into()),
        Err(error) => internal(&error),
    }
}

/// The status of a denial, if `response` is a JSON-RPC error. Tool calls may have a result instead.
async fn with_denial(response: Response, denial: &Denial) -> Response {
    let (mut parts, body) = response.into_parts();
    // Made by this process, and as long as it made it.
    let body = match to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return internal(&error),
    };
    let is_error = Answer::read(&body).is_some_and(|answer| answer.is_error());
    if is_error {
        parts.status = StatusCode::TOO_MANY_REQUESTS;
        if let Some(seconds) = retry_after_seconds(denial) {
            let seconds = HeaderValue::from(seconds);
            parts.headers.insert(RETRY_AFTER, seconds);
        }
    }
    Response::from_parts(parts, Body::from(body))
}

/// Says what is wrong with `body`, which is no JSON-RPC message of a client.
fn unreadable(body: &[u8], message: Option<&Message<'_>>) -> Response {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return not_json(&error),
    };
    // Read as a value, as half a pair of surrogates is JSON and no text.
    if let Err(error) = serde_json::from_str::<Value>(text) {
        return not_json(&error);
    }
    let id = message.and_then(Message::raw_id);
    let fault = message.filter(|_| id.is_some()).and_then(Message::fault);
    let error = match fault {
        Some(fault) => rejection::invalid_params(id, fault),
        None => rejection::invalid_request(id, "not a JSON-RPC 2.0 message"),
    };
    json(StatusCode::BAD_REQUEST, error)
}

/// The answer to a body that is no JSON. The error says where, and not what is there.
pub(super) fn not_json(error: &dyn std::error::Error) -> Response {
    let error = rejection::parse_error(format!("not JSON: {error}"));
    json(StatusCode::BAD_REQUEST, error)
}

/// Puts an odd id back, and finds out what became of a message that the handler has not seen.
/// Bodies are read for no other reason.
async fn settle(
    response: Response,
    id: Id<'_>,
    caller: &Caller,
) -> Result<(Response, Outcome), Box<dyn std::error::Error + Send + Sync>> {
    let is_json = is_json(response.headers());
    let by_status = match response.status() {
        status if status.is_success() => Outcome::Ok,
        _ => Outcome::Error,
    };
    let noted = caller.outcome();
    let is_told = noted.is_some() || by_status == Outcome::Error;
    if !is_json || (is_told && !matches!(id, Id::Odd(_))) {
        return Ok((response, noted.unwrap_or(by_status)));
    }
    let (parts, body) = response.into_parts();
    // Made by this process, and as long as it made it.
    let body = to_bytes(body, usize::MAX).await?;
    let mut settled = body.clone();
    let mut outcome = noted.unwrap_or(by_status);
    if let Some(answer) = Answer::read(&body) {
        if noted.is_none() && answer.is_error() {
            outcome = Outcome::Error;
        }
        if let Id::Odd(id) = id {
            settled = answer.to(id)?;
        }
    }
    Ok((Response::from_parts(parts, Body::from(settled)), outcome))
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Whether what goes with `headers` says that it is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// A response with the JSON `text`.
pub(super) fn json(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, JSON)], text).into_response()
}

/// The stream of one event that holds an answer. JSON has no line breaks but between its parts, and
/// answers have none there.
pub(super) async fn as_event(response: Response) -> Response {
    if !response.status().is_success() || !is_json(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Made by this process, and as long as it made it.
    let body = match to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return internal(&error),
    };
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, EVENTS);
    let event = [b"event: message\ndata: ", &*body, b"\n\n"].concat();
    Response::from_parts(parts, Body::from(event))
}

fn internal(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "an answer could not be written");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
