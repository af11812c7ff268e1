//! Traces of who asks the limiter without a gateway: by gRPC, and by the commands.

use tokio::process::Command;
use toolgate_limit::TraceContext;
use toolgate_proto::pb::{CheckRequest, CheckStreamRequest, PeekRequest};
use toolgate_tests::{ReceivedSpan, of_tool, toolgate};

use crate::{
    stage::{GENEROUS, PATIENT, SUBJECT, Stage, caller, traced},
    tree::{is_in, tree},
};

#[tokio::test]
async fn single_calls_are_traced_by_their_metadata_and_streams_by_their_messages_alone() {
    let stage = Stage::start(GENEROUS, PATIENT).await;
    let mut client = stage.limiter.client().await.expect("a connection");
    let (checked, peeked, refused) = (caller(), caller(), caller());
    let check = || of_tool(SUBJECT, "a_echo");
    let request = traced(check(), &checked);
    client.check(request).await.expect("a decision");
    let peek = PeekRequest {
        check: Some(check()),
    };
    let request = traced(peek.clone(), &peeked);
    client.peek(request).await.expect("a look");
    let request = traced(CheckRequest::default(), &refused);
    client.check(request).await.expect_err("no server");
    // A trace of its own, for somebody with grpcurl.
    client.check(check()).await.expect("a decision");
    // None, as the caller says.
    let unsampled = TraceContext {
        is_sampled: false,
        ..caller()
    };
    let request = traced(check(), &unsampled);
    client.check(request).await.expect("a decision");
    stage.echo(&unsampled).await;

    let (of_message, of_stream) = (caller(), caller());
    let message = |id| CheckStreamRequest {
        id,
        check: Some(check()),
        ..CheckStreamRequest::default()
    };
    let malformed = CheckStreamRequest {
        traceparent: "00-1-2-01".to_owned(),
        ..message(4)
    };
    let messages = [
        message(1),
        message(2).traced(&of_message),
        message(3).traced(&unsampled),
        malformed,
    ];
    let stream = traced(futures::stream::iter(messages), &of_stream);
    let mut answers = client
        .check_stream(stream)
        .await
        .expect("a stream")
        .into_inner();
    for _ in 0..4 {
        let answer = answers.message().await.expect("the stream goes on");
        assert!(answer.is_some());
    }
    drop((client, answers));
    let spans = stage.end().await;

    let of_check = "decision=allowed degraded=false code=OK";
    assert_eq!(
        tree(&spans, &checked),
        format!(
            "toolgate server toolgate.v1.LimiterService/Check {of_check}\n  toolgate client EVALSHA check.lua\n"
        )
    );
    assert_eq!(
        tree(&spans, &peeked),
        format!(
            "toolgate server toolgate.v1.LimiterService/Peek {of_check}\n  toolgate client MULTI\n"
        )
    );
    assert_eq!(
        tree(&spans, &refused),
        "toolgate server toolgate.v1.LimiterService/Check code=INVALID_ARGUMENT\n"
    );
    assert_eq!(
        tree(&spans, &of_message),
        format!(
            "toolgate server toolgate.v1.LimiterService/CheckStream {of_check}\n  toolgate client EVALSHA check.lua\n"
        )
    );
    for none in [&unsampled, &of_stream] {
        assert!(!is_in(&spans, none), "{none}");
    }
    let of_limiter = spans
        .iter()
        .filter(|span| span.resource["service.name"] == "toolgate");
    let roots: Vec<_> = of_limiter
        .filter(|span| span.parent_span_id().is_empty())
        .map(|span| span.span.name.as_str())
        .collect();
    assert_eq!(roots, ["toolgate.v1.LimiterService/Check"]);
}

#[tokio::test]
async fn the_commands_can_say_to_which_trace_they_belong() {
    let stage = Stage::start(GENEROUS, PATIENT).await;
    let (checked, peeked) = (caller(), caller());
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(toolgate().expect("built"));
        command.args(arguments);
        command.env("TOOLGATE_ENDPOINT", stage.limiter.endpoint());
        command.args(["--timeout", "30s"]);
        let output = command.output().await.expect("it runs");
        assert!(output.status.success(), "{output:?}");
    };
    for (command, caller) in [("check", &checked), ("peek", &peeked)] {
        let traceparent = caller.to_string();
        run(&[command, "test/server", "--traceparent", &traceparent]).await;
    }
    for mode in ["unary", "stream"] {
        let load = ["--rate", "20", "--duration", "500ms", "--warm-up", "0s"];
        let of = [
            "bench",
            "--server",
            "test/server",
            "--mode",
            mode,
            "--traced",
            "1",
        ];
        run(&[&of[..], &load[..]].concat()).await;
    }
    let spans = stage.end().await;
    let of_check = "decision=allowed degraded=false code=OK";
    for (method, caller) in [("Check", &checked), ("Peek", &peeked)] {
        let line = format!("toolgate server toolgate.v1.LimiterService/{method} {of_check}\n");
        assert!(tree(&spans, caller).starts_with(&line), "{method}");
    }
    let of = |method: &str| {
        let name = format!("toolgate.v1.LimiterService/{method}");
        let is_traced =
            |span: &&ReceivedSpan| span.span.name == name && !span.parent_span_id().is_empty();
        spans.iter().filter(is_traced).count()
    };
    // Each of the load's, and one call.
    assert_eq!((of("Check"), of("CheckStream")), (11, 10));
}
