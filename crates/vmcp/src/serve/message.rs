//! One message to the MCP service, and the HTTP status of a denial.

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER, request::Parts},
    response::Response,
};

use super::{Shared, caller::Caller};
use crate::rejection::{HttpStatus, retry_after_seconds};

/// Serves one message.
pub(super) async fn serve(shared: &Shared, parts: Parts, body: Bytes, caller: Caller) -> Response {
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
