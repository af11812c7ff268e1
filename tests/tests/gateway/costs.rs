//! What costs a token of the shared buckets, and what does not.

use serde_json::{Value, json};

use crate::{
    caller::{http, is_denied},
    stage::Stage,
};

const GREET: &str = "a_greet";
const GREETING: &str = "file:///greeting";

#[tokio::test]
async fn lists_pings_and_completions_cost_nothing() {
    let spec = "perUser: {maxTokens: 3, refillPeriod: 1h}, \
         prompts: [{name: a_greet, global: {maxTokens: 1, refillPeriod: 1h}}]";
    let stage = Stage::start(spec, "", "").await;
    let alice = stage.callers("alice");
    let initialize = json!({
        "protocolVersion": "2025-03-26",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    });
    let complete = json!({
        "ref": {"type": "ref/prompt", "name": GREET},
        "argument": {"name": "who", "value": ""},
    });
    for caller in alice.iter().cycle().take(6) {
        for (method, params) in [
            ("initialize", &initialize),
            ("ping", &json!({})),
            ("tools/list", &json!({})),
            ("prompts/list", &json!({})),
            ("resources/list", &json!({})),
            ("resources/templates/list", &json!({})),
            ("completion/complete", &complete),
        ] {
            let answer = caller.ask(method, params.clone()).await;
            answer.unwrap_or_else(|error| panic!("{method}: {error}"));
        }
    }
    let mut answers = Vec::new();
    for caller in alice.iter().cycle().take(5) {
        answers.push(caller.call("a_echo", json!({})).await);
    }
    let denied: Vec<_> = answers.iter().map(is_denied).collect();
    assert_eq!(denied, [false, false, false, true, true]);
}

#[tokio::test]
async fn prompts_and_resources_are_limited_by_name_and_by_the_servers_limits() {
    let spec = "perUser: {maxTokens: 5, refillPeriod: 1h}, \
         prompts: [{name: a_greet, perUser: {maxTokens: 2, refillPeriod: 1m}}], \
         resources: [{name: 'file:///greeting', global: {maxTokens: 2, refillPeriod: 1m}}]";
    let stage = Stage::start(spec, "", "").await;
    let [alice, alice_there] = stage.callers("alice");
    let [bob, _] = stage.callers("bob");
    let (greet, greeting) = (json!({"name": GREET}), json!({"uri": GREETING}));
    for (method, params, limit) in [
        (
            "prompts/get",
            &greet,
            json!({"retryAfterSeconds": 30.0, "limitType": "perUser", "scope": "prompt", "name": GREET}),
        ),
        (
            "resources/read",
            &greeting,
            json!({"retryAfterSeconds": 30.0, "limitType": "global", "scope": "resource", "name": GREETING}),
        ),
    ] {
        alice.ask(method, params.clone()).await.expect("the first");
        let second = alice_there.ask(method, params.clone()).await;
        second.expect("the second, through the other replica");
        let denied = alice.ask(method, params.clone()).await;
        let denied = denied.expect_err("the third");
        assert_eq!(denied["code"], json!(-32029));
        assert_eq!(denied["data"], limit);
    }
    // A prompt of her own, and a resource that all share.
    bob.ask("prompts/get", greet).await.expect("bob's first");
    assert!(is_denied(&bob.ask("resources/read", greeting).await));
    // Four of alice's five calls were these.
    alice.call("a_echo", json!({})).await.expect("the fifth");
    assert!(is_denied(&alice_there.call("a_echo", json!({})).await));
}

#[tokio::test]
async fn a_batch_of_ten_calls_against_three_tokens_runs_three_of_them() {
    let spec = "tools: [{name: a_echo, perUser: {maxTokens: 3, refillPeriod: 1m}}]";
    let stage = Stage::start(spec, "", "").await;
    let [alice, _] = stage.callers("alice");
    let ids: Vec<Value> = (0..10)
        .map(|n| {
            if n % 2 == 0 {
                json!(n)
            } else {
                json!(format!("call {n}"))
            }
        })
        .collect();
    let call = |id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "a_echo"}});
    let batch: Vec<Value> = ids.iter().map(call).collect();
    let answers = alice.send(&json!(batch)).await;
    let answers = answers.as_array().expect("a batch");
    let answered: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(answered, ids);
    let with = |field| {
        answers
            .iter()
            .filter(|answer| answer.get(field).is_some())
            .count()
    };
    assert_eq!((with("result"), with("error")), (3, 7));
    assert_eq!(stage.backend.calls().await, 3);
}

#[tokio::test]
async fn who_has_no_token_is_not_served() {
    let spec = "perUser: {maxTokens: 1, refillPeriod: 1h}";
    let stage = Stage::start(spec, "", "").await;
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a_echo"}});
    for token in ["", "none"] {
        let request = http().post(&stage.replicas[0].url).bearer_auth(token);
        let answer = request.json(&body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 401, "{token}");
    }
    assert_eq!(stage.backend.calls().await, 0);
}
