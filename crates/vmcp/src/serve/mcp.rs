//! The route `/mcp`: who calls, and one message or many.

use axum::{
    body::to_bytes,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};

use super::{MAX_BODY_BYTES, Shared, batch, caller::Caller, message, refusal};

pub(super) async fn serve(State(shared): State<Shared>, request: Request) -> Response {
    let identity = match shared.authenticator.authenticate(request.headers()).await {
        Ok(identity) => identity,
        Err(error) => {
            shared.metrics.turned_away(&error);
            let resource = shared.authenticator.protected_resource();
            return refusal::unauthorized(&error, resource);
        }
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        // Too long, or broken off, which nobody is left to be told.
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    if parts.method == Method::POST && batch::is_batch(&body) {
        return batch::serve(&shared, &parts, &body, &identity).await;
    }
    message::serve(&shared, parts, body, Caller::new(identity)).await
}
