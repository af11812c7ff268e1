//! A client that says exactly what the test wants, as JSON.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};
use toolgate_tests::eventually;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

const PROTOCOL_2025_03_26: &str = "2025-03-26";
const PROTOCOL_2026_07_28: &str = "2026-07-28";

/// Somebody who calls a replica. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
    version: &'static str,
}

/// What came of a request: its result, or its error.
pub(crate) type Outcome = Result<Value, Value>;

impl Caller {
    /// A client of the replica at `url`, of the protocol that has batches.
    pub(crate) fn new(url: &str, token: Option<String>) -> Self {
        Self {
            http: http(),
            url: url.to_owned(),
            token,
            version: PROTOCOL_2025_03_26,
        }
    }

    /// The same client, of protocol 2026-07-28.
    pub(crate) fn of_2026_07_28(&self) -> Self {
        Self {
            version: PROTOCOL_2026_07_28,
            ..self.clone()
        }
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Outcome {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
            .await
    }

    /// Makes one request, and asserts that it is what was answered.
    pub(crate) async fn ask(&self, method: &str, mut params: Value) -> Outcome {
        if self.version == PROTOCOL_2026_07_28 {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": PROTOCOL_2026_07_28,
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let id = NEXT_ID.fetch_add(1, Ordering::SeqCst);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let mut answer = self.send(&body).await;
        assert_eq!(answer["id"], json!(id), "{answer}");
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(answer["error"].take()),
        }
    }

    /// Sends a message or a batch, and reads the answer.
    pub(crate) async fn send(&self, body: &Value) -> Value {
        let answer = self.post(body).await;
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"))
    }

    /// Sends a notification, which is taken.
    pub(crate) async fn notify(&self, body: &Value) {
        let answer = self.post(body).await;
        assert_eq!(answer.status().as_u16(), 202);
    }

    async fn post(&self, body: &Value) -> reqwest::Response {
        let mut request = self
            .http
            .post(&self.url)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", self.version)
            .json(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if self.version == PROTOCOL_2026_07_28 {
            for (header, value) in [
                ("mcp-method", &body["method"]),
                ("mcp-name", &body["params"]["name"]),
            ] {
                request = request.header(header, value.as_str().unwrap_or_default());
            }
        }
        request.send().await.expect("an answer")
    }

    /// Waits until the replica lists `tool`: until its backend is there.
    pub(crate) async fn until_listed(&self, tool: &str) {
        eventually("the tool is listed", async || {
            let listed = self.ask("tools/list", json!({})).await.ok()?;
            let mut tools = listed["tools"].as_array()?.iter();
            tools.any(|listed| listed["name"] == tool).then_some(())
        })
        .await;
    }
}

/// Whether an outcome is a denial.
pub(crate) fn is_denied(outcome: &Outcome) -> bool {
    let codes = [json!(-32029), json!(429)];
    outcome
        .as_ref()
        .is_err_and(|error| codes.contains(&error["code"]))
}

/// Connections of one test; they live no longer than its runtime.
pub(crate) fn http() -> reqwest::Client {
    static RING: OnceLock<()> = OnceLock::new();
    RING.get_or_init(|| {
        // An error means that a part of this process has chosen the same before.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::new()
}
