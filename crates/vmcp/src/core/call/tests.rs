use std::{collections::HashMap, time::Duration};

use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::Sampler;
use rmcp::{ErrorData, model::CallToolResult};
use serde_json::json;

use super::*;
use crate::{
    core::{Sessions, Timing},
    testing::{attribute, exporting, named},
};

fn destination() -> Destination {
    Destination::of(&BackendSettings {
        name: "git".parse().unwrap(),
        transport: Transport::Http {
            url: "https://me:s3cret@git.test/mcp?key=s3cret".to_owned(),
            headers: HashMap::default(),
        },
        timing: Timing::default(),
        sessions: Sessions::Shared,
    })
}

fn of_caller() -> RequestMetaObject {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let meta = json!({"traceparent": traceparent, "tracestate": "a=1", "other": 1});
    serde_json::from_value(meta).unwrap()
}

fn context_in(meta: Option<&RequestMetaObject>) -> TraceContext {
    meta.unwrap().0.get_traceparent().unwrap().parse().unwrap()
}

#[test]
fn a_backend_is_told_of_the_call_in_place_of_the_caller() {
    let (exported, _guard) = exporting(Sampler::AlwaysOn);
    let meta = info_span!("caller").in_scope(|| {
        let call = Call::begin(Asked::Tool("search"), &destination());
        let meta = call.meta(Some(of_caller()));
        let answered: Result<CallToolResponse, _> = Ok(CallToolResult::success(vec![]).into());
        call.end(&answered);
        meta
    });
    let spans = exported.get_finished_spans().unwrap();
    let (call, caller) = (named(&spans, "tools/call search"), named(&spans, "caller"));
    assert_eq!(call.parent_span_id, caller.span_context.span_id());
    assert_eq!(call.span_kind, SpanKind::Client);
    assert_eq!(call.status, Status::Unset);
    for (key, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "search"),
        ("vmcp.backend", "git"),
        ("network.transport", "tcp"),
        ("server.address", "git.test"),
        ("server.port", "443"),
    ] {
        assert_eq!(attribute(call, key).as_deref(), Some(value), "{key}");
    }
    assert!(!format!("{spans:?}").contains("s3cret"), "{spans:?}");
    let told = context_in(meta.as_ref());
    assert_eq!(
        told.span_id.to_be_bytes(),
        call.span_context.span_id().to_bytes()
    );
    let meta = meta.unwrap();
    assert_eq!(
        (meta.0.get_tracestate(), meta.0.0.get("other")),
        (None, Some(&json!(1)))
    );
}

#[test]
fn a_call_that_fails_says_how_and_not_what_was_said() {
    let (exported, _guard) = exporting(Sampler::AlwaysOn);
    let refusal = ErrorData::resource_not_found("no file:///s3cret", None);
    let tool_error: Result<CallToolResponse, _> = Ok(CallToolResult::error(vec![]).into());
    info_span!("caller").in_scope(|| {
        let begin = |asked| Call::begin(asked, &destination());
        begin(Asked::Resource).end::<ReadResourceResponse>(&Err(Failure::Refused(refusal)));
        let late = Failure::Late(Duration::from_secs(1));
        begin(Asked::Prompt("daily")).end::<GetPromptResponse>(&Err(late));
        begin(Asked::Tool("search")).end(&tool_error);
        drop(begin(Asked::Completion));
    });
    let spans = exported.get_finished_spans().unwrap();
    for (name, error) in [
        ("resources/read", "-32002"),
        ("prompts/get daily", "timeout"),
        ("tools/call search", "tool_error"),
        ("completion/complete", "cancelled"),
    ] {
        let span = named(&spans, name);
        assert_eq!(
            attribute(span, "error.type").as_deref(),
            Some(error),
            "{name}"
        );
        assert_eq!(span.status, Status::error(""));
    }
    assert!(!format!("{spans:?}").contains("s3cret"), "{spans:?}");
}

#[test]
fn a_call_that_is_not_traced_has_no_span_and_the_backend_is_told_so() {
    let (exported, guard) = exporting(Sampler::AlwaysOff);
    let meta = info_span!("caller").in_scope(|| {
        let call = Call::begin(Asked::Tool("search"), &destination());
        call.meta(Some(of_caller()))
    });
    assert!(!context_in(meta.as_ref()).is_sampled);
    // Where nobody traces, the caller's own context goes on as it came.
    drop(guard);
    let call = Call::begin(Asked::Tool("search"), &destination());
    assert_eq!(call.meta(Some(of_caller())), Some(of_caller()));
    assert_eq!(call.meta(None), None);
    assert!(exported.get_finished_spans().unwrap().is_empty());
}
