use opentelemetry::trace::{SpanId, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use toolgate_limit::Identity;

use super::*;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Tracing of a provider of its own, and what it has exported.
fn tracing(root: Sampler) -> (Tracing, InMemorySpanExporter) {
    let spans = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(root)))
        .with_simple_exporter(spans.clone())
        .build();
    let tracer = BoxedTracer::new(Box::new(provider.tracer("test")));
    (Tracing(Some(tracer)), spans)
}

fn check(traceparent: &str) -> Check {
    Check {
        server: "test/server".parse().expect("a server"),
        identity: Identity::anonymous(),
        operation: None,
        cost: Check::COST_OF_ONE,
        trace: traceparent.parse().ok().map(Arc::new),
    }
}

fn only(spans: &InMemorySpanExporter) -> SpanData {
    let mut spans = spans.get_finished_spans().expect("spans");
    assert_eq!(spans.len(), 1, "{spans:?}");
    spans.remove(0)
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|it| it.key.as_str() == key)?;
    Some(attribute.value.to_string())
}

#[test]
fn of_a_stream_those_checks_have_spans_whose_callers_are_traced() {
    let (tracing, exported) = tracing(Sampler::AlwaysOn);
    let mut checks = [check(""), check(TRACEPARENT), check("")];
    let spans = tracing.of_stream(&mut checks);
    let places: Vec<_> = spans.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [1]);
    for (place, span) in spans {
        span.decided(&Ok(Answer::unlimited()));
        assert_eq!(place, 1);
    }
    let span = only(&exported);
    assert_eq!(span.name, Method::CheckStream.as_str());
    assert_eq!(span.span_kind, SpanKind::Server);
    assert_eq!(span.parent_span_id, SpanId::from(0x00f0_67aa_0ba9_02b7));
    for (key, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", Method::CheckStream.as_str()),
        ("rpc.response.status_code", "OK"),
        (words::DECISION, "unlimited"),
        (words::DEGRADED, "false"),
        (words::SERVER, "test/server"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    // What comes after stands beneath it.
    let beneath = checks[1].trace.as_ref().expect("a trace");
    assert_eq!(SpanId::from(beneath.span_id), span.span_context.span_id());
    assert_eq!(checks[0].trace, None);
}

#[test]
fn a_single_call_without_a_span_above_it_is_traced_as_the_sampler_says() {
    for (root, count) in [(Sampler::AlwaysOn, 1), (Sampler::AlwaysOff, 0)] {
        let (tracing, exported) = tracing(root);
        let span = tracing.of_call(Method::Check, &MetadataMap::new());
        end(span, &Ok(Answer::unlimited()));
        let spans = exported.get_finished_spans().expect("spans");
        assert_eq!(spans.len(), count);
    }
    let (tracing, exported) = tracing(Sampler::AlwaysOn);
    let mut metadata = MetadataMap::new();
    let unsampled = TRACEPARENT.replace("-01", "-00");
    metadata.insert("traceparent", unsampled.parse().expect("ASCII"));
    assert!(tracing.of_call(Method::Peek, &metadata).is_none());
    metadata.insert("traceparent", TRACEPARENT.parse().expect("ASCII"));
    metadata.insert("tracestate", "rojo=1".parse().expect("ASCII"));
    let mut span = tracing.of_call(Method::Peek, &metadata).expect("a span");
    let mut check = check("");
    span.of(&mut check);
    assert_eq!(&*check.trace.expect("a trace").state, "rojo=1");
    end(Some(span), &Err(status::too_late()));
    let span = only(&exported);
    assert_eq!(span.parent_span_id, SpanId::from(0x00f0_67aa_0ba9_02b7));
    assert_eq!(span.status, SpanStatus::error(""));
    let of = |key| attribute(&span, key);
    assert_eq!(of("error.type").as_deref(), Some("DEADLINE_EXCEEDED"));
    assert_eq!(of(words::DECISION), None);
}

#[test]
fn a_span_that_nobody_ends_says_that_its_check_was_given_up() {
    let (tracing, exported) = tracing(Sampler::AlwaysOn);
    drop(tracing.of_stream(&mut [check(TRACEPARENT)]));
    let span = only(&exported);
    let code = attribute(&span, "rpc.response.status_code");
    assert_eq!(code.as_deref(), Some("CANCELLED"));
    assert_eq!(span.status, SpanStatus::Unset);
}

/// A caller's own mistake is no error of the server.
#[test]
fn an_error_of_the_caller_is_none_of_the_server() {
    let (tracing, exported) = tracing(Sampler::AlwaysOn);
    let span = tracing.of_call(Method::Check, &MetadataMap::new());
    end(
        span,
        &Err(Status::invalid_argument("resource: file:///secret")),
    );
    let span = only(&exported);
    assert_eq!(span.status, SpanStatus::Unset);
    assert!(!format!("{span:?}").contains("secret"));
}

#[test]
fn without_a_provider_nothing_is_made() {
    let none = Tracing(None);
    let mut checks = [check(TRACEPARENT)];
    assert!(none.of_stream(&mut checks).is_empty());
    assert!(none.of_call(Method::Check, &MetadataMap::new()).is_none());
}
