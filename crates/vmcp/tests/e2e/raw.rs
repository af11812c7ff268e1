//! A backend that answers just what it is told to, byte by byte.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::post,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// An MCP server over HTTP with sessions, in this process. It stops when it is dropped.
pub(crate) struct RawBackend {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    _serve: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The result of a method, as JSON.
    pub(crate) results: Mutex<HashMap<&'static str, String>>,
    /// The whole answer to a method: status, content type and body, in which `ID` is the id.
    pub(crate) answers: Mutex<HashMap<&'static str, Raw>>,
    /// The answer to requests in a session that is lost.
    pub(crate) lost: Mutex<Raw>,
    /// How the content types of JSON and of events are written.
    pub(crate) types: Mutex<Option<(&'static str, &'static str)>>,
    /// Whether results come as events.
    pub(crate) as_events: Mutex<bool>,
    /// Sessions that it has begun. Only the last one is known.
    pub(crate) sessions: Mutex<usize>,
    /// Whether the last session is lost as well.
    is_restarted: Mutex<bool>,
    /// It restarts once the next call has run, and then says this to who comes with the old session.
    pub(crate) restarts_after_call: Mutex<Option<Raw>>,
    /// The bodies of calls that have run.
    pub(crate) calls: Mutex<Vec<String>>,
}

/// Status, content type and body.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Raw(
    pub(crate) u16,
    pub(crate) &'static str,
    pub(crate) &'static str,
);

const TOOLS: &str = r#"{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}"#;
const DONE: &str = r#"{"content":[{"type":"text","text":"done"}]}"#;

impl RawBackend {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        shared.result("tools/list", TOOLS);
        shared.result("tools/call", DONE);
        shared.result("ping", "{}");
        let router = Router::new()
            .route("/mcp", post(answer).delete(|| async {}))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            _serve: AbortOnDropHandle::new(serve),
        }
    }
}

impl std::ops::Deref for RawBackend {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    pub(crate) fn result(&self, method: &'static str, result: &str) {
        let mut results = self.results.lock().unwrap();
        results.insert(method, result.to_owned());
    }

    /// Forgets its session, and says `lost` from now on to who comes with it.
    pub(crate) fn restart(&self, lost: Raw) {
        *self.lost.lock().unwrap() = lost;
        *self.is_restarted.lock().unwrap() = true;
    }

    pub(crate) fn sessions(&self) -> usize {
        *self.sessions.lock().unwrap()
    }

    pub(crate) fn ran(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    fn respond(Raw(status, kind, body): Raw, id: &str) -> Response {
        let body = body.replace("ID", id);
        write(status, kind, body)
    }
}

fn write(status: u16, kind: &str, body: String) -> Response {
    let mut response = Response::builder().status(status);
    if !kind.is_empty() {
        response = response.header("content-type", kind);
    }
    response.body(Body::from(body)).unwrap()
}

/// Other parts may hold what no `Value` can.
#[derive(Deserialize)]
struct Request<'a> {
    method: Option<&'a str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let Request { method, id } = serde_json::from_slice(&body).unwrap();
    let method = method.unwrap_or_default();
    let is_request = id.is_some();
    let id = id.map_or("null", RawValue::get);
    let (json, events) = shared
        .types
        .lock()
        .unwrap()
        .unwrap_or(("application/json", "text/event-stream"));
    if method == "initialize" {
        *shared.is_restarted.lock().unwrap() = false;
        let mut sessions = shared.sessions.lock().unwrap();
        *sessions += 1;
        let result = r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"prompts":{},"resources":{}},"serverInfo":{"name":"raw","version":"1"}}"#;
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        let mut response = write(200, json, body);
        let session = sessions.to_string().parse().unwrap();
        response.headers_mut().insert("mcp-session-id", session);
        return response;
    }
    let session = headers
        .get("mcp-session-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    if *shared.is_restarted.lock().unwrap() || session != Some(shared.sessions()) {
        let lost = *shared.lost.lock().unwrap();
        return Shared::respond(lost, id);
    }
    if !is_request {
        return write(StatusCode::ACCEPTED.as_u16(), "", String::new());
    }
    if method == "tools/call" {
        let body = String::from_utf8(body.to_vec()).unwrap();
        shared.calls.lock().unwrap().push(body);
        if let Some(lost) = shared.restarts_after_call.lock().unwrap().take() {
            shared.restart(lost);
        }
    }
    if let Some(raw) = shared.answers.lock().unwrap().get(method) {
        return Shared::respond(*raw, id);
    }
    let result = shared.results.lock().unwrap().get(method).cloned();
    let body = match result {
        Some(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        None => {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"no"}}}}"#)
        }
    };
    if *shared.as_events.lock().unwrap() {
        write(200, events, format!("data: {body}\n\n"))
    } else {
        write(200, json, body)
    }
}
