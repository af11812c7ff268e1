//! The official Python SDK as the client, and a server from npm as the backend.
//!
//! `python3`, or what `VMCP_TEST_PYTHON` names, must have the package `mcp`; the program
//! `mcp-server-everything` of `@modelcontextprotocol/server-everything` must be on the `PATH`.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{backend::url, shared::Shared};

const EVERYTHING: &str = ", {name: every, command: mcp-server-everything}";

/// What came of `count` calls of the tool `every_echo`, through replica `replica`.
async fn calls(
    shared: &Shared,
    replica: usize,
    mode: &str,
    user: &str,
    count: usize,
) -> Vec<Value> {
    let python = std::env::var("VMCP_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/call.py"))
        .args([mode, &url(shared.replicas[replica].address)])
        .args(["every_echo", r#"{"message": "hi"}"#, &count.to_string()])
        .arg(shared.issuer.token(user))
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn limited_across_replicas(mode: &str, code: i32) {
    let limits = "tools: [{name: every_echo, perUser: {maxTokens: 5, refillPeriod: 1h}}]";
    let shared = Shared::start(limits, EVERYTHING).await;
    let passed = json!({"isError": false});

    let first = calls(&shared, 0, mode, "alice", 3).await;
    assert_eq!(first, [passed.clone(), passed.clone(), passed.clone()]);
    let second = calls(&shared, 1, mode, "alice", 3).await;
    assert_eq!(second[..2], [passed.clone(), passed.clone()]);

    let denied = &second[2];
    assert_eq!(denied["code"], json!(code));
    let message = denied["message"].as_str().unwrap();
    assert!(
        message.starts_with("Rate limit exceeded: 5 calls per 1h per user"),
        "{message}"
    );
    assert_eq!(denied["data"]["limitType"], json!("perUser"));
    assert_eq!(denied["data"]["scope"], json!("tool"));
    assert_eq!(denied["data"]["name"], json!("every_echo"));
    assert!(denied["data"]["retryAfterSeconds"].as_f64().unwrap() > 600.0);

    assert_eq!(calls(&shared, 1, mode, "bob", 1).await, [passed]);
}

#[tokio::test]
async fn a_client_that_initializes_sees_the_denial() {
    limited_across_replicas("legacy", -32029).await;
}

#[tokio::test]
async fn a_client_of_protocol_2026_07_28_sees_the_denial() {
    limited_across_replicas("2026-07-28", 429).await;
}
