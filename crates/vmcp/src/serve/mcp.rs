//! The route `/mcp`: who calls, and one message or many.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{
        Method, StatusCode,
        header::{CONNECTION, HeaderValue},
    },
    response::{IntoResponse, Response},
};
use tokio::time::sleep;
use toolgate_net::http::{Connection, HALF_WITHIN, begins};

use super::{
    BODY_WITHIN, MAX_BODY_BYTES, Shared,
    accept::{self, Form},
    batch,
    caller::Caller,
    message, refusal, request_id,
};
use crate::rejection;

pub(super) async fn serve(State(shared): State<Shared>, request: Request) -> Response {
    let identity = match shared.authenticator.authenticate(request.headers()).await {
        Ok(identity) => identity,
        Err(error) => {
            shared.metrics.turned_away(&error);
            let request_id = request_id::of(request.headers());
            tracing::debug!(request_id, %error, "a caller was not let in");
            let resource = shared.authenticator.protected_resource();
            return refusal::unauthorized(&error, resource);
        }
    };
    let (mut parts, body) = request.into_parts();
    let Some(form) = Form::of(&parts.headers) else {
        let what = "Accept allows neither application/json nor text/event-stream";
        let error = rejection::invalid_request(None, what);
        return message::json(StatusCode::NOT_ACCEPTABLE, error);
    };
    accept::name_both(&mut parts.headers);
    let body = match read(&shared, body).await {
        Ok(body) => body,
        Err(status) => return unread(status),
    };
    let is_post = parts.method == Method::POST;
    let connection = parts.extensions.get::<Connection>().cloned();
    let response = if is_post && batch::is_batch(&body) {
        batch::serve(&shared, &parts, &body, &identity).await
    } else {
        message::serve(&shared, parts, body, Caller::new(identity)).await
    };
    let is_answered =
        response.status().is_success() || response.status() == StatusCode::TOO_MANY_REQUESTS;
    if let Some(connection) = connection.filter(|_| is_post && is_answered) {
        connection.worked();
    }
    match form {
        Form::Json => response,
        Form::Stream => message::as_event(response).await,
    }
}

/// A whole body, or the status of a request that has none.
async fn read(shared: &Shared, body: Body) -> Result<Bytes, StatusCode> {
    let too_slow = async {
        tokio::select! {
            () = sleep(BODY_WITHIN) => {}
            () = async {
                begins(shared.draining.clone()).await;
                sleep(HALF_WITHIN).await;
            } => {}
        }
    };
    tokio::select! {
        // A body that is there is read, whatever else is the case.
        biased;
        // Too long, or broken off, which nobody is left to be told.
        read = to_bytes(body, MAX_BODY_BYTES) => read.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE),
        () = too_slow => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// What is left of the body stands where the next request would.
fn unread(status: StatusCode) -> Response {
    const CLOSE: HeaderValue = HeaderValue::from_static("close");
    (status, [(CONNECTION, CLOSE)]).into_response()
}
