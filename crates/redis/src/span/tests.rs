use std::{iter, time::Duration};

use opentelemetry::trace::{SpanId, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use toolgate_limit::{Check, Identity, Mode, Policy, Quota, Quotas};

use super::*;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn spans(url: &str) -> (Spans, InMemorySpanExporter) {
    let exported = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exported.clone())
        .build();
    let place = Place::try_from(url).expect("a URL");
    let spans = Spans {
        tracer: Some(BoxedTracer::new(Box::new(provider.tracer("test")))),
        of_server: of_server(&place),
    };
    (spans, exported)
}

fn plan(traceparent: &str) -> Plan {
    let quota = Quota::new(1, Duration::from_secs(1)).expect("a quota");
    let quotas = Quotas {
        per_user: Some(quota),
        ..Quotas::default()
    };
    let server = "test/server".parse().expect("a server");
    let policy = Policy::new(server, Mode::Enforce, quotas, []).expect("a policy");
    policy.plan(&Check {
        server: policy.server().clone(),
        identity: Identity::new("alice-the-subject").expect("a subject"),
        operation: None,
        cost: Check::COST_OF_ONE,
        trace: traceparent.parse::<TraceContext>().ok().map(Arc::new),
    })
}

fn attributes(span: &SpanData) -> Vec<(String, String)> {
    let pairs = span.attributes.iter();
    pairs
        .map(|pair| (pair.key.to_string(), pair.value.to_string()))
        .collect()
}

#[test]
fn each_traced_check_of_a_batch_has_the_span_of_the_call_in_its_own_trace() {
    let (spans, exported) = spans("redis://user:secret@redis.test:6380/3");
    let other = TRACEPARENT.replace("00f067aa0ba902b7", "00000000000000aa");
    let unsampled = TRACEPARENT.replace("-01", "-00");
    let plans = [plan(""), plan(TRACEPARENT), plan(&unsampled), plan(&other)];
    let late = StoreError::Timeout {
        after: Duration::from_millis(50),
    };
    let calls = spans.begin(Operation::Decide, plans.iter());
    calls.end(|place| (place == 3).then_some(&late));
    let exported = exported.get_finished_spans().expect("spans");
    let above: Vec<_> = exported.iter().map(|span| span.parent_span_id).collect();
    assert_eq!(
        above,
        [SpanId::from(0x00f0_67aa_0ba9_02b7), SpanId::from(0xaa)]
    );
    let expected = [
        ("db.system.name", "redis"),
        ("db.operation.name", "EVALSHA"),
        ("db.stored_procedure.name", "check.lua"),
        ("db.operation.batch.size", "4"),
        ("server.address", "redis.test"),
        ("server.port", "6380"),
        ("db.namespace", "3"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(attributes(&exported[0]), expected);
    assert_eq!(exported[0].name, "EVALSHA check.lua");
    assert_eq!(exported[0].status, Status::Unset);
    let failed = attributes(&exported[1]);
    assert_eq!(failed[7], ("error.type".to_owned(), "timeout".to_owned()));
    assert_eq!(exported[1].status, Status::error(""));
    let all = format!("{exported:?}");
    assert!(!all.contains("alice") && !all.contains("secret"), "{all}");
}

#[test]
fn a_look_is_no_batch_and_where_nobody_is_traced_there_is_no_span() {
    let (spans, exported) = spans("redis+sentinel://one.test:26380,two.test/main");
    let looked = plan(TRACEPARENT);
    spans
        .begin(Operation::Look, iter::once(&looked))
        .end(|_| None);
    let quiet = plan("");
    spans
        .begin(Operation::Decide, iter::once(&quiet))
        .end(|_| None);
    let exported = exported.get_finished_spans().expect("spans");
    assert_eq!(exported.len(), 1);
    let look = attributes(&exported[0]);
    let has = |key: &str| {
        look.iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| &**value)
    };
    assert_eq!(exported[0].name, "MULTI");
    assert_eq!(has("server.address"), Some("one.test"));
    assert_eq!(has("db.operation.batch.size"), None);
    assert_eq!(has("db.stored_procedure.name"), None);
}
