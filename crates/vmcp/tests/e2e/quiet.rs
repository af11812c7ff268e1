//! What the log says of answers that cannot be read: that there was one, and not what it says.

use std::time::Duration;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::process::{CONFIG, Process};

/// What only the caller may know.
const CARD: &str = "4111111111111111";

/// The ways to answer a call, by the name of the tool: status, content type and body.
fn odd_answer(tool: &str, id: &Value) -> (u16, &'static str, String) {
    const JSON: &str = "application/json";
    let card = format!("card {CARD}");
    let of_result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
    match tool {
        "text" => (200, JSON, card),
        "half" => (
            200,
            JSON,
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"{card}"#),
        ),
        "other" => (200, JSON, json!({"card": card}).to_string()),
        "kind" => (200, JSON, of_result(json!({"content": card})).to_string()),
        "block" => {
            let block = json!({"type": card, "text": CARD});
            (
                200,
                JSON,
                of_result(json!({"content": [block]})).to_string(),
            )
        }
        "html" => (200, "text/html", format!("<p>{card}</p>")),
        "named" => (200, "application/x; card=4111111111111111", card),
        "event" => (200, "text/event-stream", format!("data: {card}\n\n")),
        "refused" => (400, JSON, json!({"card": card}).to_string()),
        "refused_text" => (422, "text/plain", card),
        "failed" => (500, JSON, json!({"card": card}).to_string()),
        other => panic!("{other}"),
    }
}

const TOOLS: [&str; 11] = [
    "text",
    "half",
    "other",
    "kind",
    "block",
    "html",
    "named",
    "event",
    "refused",
    "refused_text",
    "failed",
];

async fn answer(body: String) -> Response {
    let message: Value = serde_json::from_str(&body).unwrap();
    let id = &message["id"];
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "odd", "version": "1"},
        }),
        "tools/list" => {
            let tool = |name| json!({"name": name, "inputSchema": {"type": "object"}});
            json!({"tools": TOOLS.map(tool)})
        }
        "tools/call" => {
            let tool = message["params"]["name"].as_str().unwrap();
            let (status, kind, body) = odd_answer(tool, id);
            let status = StatusCode::from_u16(status).unwrap();
            return (status, [(CONTENT_TYPE, kind)], body).into_response();
        }
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    let body = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Answers whoever greets it with what only another knows.
async fn rude(headers: HeaderMap, body: String) -> Response {
    assert!(headers.contains_key(CONTENT_TYPE));
    let message: Value = serde_json::from_str(&body).unwrap();
    let log = json!({
        "jsonrpc": "2.0",
        "method": "notifications/message",
        "params": {"level": "info", "data": CARD},
    });
    let body = match message["method"].as_str() {
        Some("initialize") => log.to_string(),
        _ => format!("card {CARD}"),
    };
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// A line of the log at `warn` had the first 256 bytes of what the tool said.
#[tokio::test]
async fn no_answer_is_quoted_in_the_log() {
    let router = Router::new()
        .route("/mcp", post(answer))
        .route("/rude", post(rude));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    let _serve = AbortOnDropHandle::new(serve);
    let says = format!("while read line; do echo 'card {CARD}'; done");
    let yaml = CONFIG.replace(
        "backends: []",
        &format!(
            "backends:\n  - {{name: a, url: '{url}/mcp', timeout: 1s}}\n  \
             - {{name: rude, url: '{url}/rude', connectTimeout: 1s}}\n  \
             - {{name: child, command: sh, args: ['-c', \"{says}\"], connectTimeout: 1s}}"
        ),
    );
    let process = Process::start(&yaml, ":").await;
    let client = reqwest::Client::new();
    let call = async |tool: &str| -> Value {
        let call =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}});
        let post = client
            .post(format!("http://{}/mcp", process.address))
            .json(&call);
        post.send().await.unwrap().json().await.unwrap()
    };
    while call("a_text").await.to_string().contains("unavailable") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let calls = TOOLS.map(|tool| call_named(&call, tool));
    futures::future::join_all(calls).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let log = process.stopped().await;
    assert!(!log.contains(CARD), "{log}");
    let failed = log.matches("a request has failed on its way").count();
    // All but two, of which a part can be read.
    assert!(failed >= TOOLS.len() - 2, "{failed}: {log}");
    for backend in ["rude", "child"] {
        let down = |line: &&str| line.contains("backend is down") && line.contains(backend);
        assert_eq!(log.lines().filter(down).count(), 1, "{log}");
    }
}

async fn call_named(call: &impl AsyncFn(&str) -> Value, tool: &str) {
    let answer = call(&format!("a_{tool}")).await;
    assert_eq!(answer["id"], 1, "{tool}: {answer}");
}
