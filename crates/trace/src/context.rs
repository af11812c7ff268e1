//! A context as OpenTelemetry has it, and back.

use std::sync::Arc;

use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt as _, TraceFlags},
};
use toolgate_limit::TraceContext;

/// The parent for a span beneath that of `context`, which is another process's or another part's.
///
/// A `tracestate` that OpenTelemetry cannot read counts as empty.
pub fn parent(context: &TraceContext) -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        context.trace_id.into(),
        context.span_id.into(),
        TraceFlags::default().with_sampled(context.is_sampled),
        true,
        context.state.parse().unwrap_or_default(),
    ))
}

/// The context for what happens beneath a span; none if it belongs to no trace.
pub fn context_of(span: &SpanContext) -> Option<TraceContext> {
    let context = span.is_valid().then(|| TraceContext {
        trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(span.span_id().to_bytes()),
        is_sampled: span.is_sampled(),
        state: Arc::default(),
    })?;
    Some(context.with_state(&span.trace_state().header()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn there_and_back(header: &str, state: &str) -> Option<TraceContext> {
        let context: TraceContext = header.parse().expect("a traceparent");
        context_of(parent(&context.with_state(state)).span().span_context())
    }

    #[test]
    fn a_context_comes_back_from_opentelemetry_as_it_was() {
        for header in [HEADER, &HEADER.replace("-01", "-00")] {
            let back = there_and_back(header, "rojo=1,congo=t61rcWkgMzE").expect("a context");
            assert_eq!(back.to_string(), header);
            assert_eq!(&*back.state, "rojo=1,congo=t61rcWkgMzE");
        }
        let back = there_and_back(HEADER, "NO STATE").expect("a context");
        assert_eq!((back.to_string().as_str(), &*back.state), (HEADER, ""));
        assert_eq!(context_of(&SpanContext::empty_context()), None);
    }
}
