use opentelemetry::trace::{SpanId, SpanKind, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tonic::Code;
use toolgate_limit::Identity;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

const ENDPOINT: &str = "http://127.0.0.1:7070";

/// Takes spans of this thread, as `sampler` says, while the guard is held.
fn exporting(sampler: Sampler) -> (InMemorySpanExporter, DefaultGuard) {
    let exported = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler)
        .with_simple_exporter(exported.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    (exported, tracing::subscriber::set_default(subscriber))
}

fn check(trace: Option<&TraceContext>) -> Check {
    Check {
        server: "test/server".parse().expect("a server"),
        identity: Identity::new("alice-the-subject").expect("a subject"),
        operation: None,
        cost: Check::COST_OF_ONE,
        trace: trace.cloned().map(Arc::new),
    }
}

fn given() -> TraceContext {
    let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    header.parse().expect("a traceparent")
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    let named = spans.iter().find(|span| span.name == name);
    named.unwrap_or_else(|| panic!("no {name} in {spans:?}"))
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|it| it.key.as_str() == key)?;
    Some(attribute.value.to_string())
}

#[test]
fn a_call_of_a_traced_caller_has_a_span_beneath_it_and_the_limiter_is_told() {
    let (exported, _guard) = exporting(Sampler::AlwaysOn);
    let told = info_span!("caller").in_scope(|| {
        let span = CallSpan::begin(Method::CheckStream, &check(None), ENDPOINT);
        let told = span.trace();
        span.end(&Ok(Answer::unlimited()));
        told.expect("a context")
    });
    let spans = exported.get_finished_spans().expect("spans");
    let call = named(&spans, Method::CheckStream.as_str());
    let caller = named(&spans, "caller");
    assert_eq!(call.parent_span_id, caller.span_context.span_id());
    assert_eq!(SpanId::from(told.span_id), call.span_context.span_id());
    assert!(told.is_sampled);
    assert_eq!(call.span_kind, SpanKind::Client);
    for (key, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", Method::CheckStream.as_str()),
        ("rpc.response.status_code", "OK"),
        ("server.address", "127.0.0.1"),
        ("server.port", "7070"),
        (words::DECISION, "unlimited"),
    ] {
        assert_eq!(attribute(call, key).as_deref(), Some(value), "{key}");
    }
    assert!(!format!("{spans:?}").contains("alice"), "{spans:?}");
}

#[test]
fn a_call_that_fails_or_is_given_up_says_so_without_what_was_said() {
    let (exported, _guard) = exporting(Sampler::AlwaysOn);
    info_span!("caller").in_scope(|| {
        let error = LimiterError::Rejected {
            code: "InvalidArgument".to_owned(),
            message: "check.resource: file:///secret".to_owned(),
        };
        CallSpan::begin(Method::Peek, &check(None), ENDPOINT).end(&Err(error));
        drop(CallSpan::begin(Method::CheckStream, &check(None), ENDPOINT));
    });
    let spans = exported.get_finished_spans().expect("spans");
    for (method, code) in [
        (Method::Peek, "INVALID_ARGUMENT"),
        (Method::CheckStream, "CANCELLED"),
    ] {
        let span = named(&spans, method.as_str());
        assert_eq!(span.status, Status::error(""));
        let of = |key| attribute(span, key);
        assert_eq!(of("rpc.response.status_code").as_deref(), Some(code));
        assert_eq!(of("error.type").as_deref(), Some(code));
    }
    assert!(!format!("{spans:?}").contains("secret"), "{spans:?}");
}

#[test]
fn a_caller_that_is_not_traced_makes_no_span() {
    let (exported, guard) = exporting(Sampler::AlwaysOff);
    info_span!("caller").in_scope(|| {
        let span = CallSpan::begin(Method::CheckStream, &check(None), ENDPOINT);
        assert_eq!(span.trace(), None);
        // On a call of its own the limiter would begin a trace, if it were not told.
        let peek = CallSpan::begin(Method::Peek, &check(None), ENDPOINT);
        assert!(!peek.trace().expect("a context").is_sampled);
    });
    // Who traces by other means says so with the check.
    let given = given();
    let passed_on = || CallSpan::begin(Method::CheckStream, &check(Some(&given)), ENDPOINT);
    assert_eq!(passed_on().trace().as_deref(), Some(&given));
    drop(guard);
    assert_eq!(passed_on().trace().as_deref(), Some(&given));
    assert!(exported.get_finished_spans().expect("spans").is_empty());
}

#[test]
fn a_code_is_named_as_grpc_names_it() {
    for code in (1..=16).map(Code::from) {
        let error = LimiterError::Failed {
            code: format!("{code:?}"),
            message: String::new(),
        };
        assert_eq!(status_code(&error), words::status_code(code.into()));
    }
}

#[test]
fn an_endpoint_is_an_address_and_a_port() {
    for (endpoint, server) in [
        ("http://127.0.0.1:7070", ("127.0.0.1", Some(7070))),
        ("https://limiter.test:443", ("limiter.test", Some(443))),
        ("http://[::1]:7070", ("::1", Some(7070))),
        ("unix:///run/a:1", ("/run/a:1", None)),
        ("http://limiter.test", ("limiter.test", None)),
    ] {
        assert_eq!(server_of(endpoint), server);
    }
}
