//! The label by which an observation leads to its trace.

use opentelemetry::trace::TraceContextExt as _;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Names of labels and their values, as [`prometheus_client`] takes those of an exemplar.
pub type TraceLabel = [(&'static str, String); 1];

/// The trace of the current span, if it is sampled: `trace_id`, as an exemplar's label.
pub fn sampled_trace() -> Option<TraceLabel> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    let is_sampled = span.is_valid() && span.is_sampled();
    is_sampled.then(|| [("trace_id", span.trace_id().to_string())])
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing::{info_span, subscriber::with_default};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn within_a_span(sampler: Sampler) -> Option<TraceLabel> {
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        with_default(tracing_subscriber::registry().with(layer), || {
            info_span!("call").in_scope(sampled_trace)
        })
    }

    #[test]
    fn only_a_sampled_trace_is_named() {
        assert_eq!(sampled_trace(), None);
        assert_eq!(within_a_span(Sampler::AlwaysOff), None);
        let [(name, id)] = within_a_span(Sampler::AlwaysOn).unwrap();
        assert_eq!((name, id.len()), ("trace_id", 32));
        assert!(u128::from_str_radix(&id, 16).unwrap() > 0);
    }
}
