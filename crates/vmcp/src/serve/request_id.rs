//! Each request has an id, by which what the log says of it is found.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::Next,
    response::Response,
};
use toolgate_telemetry::{REQUEST_ID, RequestId};

/// Gives the request an id, unless its caller has, and shows it with the response, whatever that is.
pub(super) async fn mark(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let value = HeaderValue::from_str(id.as_str());
    // An id is made of what a header may hold.
    let Ok(value) = value else {
        return next.run(request).await;
    };
    request.headers_mut().insert(REQUEST_ID, value.clone());
    let mut response = next.run(request).await;
    let status = response.status();
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::warn!(request_id = %id, status = status.as_u16(), "a request has failed");
    } else if status.is_client_error() || status.is_server_error() {
        tracing::debug!(request_id = %id, status = status.as_u16(), "a request was turned away");
    }
    response.headers_mut().insert(REQUEST_ID, value);
    response
}

/// The id of a request that was [marked](mark), for the log.
pub(super) fn of(headers: &HeaderMap) -> &str {
    let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    id.unwrap_or_default()
}
