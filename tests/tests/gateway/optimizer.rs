//! Behind the optimizer the tool that really runs is limited, whatever name it was called by.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    caller::{Caller, Outcome, is_denied},
    stage::Stage,
};

/// Five calls of one tool. The optimizer's own two tools have no buckets: were they asked for, the
/// second call would be denied.
const SPEC: &str = "tools: [{name: a_echo, perUser: {maxTokens: 5, refillPeriod: 1m}}, \
     {name: call_tool, global: {maxTokens: 1, refillPeriod: 24h}}, \
     {name: find_tool, global: {maxTokens: 1, refillPeriod: 24h}}]";

async fn call(caller: &Caller, tool: &str) -> Outcome {
    let arguments = json!({"tool_name": tool, "parameters": {"x": 1}});
    caller.call("call_tool", arguments).await
}

/// Denials carry `code` for clients that are made by `of`.
async fn the_resolved_tool_is_limited(code: i32, of: fn(&Caller) -> Caller) {
    let mut stage = Stage::start(SPEC, "", "optimizer: {}").await;
    let alice = stage.callers("alice").each_ref().map(of);
    let bob = stage.callers("bob").each_ref().map(of);
    for caller in &alice {
        let search = json!({"tool_description": "returns its arguments"});
        let found = caller.call("find_tool", search).await.expect("found");
        assert_eq!(found["structuredContent"]["tools"][0]["name"], "a_echo");
    }
    for turn in 0..5 {
        let echoed = call(&alice[turn % 2], "a_echo").await.expect("one of five");
        let text = echoed["content"][0]["text"].as_str().expect("a text");
        let echoed: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(
            (&echoed["name"], &echoed["arguments"]),
            (&json!("echo"), &json!({"x": 1}))
        );
    }
    for caller in &alice {
        let denied = call(caller, "a_echo").await.expect_err("the sixth");
        assert_eq!(denied["code"], json!(code));
        let limit = json!({
            "retryAfterSeconds": 12.0, "limitType": "perUser", "scope": "tool", "name": "a_echo",
        });
        assert_eq!(denied["data"], limit);
    }
    assert_eq!(stage.backend.calls().await, 5);

    // Neither another tool nor another user is touched.
    call(&alice[0], "a_reverse").await.expect("another tool");
    call(&bob[1], "a_echo").await.expect("another user");
    assert_eq!(stage.backend.calls().await, 7);

    stage.wait(Duration::from_secs(12));
    call(&alice[1], "a_echo")
        .await
        .expect("after the announced wait");
    assert!(is_denied(&call(&alice[0], "a_echo").await));
    assert_eq!(stage.backend.calls().await, 8);
}

#[tokio::test]
async fn through_the_optimizer_the_resolved_tool_is_limited_across_replicas() {
    the_resolved_tool_is_limited(-32029, Caller::clone).await;
}

#[tokio::test]
async fn so_it_is_for_clients_of_protocol_2026_07_28() {
    the_resolved_tool_is_limited(429, Caller::of_2026_07_28).await;
}

/// What the optimizer finds out before it asks for a decision costs nothing.
#[tokio::test]
async fn searches_and_tools_that_are_not_there_cost_nothing() {
    let spec = "perUser: {maxTokens: 3, refillPeriod: 1h}";
    let stage = Stage::start(spec, "", "optimizer: {}").await;
    let [alice, _] = stage.callers("alice");
    for _ in 0..5 {
        let search = json!({"tool_description": "returns its arguments"});
        alice.call("find_tool", search).await.expect("found");
        let unknown = call(&alice, "a_nothing").await.expect("a tool result");
        assert_eq!(unknown["isError"], json!(true));
        alice.ask("tools/list", json!({})).await.expect("a list");
    }
    for _ in 0..3 {
        call(&alice, "a_echo").await.expect("one of three");
    }
    assert!(is_denied(&call(&alice, "a_echo").await));
    assert_eq!(stage.backend.calls().await, 3);
}
