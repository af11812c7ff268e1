//! Who makes spans in this process, if anybody does.

use std::sync::Arc;

use opentelemetry::{
    Context, InstrumentationScope, global,
    global::BoxedTracer,
    trace::{Span as _, SpanBuilder, TraceContextExt as _, Tracer as _},
};
use toolgate_limit::TraceContext;

use crate::parent;

/// The tracer of this process's provider for the instrumentation `scope`, a crate's name; none if no
/// provider is installed by now.
///
/// Spans that nobody exports still cost their attributes, on a road where a check has some
/// microseconds. OpenTelemetry does not say whether a provider is installed, but how a span behaves
/// without one: it has the very context of its parent, where a provider gives it its own.
pub fn tracer(scope: &'static str) -> Option<BoxedTracer> {
    let scope = InstrumentationScope::builder(scope).with_version(env!("CARGO_PKG_VERSION"));
    let tracer = global::tracer_with_scope(scope.build());
    let parent = suppressed();
    let span = tracer.build_with_context(SpanBuilder::from_name("probe"), &parent);
    (span.span_context() != parent.span().span_context()).then_some(tracer)
}

/// A parent beneath which no provider records anything.
fn suppressed() -> Context {
    let anything = TraceContext {
        trace_id: 1,
        span_id: 1,
        is_sampled: false,
        state: Arc::default(),
    };
    parent(&anything).with_telemetry_suppressed()
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider};

    use super::*;

    #[test]
    fn there_is_a_tracer_once_a_provider_is_installed_and_finding_out_makes_no_span() {
        assert!(tracer("test").is_none());
        let spans = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_simple_exporter(spans.clone())
            .build();
        global::set_tracer_provider(provider);
        let tracer = tracer("test").expect("a provider is installed");
        assert_eq!(spans.get_finished_spans().expect("spans").len(), 0);
        tracer.start("one").end();
        assert_eq!(spans.get_finished_spans().expect("spans").len(), 1);
    }
}
