//! An OpenTelemetry collector in this process: OTLP over gRPC and over HTTP on one port.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on fails"
)]

use std::{collections::BTreeMap, fmt::Write as _, net::TcpListener, time::Duration};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{ExportMetricsServiceRequest, metrics_service_server::MetricsServiceServer},
        trace::v1::{ExportTraceServiceRequest, trace_service_server::TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::Metric,
    resource::v1::Resource,
    trace::v1::Span,
};
use tokio::{
    runtime::Runtime,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Status, codec::CompressionEncoding, service::Routes, transport::Server};

use crate::PATIENCE;

mod receive;

/// How a collector takes what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// Takes it.
    Take,
    /// Takes it after a while.
    Slow(Duration),
    /// Does not want it: this code over gRPC, 503 over HTTP.
    Refuse(Code),
    /// Never answers.
    Hang,
}

/// A collector of its own runtime, on a free port of `127.0.0.1`. Dropping it ends it.
#[derive(Debug)]
pub struct Collector {
    runtime: Option<Runtime>,
    endpoint: String,
    shared: Shared,
}

/// A span, and who sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedSpan {
    /// As it came.
    pub span: Span,
    /// What made it.
    pub scope: String,
    /// Attributes of the process.
    pub resource: BTreeMap<String, String>,
}

/// A metric as one export has it, and who sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedMetric {
    /// As it came, with its points.
    pub metric: Metric,
    /// What made it.
    pub scope: String,
    /// Attributes of the process.
    pub resource: BTreeMap<String, String>,
}

/// All that has come, oldest first.
#[derive(Debug, Default)]
struct Received {
    spans: Vec<ReceivedSpan>,
    metrics: Vec<ReceivedMetric>,
    /// Exports of spans, and of metrics, whatever became of them.
    exports: (usize, usize),
    /// The headers or metadata of the last export.
    headers: http::HeaderMap,
}

#[derive(Clone, Debug)]
struct Shared {
    reception: watch::Sender<Reception>,
    received: watch::Sender<Received>,
}

impl Collector {
    /// A collector that takes all.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        listener.set_nonblocking(true).expect("a socket");
        let shared = Shared {
            reception: watch::Sender::new(Reception::Take),
            received: watch::Sender::default(),
        };
        let gzip = CompressionEncoding::Gzip;
        let traces = TraceServiceServer::new(shared.clone()).accept_compressed(gzip);
        let metrics = MetricsServiceServer::new(shared.clone()).accept_compressed(gzip);
        let grpc = Routes::new(traces).add_service(metrics);
        let routes = Routes::from(grpc.into_axum_router().merge(receive::http(shared.clone())));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let incoming = TcpListenerStream::new(listener);
            let server = Server::builder().accept_http1(true).add_routes(routes);
            server.serve_with_incoming(incoming).await.expect("served");
        });
        Self {
            runtime: Some(runtime),
            endpoint: format!("http://{address}"),
            shared,
        }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to, for either protocol.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Takes what is sent in this manner from now on; exports that hang go on.
    pub fn receive(&self, reception: Reception) {
        self.shared.reception.send_replace(reception);
    }

    /// The first span that came, or comes, and of which `is` is true; `what` is said if there is
    /// none for as long as a very busy machine could need.
    pub async fn span(&self, what: &str, is: impl Fn(&ReceivedSpan) -> bool) -> ReceivedSpan {
        self.first(what, |received| {
            received.spans.iter().find(|span| is(span)).cloned()
        })
        .await
    }

    /// As [`Collector::span`], of metrics. Each export has each metric anew.
    pub async fn metric(&self, what: &str, is: impl Fn(&ReceivedMetric) -> bool) -> ReceivedMetric {
        self.first(what, |received| {
            received.metrics.iter().find(|metric| is(metric)).cloned()
        })
        .await
    }

    /// Waits until `count` exports of spans have come, whatever became of them.
    pub async fn exports_of_spans(&self, count: usize) {
        let what = format!("{count} exports of spans");
        self.first(&what, |received| {
            (received.exports.0 >= count).then_some(())
        })
        .await;
    }

    /// Waits until `count` exports of metrics have come, whatever became of them.
    pub async fn exports_of_metrics(&self, count: usize) {
        let what = format!("{count} exports of metrics");
        self.first(&what, |received| {
            (received.exports.1 >= count).then_some(())
        })
        .await;
    }

    /// All spans that have come so far, oldest first.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.shared.received.borrow().spans.clone()
    }

    /// All metrics that have come so far, oldest first.
    pub fn metrics(&self) -> Vec<ReceivedMetric> {
        self.shared.received.borrow().metrics.clone()
    }

    /// A header, or metadata, of the last export.
    pub fn header(&self, name: &str) -> Option<String> {
        let received = self.shared.received.borrow();
        let value = received.headers.get(name)?.to_str();
        Some(value.expect("text").to_owned())
    }

    async fn first<T>(&self, what: &str, find: impl Fn(&Received) -> Option<T>) -> T {
        let mut received = self.shared.received.subscribe();
        let come = timeout(
            PATIENCE,
            received.wait_for(|received| find(received).is_some()),
        )
        .await;
        let Ok(Ok(received)) = come else {
            panic!("never came: {what}");
        };
        find(&received).expect("it was there, and nothing goes")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl ReceivedSpan {
    /// The value of an attribute, as text.
    pub fn attribute(&self, name: &str) -> Option<String> {
        attributes(&self.span.attributes).remove(name)
    }

    /// The trace that it belongs to, in hexadecimal.
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// Its own id, in hexadecimal.
    pub fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// The id of the span above it, in hexadecimal; empty for a root.
    pub fn parent_span_id(&self) -> String {
        hex(&self.span.parent_span_id)
    }
}

/// Attributes as text; numbers and booleans as they are written.
pub fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|pair| (pair.key.clone(), text(pair.value.as_ref())))
        .collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}

fn of_resource(resource: Option<Resource>) -> BTreeMap<String, String> {
    attributes(&resource.unwrap_or_default().attributes)
}

impl Shared {
    /// Notes that there is an export, and does what was said about it.
    async fn receive(
        &self,
        count: impl FnOnce(&mut (usize, usize)),
        headers: http::HeaderMap,
    ) -> Result<(), Status> {
        self.received.send_modify(|received| {
            count(&mut received.exports);
            received.headers = headers;
        });
        let reception = *self.reception.borrow();
        match reception {
            Reception::Take => Ok(()),
            Reception::Slow(by) => {
                sleep(by).await;
                Ok(())
            }
            Reception::Refuse(code) => Err(Status::new(code, "as told")),
            Reception::Hang => std::future::pending().await,
        }
    }

    async fn take_spans(
        &self,
        headers: http::HeaderMap,
        export: ExportTraceServiceRequest,
    ) -> Result<(), Status> {
        self.receive(|exports| exports.0 += 1, headers).await?;
        let mut spans = Vec::new();
        for from in export.resource_spans {
            let resource = of_resource(from.resource);
            for of_scope in from.scope_spans {
                let scope = of_scope.scope.unwrap_or_default().name;
                spans.extend(of_scope.spans.into_iter().map(|span| ReceivedSpan {
                    span,
                    scope: scope.clone(),
                    resource: resource.clone(),
                }));
            }
        }
        self.received
            .send_modify(|received| received.spans.extend(spans));
        Ok(())
    }

    async fn take_metrics(
        &self,
        headers: http::HeaderMap,
        export: ExportMetricsServiceRequest,
    ) -> Result<(), Status> {
        self.receive(|exports| exports.1 += 1, headers).await?;
        let mut metrics = Vec::new();
        for from in export.resource_metrics {
            let resource = of_resource(from.resource);
            for of_scope in from.scope_metrics {
                let scope = of_scope.scope.unwrap_or_default().name;
                metrics.extend(of_scope.metrics.into_iter().map(|metric| ReceivedMetric {
                    metric,
                    scope: scope.clone(),
                    resource: resource.clone(),
                }));
            }
        }
        self.received
            .send_modify(|received| received.metrics.extend(metrics));
        Ok(())
    }
}
