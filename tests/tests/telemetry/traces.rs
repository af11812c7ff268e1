//! One trace from a caller to Redis and to the backend, whatever becomes of the call.

use serde_json::{Value, json};
use toolgate_limit::TraceContext;
use toolgate_proto::pb::Decision;
use toolgate_tests::{Fault, ReceivedSpan, eventually, of_tool};

use crate::{
    stage::{GENEROUS, PATIENT, SUBJECT, Stage, caller, traced},
    tree::{is_in, tree},
};

const URI: &str = "file:///greeting";
const UNLISTED: &str = "file:///nobody-has-this";

/// One call of `a_echo` and one reading of the greeting for each user.
const ONE_EACH: &str = "tools: [{name: a_echo, perUser: {maxTokens: 1, refillPeriod: 1h}}], \
     resources: [{name: 'file:///greeting', perUser: {maxTokens: 1, refillPeriod: 1h}}]";

fn named<'a>(spans: &'a [ReceivedSpan], caller: &TraceContext, name: &str) -> &'a ReceivedSpan {
    let trace = format!("{:032x}", caller.trace_id);
    let mut of_trace = spans.iter().filter(|span| span.trace_id() == trace);
    let named = of_trace.find(|span| span.span.name == name);
    named.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

#[tokio::test]
async fn a_call_is_one_trace_from_its_caller_to_redis_and_to_the_backend() {
    let stage = Stage::start(ONE_EACH, PATIENT).await;
    let (by_meta, by_headers, by_both) = (caller(), caller(), caller());
    let answer = stage.echo(&by_meta).await;
    let greet = json!({"name": "a_greet"});
    let headers = |context: &TraceContext| {
        [
            ("traceparent", context.to_string()),
            ("tracestate", context.state.to_string()),
        ]
    };
    stage
        .post("prompts/get", greet.clone(), &headers(&by_headers))
        .await;
    let mut with_meta = greet;
    with_meta["_meta"] = json!({"traceparent": by_both.to_string()});
    let transport = caller();
    stage
        .post("prompts/get", with_meta, &headers(&transport))
        .await;
    let spans = stage.end().await;

    assert_eq!(
        tree(&spans, &by_meta),
        "\
vmcp server tools/call a_echo decision=allowed degraded=false fail_open=false
  vmcp client toolgate.v1.LimiterService/CheckStream decision=allowed degraded=false code=OK
    toolgate server toolgate.v1.LimiterService/CheckStream decision=allowed degraded=false code=OK
      toolgate client EVALSHA check.lua
  vmcp client tools/call echo
"
    );
    // The backend answers with what it was told.
    let text = answer["result"]["content"][0]["text"].as_str();
    let told: Value = serde_json::from_str(text.expect("a text")).expect("JSON");
    let call = named(&spans, &by_meta, "tools/call echo");
    let context = format!("00-{}-{}-01", call.trace_id(), call.span_id());
    assert_eq!(told["meta"]["traceparent"], json!(context));
    assert_eq!(told["meta"]["tracestate"], json!("rojo=1"));
    assert_eq!(call.span.trace_state, "rojo=1");
    let request = named(&spans, &by_meta, "tools/call a_echo");
    for (key, value) in [
        ("mcp.method.name", "tools/call"),
        ("mcp.protocol.version", "2025-11-25"),
        ("jsonrpc.request.id", "7"),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "a_echo"),
        ("network.protocol.name", "http"),
    ] {
        assert_eq!(request.attribute(key).as_deref(), Some(value), "{key}");
    }

    let prompt = tree(&spans, &by_headers);
    // The policy limits no prompt.
    let unlimited = "vmcp server prompts/get a_greet decision=unlimited";
    assert!(prompt.starts_with(unlimited), "{prompt}");
    assert!(
        prompt.ends_with("\n  vmcp client prompts/get greet\n"),
        "{prompt}"
    );
    // What the message says goes before what its transport says, which is linked.
    assert!(!is_in(&spans, &transport));
    let linked = named(&spans, &by_both, "prompts/get a_greet");
    let links: Vec<_> = linked
        .span
        .links
        .iter()
        .map(|link| &link.trace_id)
        .collect();
    assert_eq!(links, [&transport.trace_id.to_be_bytes().to_vec()]);
}

#[tokio::test]
async fn a_denial_is_in_its_trace_whoever_denies() {
    let stage = Stage::start(ONE_EACH, PATIENT).await;
    let [allowed, by_redis, by_client] = [caller(), caller(), caller()];
    for caller in [&allowed, &by_redis, &by_client] {
        stage.echo(caller).await;
    }
    // The limiter remembers too.
    let mut client = stage.limiter.client().await.expect("a connection");
    let by_limiter = caller();
    let mut decisions = Vec::new();
    for caller in [caller(), caller(), by_limiter.clone()] {
        let request = traced(of_tool("bob", "a_echo"), &caller);
        let answer = client.check(request).await.expect("an answer");
        decisions.push(answer.into_inner().decision());
    }
    let (yes, no) = (Decision::Allowed, Decision::Denied);
    assert_eq!(decisions, [yes, no, no]);
    let spans = stage.end().await;

    assert_eq!(
        tree(&spans, &by_redis),
        "\
vmcp server tools/call a_echo decision=denied rejected_by=per_user_tool degraded=false \
         fail_open=false code=-32029 error=-32029
  vmcp client toolgate.v1.LimiterService/CheckStream decision=denied degraded=false code=OK
    toolgate server toolgate.v1.LimiterService/CheckStream decision=denied \
         rejected_by=per_user_tool degraded=false code=OK
      toolgate client EVALSHA check.lua
"
    );
    assert_eq!(
        tree(&spans, &by_client),
        "\
vmcp server tools/call a_echo decision=denied rejected_by=per_user_tool degraded=false \
         fail_open=false deny_cache=true code=-32029 error=-32029
"
    );
    assert_eq!(
        tree(&spans, &by_limiter),
        "\
toolgate server toolgate.v1.LimiterService/Check decision=denied rejected_by=per_user_tool \
         degraded=false code=OK
"
    );
    let denied = named(&spans, &by_client, "tools/call a_echo");
    let wait = denied.attribute("rate_limit.retry_after_ms");
    let wait: u64 = wait.expect("a wait").parse().expect("a number");
    assert!((1..=3_600_000).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_call_that_is_decided_without_redis_says_so() {
    let mut stage = Stage::start(GENEROUS, PATIENT).await;
    stage.redis.kill().await.expect("killed");
    let degraded = eventually("a decision without Redis", async || {
        let caller = caller();
        stage.echo(&caller).await;
        let trace = format!("{:032x}", caller.trace_id);
        let mine =
            |span: &ReceivedSpan| span.trace_id() == trace && span.scope == "toolgate-server";
        let decided = stage.collector.span("the limiter's span", mine).await;
        let is_degraded = decided.attribute("rate_limit.degraded")? == "true";
        is_degraded.then_some(caller)
    })
    .await;
    let spans = stage.end().await;
    let tree = tree(&spans, &degraded);
    // Redis was asked once more, or is left alone by now.
    let lines = tree.lines().filter(|line| !line.contains("EVALSHA"));
    let expected = [
        "vmcp server tools/call a_echo decision=allowed degraded=true fail_open=false",
        "  vmcp client toolgate.v1.LimiterService/CheckStream decision=allowed degraded=true code=OK",
        "    toolgate server toolgate.v1.LimiterService/CheckStream decision=allowed degraded=true code=OK",
        "  vmcp client tools/call echo",
    ];
    assert_eq!(lines.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_call_on_what_is_no_bucket_is_decided_without_it_and_redis_says_why() {
    let spec = "global: {maxTokens: 10, refillPeriod: 1h}";
    let stage = Stage::start(spec, PATIENT).await;
    let garbage = ["HSET", "tg:{test/server}:global", "server", "garbage"];
    stage.redis.command(&garbage).await.expect("written");
    let caller = caller();
    stage.echo(&caller).await;
    let spans = stage.end().await;
    assert_eq!(
        tree(&spans, &caller),
        "\
vmcp server tools/call a_echo decision=allowed degraded=true fail_open=false
  vmcp client toolgate.v1.LimiterService/CheckStream decision=allowed degraded=true code=OK
    toolgate server toolgate.v1.LimiterService/CheckStream decision=allowed degraded=true code=OK
      toolgate client EVALSHA check.lua error=corrupt
  vmcp client tools/call echo
"
    );
}

#[tokio::test]
async fn a_call_that_fails_open_says_why() {
    let stage = Stage::start(GENEROUS, "timeout: 300ms").await;
    // Until the gateway is connected, calls pass for want of a limiter.
    eventually("a decision", async || {
        let caller = caller();
        stage.echo(&caller).await;
        let trace = format!("{:032x}", caller.trace_id);
        let mine =
            |span: &ReceivedSpan| span.trace_id() == trace && span.span.name == "tools/call a_echo";
        let request = stage.collector.span("the request's span", mine).await;
        (request.attribute("rate_limit.decision")? == "allowed").then_some(())
    })
    .await;
    stage.proxy.inject(Fault::BlackHole);
    let fails_with = async |cause: &str| {
        eventually(cause, async || {
            let caller = caller();
            let answer = stage.echo(&caller).await;
            assert!(answer.get("result").is_some(), "{answer}");
            let trace = format!("{:032x}", caller.trace_id);
            let mine = |span: &ReceivedSpan| {
                span.trace_id() == trace && span.span.name == "tools/call a_echo"
            };
            let request = stage.collector.span("the request's span", mine).await;
            (request.attribute("rate_limit.cause")? == cause).then_some(caller)
        })
        .await
    };
    let timed_out = fails_with("timeout").await;
    let unasked = fails_with("unreachable").await;
    let spans = stage.end().await;
    assert_eq!(
        tree(&spans, &timed_out),
        "\
vmcp server tools/call a_echo decision=fail_open fail_open=true cause=timeout
  vmcp client toolgate.v1.LimiterService/CheckStream code=DEADLINE_EXCEEDED error=DEADLINE_EXCEEDED
  vmcp client tools/call echo
"
    );
    assert_eq!(
        tree(&spans, &unasked),
        "\
vmcp server tools/call a_echo decision=fail_open fail_open=true cause=unreachable
  vmcp client tools/call echo
"
    );
}

#[tokio::test]
async fn who_calls_and_what_is_read_are_in_no_span_and_a_tool_that_is_not_there_in_no_name() {
    let stage = Stage::start(ONE_EACH, PATIENT).await;
    let [read, denied, unlisted, unknown] = [caller(), caller(), caller(), caller()];
    for (caller, uri) in [(&read, URI), (&denied, URI), (&unlisted, UNLISTED)] {
        let params = json!({"uri": uri});
        stage.ask("resources/read", params, Some(caller)).await;
    }
    let template = json!({
        "ref": {"type": "ref/resource", "uri": UNLISTED},
        "argument": {"name": "who", "value": ""},
    });
    stage
        .ask("completion/complete", template, Some(&unlisted))
        .await;
    let call = json!({"name": "a_not_there", "arguments": {}});
    stage.ask("tools/call", call, Some(&unknown)).await;
    let spans = stage.end().await;

    let of_read = tree(&spans, &read);
    assert!(
        of_read.starts_with("vmcp server resources/read decision=allowed"),
        "{of_read}"
    );
    assert!(
        of_read.ends_with("\n  vmcp client resources/read\n"),
        "{of_read}"
    );
    let of_denied = tree(&spans, &denied);
    let word = "decision=denied rejected_by=per_user_resource";
    assert!(of_denied.contains(word), "{of_denied}");
    assert!(is_in(&spans, &unlisted));
    assert_eq!(
        tree(&spans, &unknown),
        "vmcp server tools/call error=tool_error\n"
    );
    let asked_for = named(&spans, &unknown, "tools/call");
    let name = asked_for.attribute("gen_ai.tool.name");
    assert_eq!(name.as_deref(), Some("a_not_there"));

    let all = format!("{spans:?}");
    for secret in [SUBJECT, "file:", "greeting", "nobody-has-this"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}
