//! The route `/mcp`: who calls, one message or many, and the status of a denial.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header::RETRY_AFTER, request::Parts},
    response::{IntoResponse, Response},
};

use super::{MAX_BODY_BYTES, Shared, batch, caller::Caller, refusal};
use crate::rejection::{HttpStatus, retry_after_seconds};

pub(super) async fn serve(State(shared): State<Shared>, request: Request) -> Response {
    let identity = match shared.authenticator.authenticate(request.headers()).await {
        Ok(identity) => identity,
        Err(error) => return refusal::unauthorized(&error),
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        // Too long, or broken off, which nobody is left to be told.
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    if parts.method == Method::POST && batch::is_batch(&body) {
        return batch::serve(&shared, &parts, &body, &identity).await;
    }
    one(&shared, parts, body, Caller::new(identity)).await
}

/// Serves one message.
pub(super) async fn one(shared: &Shared, parts: Parts, body: Bytes, caller: Caller) -> Response {
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
