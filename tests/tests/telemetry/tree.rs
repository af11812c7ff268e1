//! A trace as text, one line for each span beneath another.

use std::fmt::Write as _;

use toolgate_limit::TraceContext;
use toolgate_tests::ReceivedSpan;

/// What spans say of a check that is the same each time.
const SHOWN: [(&str, &str); 8] = [
    ("rate_limit.decision", "decision"),
    ("rate_limit.rejected_by", "rejected_by"),
    ("rate_limit.degraded", "degraded"),
    ("rate_limit.fail_open", "fail_open"),
    ("rate_limit.cause", "cause"),
    ("rate_limit.deny_cache", "deny_cache"),
    ("rpc.response.status_code", "code"),
    ("error.type", "error"),
];

/// The spans beneath that of `caller`, each indented below its parent: service, kind, name, and what
/// it says of the check.
///
/// # Panics
///
/// If the trace has spans that are not beneath the caller's, or events: those are lines of the log,
/// whose texts may hold what was sent.
pub(crate) fn tree(spans: &[ReceivedSpan], caller: &TraceContext) -> String {
    let trace = format!("{:032x}", caller.trace_id);
    let mut of_trace: Vec<_> = spans.iter().filter(|it| it.trace_id() == trace).collect();
    of_trace.sort_by_key(|it| it.span.start_time_unix_nano);
    let mut text = String::new();
    let shown = add(&mut text, &of_trace, &format!("{:016x}", caller.span_id), 0);
    assert_eq!(
        shown,
        of_trace.len(),
        "not all are beneath the caller:\n{text}\n{of_trace:#?}"
    );
    text
}

/// How many spans there are beneath `parent`.
fn add(text: &mut String, spans: &[&ReceivedSpan], parent: &str, depth: usize) -> usize {
    let mut count = 0;
    for it in spans.iter().filter(|it| it.parent_span_id() == parent) {
        assert_eq!(it.span.events, [], "of {}", it.span.name);
        let service = &it.resource["service.name"];
        let kind = match it.span.kind {
            2 => "server",
            3 => "client",
            _ => "other",
        };
        let indent = "  ".repeat(depth);
        write!(text, "{indent}{service} {kind} {}", it.span.name).expect("a text");
        for (key, name) in SHOWN {
            if let Some(value) = it.attribute(key) {
                write!(text, " {name}={value}").expect("a text");
            }
        }
        text.push('\n');
        count += 1 + add(text, spans, &it.span_id(), depth + 1);
    }
    count
}

/// Whether any span is of the trace of `caller`.
pub(crate) fn is_in(spans: &[ReceivedSpan], caller: &TraceContext) -> bool {
    let trace = format!("{:032x}", caller.trace_id);
    spans.iter().any(|span| span.trace_id() == trace)
}
