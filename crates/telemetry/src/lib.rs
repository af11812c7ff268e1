//! What the processes of Toolgate tell of themselves: logs, metrics and traces.
//!
//! # The problem
//!
//! Metrics are counted where things happen, in crates that do not know each other, and scraped in
//! one place, in a format whose details are easy to get wrong. The same numbers, and spans, go to a
//! collector, which may be away, slow or silent, and must never hold up a call.
//!
//! # The words
//!
//! - An **instrument** counts or measures. It lives with what it measures, which registers it with
//!   the one [`Registry`] of its process; a [`Collector`](prometheus_client::collector::Collector)
//!   shows at each scrape what somebody else has counted already.
//! - A [`Distribution`] is the part of one thread in a histogram that is observed too often to be
//!   shared.
//! - The **exposition** is the text of all of them, in `OpenMetrics` 1.0.
//! - [`Telemetry`] is the set-up of one process: `main` keeps it until the end. It has a thread of
//!   its own to export from.
//! - [`MetricsExport`] sends what `/metrics` shows. Spans are made by the global tracer provider of
//!   OpenTelemetry.
//!
//! Labels are bounded: never a subject, a resource URI or a name that a caller can choose.
//!
//! # The flow
//!
//! ```
//! use prometheus_client::metrics::counter::Counter;
//!
//! let mut registry = toolgate_telemetry::registry("vmcp", "1.2.3");
//! let calls = Counter::<u64>::default();
//! registry.register("vmcp_calls", "Calls so far", calls.clone());
//! calls.inc();
//!
//! let text = toolgate_telemetry::exposition(&registry)?;
//! assert!(text.contains("vmcp_calls_total 1\n"));
//! // Over HTTP, at /metrics:
//! let router: axum::Router = toolgate_telemetry::router(registry);
//! # Ok::<(), std::fmt::Error>(())
//! ```

mod distribution;
mod exemplar;
mod latest;
mod log;
mod otlp;
mod outage;
mod prometheus;
mod push;
mod request_id;
mod resource;
mod sampler;
mod series;
mod spans;
mod telemetry;
mod variables;

pub use distribution::{Distribution, Exemplar};
pub use exemplar::{TraceLabel, TracedHistogram, observe};
pub use latest::Latest;
pub use log::{Log, LogFormat};
pub use otlp::{OtlpSettings, Protocol, transport::TransportError};
pub use prometheus::{CONTENT_TYPE, Metrics, exposition, registry, router};
pub use prometheus_client::registry::Registry;
pub use push::MetricsExport;
pub use request_id::{REQUEST_ID, RequestId};
pub use series::{Labels, counter, counters, gauge, gauges};
pub use telemetry::{Program, StartError, Telemetry};
pub use tracing_subscriber::EnvFilter;
pub use variables::InvalidSetting;
