//! A backend that knows no protocol before 2026-07-28, and whose answers may be cached.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

/// What all requests share.
#[derive(Debug)]
struct Shared {
    /// The hint that goes with each answer.
    scope: &'static str,
    reads: AtomicUsize,
    fails: AtomicBool,
    waiting: AtomicUsize,
    has_template: AtomicBool,
    /// The headers and the bodies of calls.
    calls: Mutex<Vec<(HeaderMap, String)>>,
}

/// A call of `wait`, which ends when its caller hangs up.
struct Waiting(Arc<Shared>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An MCP server over HTTP, in this process. It stops when it is dropped.
pub(crate) struct ModernBackend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _serve: JoinSet<()>,
}

impl ModernBackend {
    /// One whose answers are fresh for a minute, to all (`public`) or to one (`private`).
    pub(crate) async fn start(scope: &'static str) -> Self {
        let shared = Arc::new(Shared {
            scope,
            reads: AtomicUsize::new(0),
            fails: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            has_template: AtomicBool::new(false),
            calls: Mutex::default(),
        });
        let router = Router::new()
            .route("/mcp", post(answer))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serve = JoinSet::new();
        serve.spawn(async { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            _serve: serve,
        }
    }

    /// Reads that have reached it.
    pub(crate) fn reads(&self) -> usize {
        self.shared.reads.load(Ordering::SeqCst)
    }

    /// The headers and the body of the last call.
    pub(crate) fn last_call(&self) -> (HeaderMap, String) {
        self.shared.calls.lock().unwrap().last().unwrap().clone()
    }

    /// Calls of `wait` that it holds.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// It has a template of all notes, and lists none of them.
    pub(crate) fn serve_all(&self) {
        self.shared.has_template.store(true, Ordering::SeqCst);
    }

    /// From now on reads are errors.
    pub(crate) fn fail(&self) {
        self.shared.fails.store(true, Ordering::SeqCst);
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    let request: Value = serde_json::from_str(&body).unwrap();
    let Some(id) = request.get("id") else {
        return (StatusCode::ACCEPTED, Json(Value::Null));
    };
    let answer = match request["method"].as_str().unwrap_or_default() {
        "server/discover" => Ok(json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}, "resources": {}},
        })),
        "tools/list" => {
            let tool = |name| json!({"name": name, "inputSchema": {"type": "object"}});
            let strict = json!({"name": "strict", "inputSchema": {"type": "object", "properties": {
                "n": {"type": "integer", "x-mcp-header": "N"},
                "s": {"type": "string", "x-mcp-header": "S"},
            }}});
            Ok(json!({"tools": [tool("now"), tool("wait"), strict]}))
        }
        "tools/call" => {
            shared.calls.lock().unwrap().push((headers, body));
            if request["params"]["name"] == "wait" {
                shared.waiting.fetch_add(1, Ordering::SeqCst);
                let _waiting = Waiting(shared);
                std::future::pending::<()>().await;
                unreachable!("it is dropped");
            }
            Ok(json!({"content": []}))
        }
        "resources/list" if shared.has_template.load(Ordering::SeqCst) => {
            Ok(json!({"resources": []}))
        }
        "resources/list" => Ok(json!({"resources": [{"uri": "note://mine", "name": "mine"}]})),
        "resources/templates/list" if shared.has_template.load(Ordering::SeqCst) => {
            let template = json!({"uriTemplate": "note://{name}", "name": "any"});
            Ok(json!({"resourceTemplates": [template]}))
        }
        "resources/templates/list" => Ok(json!({"resourceTemplates": []})),
        "resources/read" => {
            let n = shared.reads.fetch_add(1, Ordering::SeqCst) + 1;
            let text = json!({"uri": request["params"]["uri"], "text": format!("read {n}")});
            if shared.fails.load(Ordering::SeqCst) {
                Err(json!({"code": -32123, "message": "as asked"}))
            } else {
                Ok(json!({"contents": [text]}))
            }
        }
        method => Err(json!({"code": -32601, "message": method})),
    };
    let answer = match answer {
        Ok(mut result) => {
            result["resultType"] = json!("complete");
            result["ttlMs"] = json!(60_000);
            result["cacheScope"] = json!(shared.scope);
            json!({"jsonrpc": "2.0", "id": id, "result": result})
        }
        Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
    };
    (StatusCode::OK, Json(answer))
}
