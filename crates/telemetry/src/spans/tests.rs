use std::net::TcpListener;

use opentelemetry::{
    KeyValue,
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use tokio::{runtime, time::Instant};

use super::*;
use crate::variables::tests::with;

fn read(pairs: &[(&str, &str)]) -> Result<Option<Spans>, String> {
    let own = OtlpSettings::default();
    with(pairs, |variables| Spans::of(&own, variables)).map_err(|error| error.to_string())
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");

#[test]
fn spans_are_made_if_they_are_exported_or_a_sampler_is_named() {
    assert!(read(&[]).unwrap().is_none());
    assert!(read(&[ENDPOINT]).unwrap().unwrap().export.is_some());
    let none = ("OTEL_TRACES_EXPORTER", "none");
    assert!(read(&[ENDPOINT, none]).unwrap().is_none());
    let sampler = ("OTEL_TRACES_SAMPLER", "always_on");
    let dropped = read(&[ENDPOINT, none, sampler]).unwrap().unwrap();
    assert!(dropped.export.is_none());
}

#[test]
fn a_batch_fits_into_the_queue() {
    let queue = ("OTEL_BSP_MAX_QUEUE_SIZE", "100");
    assert!(read(&[ENDPOINT, queue]).is_ok());
    let error = read(&[ENDPOINT, queue, ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "101")]);
    let error = error.unwrap_err();
    assert!(
        error.starts_with("OTEL_BSP_MAX_EXPORT_BATCH_SIZE=\"101\": "),
        "{error}"
    );
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    kilobytes.unwrap().parse::<u64>().unwrap() * 1_024
}

/// It takes connections, and never says anything.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

#[test]
fn a_collector_that_hangs_holds_up_nobody_and_fills_no_memory() {
    const EACH: usize = 1_024;
    const COUNT: usize = 100_000;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    for protocol in ["grpc", "http/protobuf"] {
        let (_listener, endpoint) = silent();
        let pairs = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            // Who waited for it would wait for an hour.
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "3600000"),
            ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ];
        let spans = read(&pairs).unwrap().unwrap();
        let resource = Resource::builder_empty().build();
        let provider = spans.provider(resource, runtime.handle()).unwrap();
        let tracer = provider.tracer("test");
        let before = resident_bytes();
        let began = Instant::now();
        for _ in 0..COUNT {
            let mut span = tracer.start("call");
            span.set_attribute(KeyValue::new("text", "x".repeat(EACH)));
            span.end();
        }
        let grown = resident_bytes().saturating_sub(before);
        // What waits at most is 2,048 spans, and 512 more on their way, twice.
        assert!(grown < (COUNT * EACH / 3) as u64, "{grown} bytes");
        let ended = provider.shutdown_with_timeout(Duration::from_millis(100));
        assert!(ended.is_err(), "nothing was taken");
        assert!(began.elapsed() < Duration::from_mins(10));
    }
    runtime.shutdown_background();
}
