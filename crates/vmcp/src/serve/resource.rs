//! The route `/.well-known/oauth-protected-resource`: where tokens are to be had.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};

use super::Shared;

/// Any path behind it, as that of the resource is known only to who configures it.
pub(super) const BELOW: &str = "/.well-known/oauth-protected-resource/{*path}";

pub(super) async fn serve(State(shared): State<Shared>, uri: Uri) -> Response {
    match shared.authenticator.protected_resource() {
        Some(resource) if resource.is_at(uri.path()) => Json(resource.metadata()).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
