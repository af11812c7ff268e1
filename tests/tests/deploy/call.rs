//! Calls of tools at the gateway of the test.

use serde_json::{Value, json};
use toolgate_tests::eventually;

/// What the gateway answers to a call.
pub(crate) async fn call(tool: &str, arguments: &Value) -> Value {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments}});
    // There may be one already, of another test.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ask = async || {
        let request = reqwest::Client::new()
            .post("http://127.0.0.1:4483/mcp")
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(message.to_string());
        let answer = request.send().await.ok()?.text().await.ok()?;
        serde_json::from_str::<Value>(&answer).ok()
    };
    eventually("an answer of the gateway", ask).await
}
