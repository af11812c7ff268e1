//! One message to the MCP service: its id, the HTTP status of a denial, and its place in metrics.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{
        HeaderValue, Method, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use tokio::time::Instant;

use super::{
    Shared,
    caller::Caller,
    id::{Answer, Id, Message},
    metrics,
    outcome::Outcome,
};
use crate::rejection::{self, HttpStatus, retry_after_seconds};

/// Serves one message.
pub(super) async fn serve(shared: &Shared, parts: Parts, body: Bytes, caller: Caller) -> Response {
    if parts.method != Method::POST {
        return ask(shared, parts, body, caller).await;
    }
    let received = Instant::now();
    let message = Message::read(&body);
    let method = message.as_ref().and_then(Message::method);
    let method = method.map_or(metrics::Method::OTHER, metrics::Method::of);
    let id = message.as_ref().map_or(Id::Plain, Message::id);
    let response = match (id, &message) {
        (Id::Wrong(id), _) => {
            let error = rejection::invalid_request(Some(id), "id: must be a string or a number");
            json(StatusCode::BAD_REQUEST, error)
        }
        (Id::Odd(_), Some(message)) => match message.with_stand_in() {
            Ok(body) => ask(shared, parts, body, caller.clone()).await,
            Err(error) => internal(&error),
        },
        _ => ask(shared, parts, body.clone(), caller.clone()).await,
    };
    let (response, outcome) = match settle(response, id, &caller).await {
        Ok(settled) => settled,
        Err(error) => (internal(&*error), Outcome::Error),
    };
    shared.metrics.served(method, outcome, received.elapsed());
    response
}

async fn ask(shared: &Shared, parts: Parts, body: Bytes, caller: Caller) -> Response {
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(caller.clone());
    let mut response = shared.mcp.handle(request).await.map(Body::new);

    if let Some(denial) = caller.denial()
        && shared.rejection.is_protocol_error()
        && shared.rejection.http_status == HttpStatus::TooManyRequests
    {
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        if let Some(seconds) = retry_after_seconds(denial) {
            let seconds = HeaderValue::from(seconds);
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
    }
    response
}

/// Puts an odd id back, and finds out what became of a message that the handler has not seen.
/// Bodies are read for no other reason.
async fn settle(
    response: Response,
    id: Id<'_>,
    caller: &Caller,
) -> Result<(Response, Outcome), Box<dyn std::error::Error + Send + Sync>> {
    let is_json = response.headers().get(CONTENT_TYPE) == Some(&JSON);
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

/// A response with the JSON `text`.
pub(super) fn json(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, JSON)], text).into_response()
}

fn internal(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "an answer could not be written");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
