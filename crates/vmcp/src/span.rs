//! The span of a request, by the conventions for MCP
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/>), and what those who serve it add.
//!
//! What a caller can choose freely is in no name: a tool or a prompt is, once it is known that there
//! is one. The URI of a resource, which the conventions would have as an attribute, and who calls are
//! nowhere at all; nor is the text of an error, which may name them.

use opentelemetry::{
    KeyValue,
    trace::{Status, TraceContextExt as _},
};
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Tells the span of a request from those of whoever embeds this crate.
const NAME: &str = "mcp";

/// The span of a request for `method`. The limiter's words are recorded on it by whoever asks it.
pub(crate) fn of_request(method: &'static str) -> Span {
    info_span!(
        NAME,
        mcp.method.name = method,
        otel.kind = "server",
        rate_limit.decision = Empty,
        rate_limit.rejected_by = Empty,
        rate_limit.retry_after_ms = Empty,
        rate_limit.fail_open = Empty,
        rate_limit.cause = Empty,
        rate_limit.degraded = Empty,
        rate_limit.deny_cache = Empty,
    )
}

/// The current request is for the tool `name`, which is there.
pub(crate) fn is_for_tool(name: &str) {
    is_for("tools/call", name);
}

/// The current request is for the prompt `name`, which is there.
pub(crate) fn is_for_prompt(name: &str) {
    is_for("prompts/get", name);
}

fn is_for(method: &str, name: &str) {
    let span = Span::current();
    let is_ours = |of: &tracing::Metadata<'_>| of.name() == NAME && of.target() == module_path!();
    if span.metadata().is_some_and(is_ours) {
        let context = span.context();
        if context.span().is_recording() {
            context.span().update_name(format!("{method} {name}"));
        }
    }
}

/// A request, or a call, has failed: with this code of JSON-RPC.
pub(crate) fn fail(span: &Span, code: i32) {
    let code = code.to_string();
    span.set_attribute("rpc.response.status_code", code.clone());
    fail_as(span, code);
}

/// A request, or a call, has failed: for a reason of a few.
pub(crate) fn fail_as(span: &Span, kind: impl Into<opentelemetry::Value>) {
    span.set_attribute("error.type", kind);
    span.set_status(Status::error(""));
}

/// The error that a tool's own result is.
pub(crate) const TOOL_ERROR: &str = "tool_error";

/// What a call of a tool or a prompt is about; none if it has no name that a policy could hold.
pub(crate) fn target(kind: toolgate_limit::OperationKind, name: &str) -> Vec<KeyValue> {
    use toolgate_limit::{Operation, OperationKind};
    if Operation::new(kind, name).is_err() {
        return Vec::new();
    }
    let name = name.to_owned();
    match kind {
        OperationKind::Tool => vec![
            KeyValue::new("gen_ai.operation.name", "execute_tool"),
            KeyValue::new("gen_ai.tool.name", name),
        ],
        OperationKind::Prompt => vec![KeyValue::new("gen_ai.prompt.name", name)],
        OperationKind::Resource => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::Sampler;

    use super::*;
    use crate::testing::exporting;

    #[test]
    fn only_the_span_of_a_request_gets_the_name_of_what_is_asked_for() {
        let (exported, _guard) = exporting(Sampler::AlwaysOn);
        of_request("tools/call").in_scope(|| is_for_tool("git_search"));
        info_span!("mcp").in_scope(|| is_for_tool("git_search"));
        info_span!("an embedder's").in_scope(|| is_for_prompt("daily"));
        let spans = exported.get_finished_spans().unwrap();
        let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["tools/call git_search", "mcp", "an embedder's"]);
    }
}
