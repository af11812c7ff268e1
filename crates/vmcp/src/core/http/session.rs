//! Whether a backend still knows a session.
//!
//! By MCP a server answers 404 to a request in a session that it has lost, as after a restart. Many
//! answer something else, and a new session ends the calls that are under way in the old one. So
//! an answer that looks like a lost session is doubted first: a `ping` in the same session decides.

use std::time::Duration;

use axum::http::StatusCode;
use rmcp::model::{RequestId, ServerJsonRpcMessage};
use tokio::time::timeout;

use super::{HttpClient, Kind, MOST_OF_ERROR, With, body};
use crate::core::answer::{self, Answer};

/// How long the `ping` may take. A session that does not answer it counts as alive.
const PING_WITHIN: Duration = Duration::from_secs(5);

/// No request of rmcp has this id: its ids are numbers.
const PING_ID: &str = "vmcp-session";

/// Whether an `answer` with `status` to a request in a session may mean that there is no session.
/// Such a request has not run.
pub(super) fn is_doubtful(status: StatusCode, answer: Option<&Answer>) -> bool {
    if !(status.is_success() || is_refusal(status)) {
        return false;
    }
    match answer {
        Some(Answer::Own(ServerJsonRpcMessage::Error(error))) => {
            error.error.message.to_lowercase().contains("session")
        }
        Some(Answer::Own(_)) => false,
        Some(Answer::Adopted(_)) => true,
        Some(Answer::Other) | None => is_refusal(status),
    }
}

/// Whether `status` says that the request is at fault, but for its size and its pace.
fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::TOO_MANY_REQUESTS
        )
}

impl HttpClient {
    /// Whether a `ping` in the session of `with` is refused as well.
    pub(super) async fn has_lost(&self, with: &With) -> bool {
        let ping = format!(r#"{{"jsonrpc":"2.0","id":"{PING_ID}","method":"ping"}}"#);
        let pinged = async {
            let response = self.post(with, ping.into_bytes()).await.ok()?;
            let status = response.status();
            if is_refusal(status) {
                return Some(true);
            }
            if !status.is_success() || Kind::of(&response) != Kind::Json {
                return Some(false);
            }
            let body = body::read(response, MOST_OF_ERROR).await.ok()?;
            let (message, _) = answer::read(&body)?;
            let answer = Answer::to(&RequestId::String(PING_ID.into()), message);
            Some(is_doubtful(status, Some(&answer)))
        };
        matches!(timeout(PING_WITHIN, pinged).await, Ok(Some(true)))
    }
}
