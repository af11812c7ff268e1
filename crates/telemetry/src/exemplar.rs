//! The label by which an observation leads to its trace.

use std::time::Duration;

use opentelemetry::trace::TraceContextExt as _;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The label of an exemplar: `trace_id`, and the trace.
pub type TraceLabel = [(&'static str, String); 1];

/// A histogram whose buckets lead to traces.
pub type TracedHistogram = HistogramWithExemplars<TraceLabel>;

/// Observes `took`, in seconds, with the trace of the current span if it is sampled.
pub fn observe(histogram: &TracedHistogram, took: Duration) {
    histogram.observe(took.as_secs_f64(), sampled_trace(), None);
}

fn sampled_trace() -> Option<TraceLabel> {
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
    fn an_observation_leads_to_the_trace_of_its_span() {
        let provider = SdkTracerProvider::default();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let waits = TracedHistogram::new([1.0].into_iter());
        let mut registry = crate::Registry::default();
        registry.register("waits", "How long", waits.clone());
        observe(&waits, Duration::from_secs(2));
        with_default(tracing_subscriber::registry().with(layer), || {
            info_span!("call").in_scope(|| observe(&waits, Duration::from_millis(500)));
        });
        let text = crate::exposition(&registry).unwrap();
        let led = text.lines().filter(|line| line.contains(" # {trace_id="));
        let led: Vec<_> = led.collect();
        assert_eq!(led.len(), 1, "{text}");
        assert!(
            led[0].starts_with("waits_bucket{le=\"1.0\"} 1 # "),
            "{text}"
        );
        assert!(led[0].ends_with("\"} 0.5"), "{text}");
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
