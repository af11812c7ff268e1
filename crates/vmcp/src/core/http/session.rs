//! Whether a backend still knows a session.
//!
//! By MCP a server answers 404 to a request in a session that it has lost, as after a restart. Many
//! answer something else, and a new session ends the calls that are under way in the old one. So
//! an answer that looks like a lost session is doubted first: a `ping` in the same session decides, and
//! `tools/list` where the server may refuse a `ping` for a reason of its own.
//!
//! A request is sent again only if it certainly has not run. In a session that is lost the next
//! request is not sent at all: it goes to a new one.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use futures::StreamExt as _;
use reqwest::Response;
use rmcp::{
    model::{ErrorCode, RequestId, ServerJsonRpcMessage},
    transport::streamable_http_client::StreamableHttpPostResponse,
};
use tokio::time::timeout;

use super::{HttpClient, Kind, MOST_OF_ERROR, With, body};
use crate::core::answer::{self, Answer};

/// How long the questions may take. A session that does not answer them counts as alive.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// No request of rmcp has this id: its ids are numbers.
const ID: &str = "vmcp-session";

/// What is known of a server's sessions.
#[derive(Debug, Default)]
pub(super) struct Known {
    has_answered: AtomicBool,
    are_given: AtomicBool,
    /// The one that was found lost last. Ids do not come again.
    lost: Mutex<Option<Box<str>>>,
}

impl Known {
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::SeqCst)
    }

    pub(super) fn note_answer(&self) {
        self.has_answered.store(true, Ordering::SeqCst);
    }

    pub(super) fn are_given(&self) -> bool {
        self.are_given.load(Ordering::SeqCst)
    }

    pub(super) fn note(&self, posted: &StreamableHttpPostResponse) {
        use StreamableHttpPostResponse::{Json, Sse};
        if let Json(_, Some(_)) | Sse(_, Some(_)) = posted {
            self.are_given.store(true, Ordering::SeqCst);
        }
    }

    pub(super) fn is_lost(&self, session: &str) -> bool {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.as_deref() == Some(session)
    }

    fn lose(&self, session: &str) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        *lost = Some(session.into());
    }
}

/// Why an answer may mean that there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// HTTP refuses the request, and no answer of MCP is there: it has not run.
    NotRun,
    /// It may have run.
    MayHaveRun,
}

/// Whether an `answer` with `status` to a request in a session may mean that there is no session.
pub(super) fn doubt(status: StatusCode, answer: Option<&Answer>) -> Option<Doubt> {
    match answer {
        Some(Answer::Own(message)) => names_session(message).then_some(Doubt::MayHaveRun),
        _ if is_refusal(status) => Some(Doubt::NotRun),
        _ if status.is_server_error() => Some(Doubt::MayHaveRun),
        Some(Answer::Adopted(_)) => Some(Doubt::MayHaveRun),
        Some(Answer::Other) | None => None,
    }
}

fn names_session(message: &ServerJsonRpcMessage) -> bool {
    let ServerJsonRpcMessage::Error(error) = message else {
        return false;
    };
    error.error.message.to_lowercase().contains("session")
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

/// What the answer to a question says of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Alive,
    Lost,
    /// The server may refuse just this question, or fail.
    Unclear,
}

fn sign(status: StatusCode, answer: Option<&Answer>) -> Sign {
    match (status, answer) {
        (_, Some(Answer::Own(ServerJsonRpcMessage::Error(error))))
            if error.error.code == ErrorCode::METHOD_NOT_FOUND =>
        {
            Sign::Alive
        }
        (
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::INTERNAL_SERVER_ERROR,
            _,
        ) => Sign::Unclear,
        (status, _) if is_refusal(status) => Sign::Lost,
        // The way to the server is broken, or it is busy: that says nothing of the session.
        (status, _) if !status.is_success() => Sign::Alive,
        (_, Some(Answer::Adopted(_))) => Sign::Lost,
        (_, Some(Answer::Own(message))) if names_session(message) => Sign::Lost,
        _ => Sign::Alive,
    }
}

impl HttpClient {
    /// Whether the session of `with` is lost. If so nothing more is sent in it.
    pub(super) async fn finds_lost(&self, with: &With) -> bool {
        let Some(session) = with.session.as_deref() else {
            return false;
        };
        let asked = async {
            match self.sign(with, "ping").await? {
                // What this server itself needs is refused as well.
                Sign::Unclear => self.sign(with, "tools/list").await,
                sign => Some(sign),
            }
        };
        let sign = timeout(ASK_WITHIN, asked).await.ok().flatten();
        let is_lost = matches!(sign, Some(Sign::Lost | Sign::Unclear));
        if is_lost {
            self.1.0.lose(session);
        }
        is_lost
    }

    async fn sign(&self, with: &With, method: &str) -> Option<Sign> {
        let question = format!(r#"{{"jsonrpc":"2.0","id":"{ID}","method":"{method}"}}"#);
        let response = self.post(with, question.into_bytes()).await.ok()?;
        let status = response.status();
        let answer = first_answer(response).await;
        Some(sign(status, answer.as_ref()))
    }
}

async fn first_answer(response: Response) -> Option<Answer> {
    let id = RequestId::String(ID.into());
    let read = match Kind::of(&response) {
        Kind::Json => body::read(response, MOST_OF_ERROR).await.ok()?,
        Kind::Events => {
            let mut events = body::events(response, MOST_OF_ERROR, None);
            loop {
                let event = events.next().await?.ok()?;
                if let Some(said) = event.data {
                    break said.into_bytes();
                }
            }
        }
        Kind::Other => return None,
    };
    let (message, _) = answer::read(&read)?;
    Some(Answer::to(&id, message))
}
