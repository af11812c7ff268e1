//! Metrics: the registry that `/metrics` shows, sent to a collector at an interval.
//!
//! The SDK has instruments of its own, with which all would be counted twice; so what is registered
//! is [translated](translate), and sent here. What is lost on the way is not sent again: the next
//! export has all that has been counted since the start.

use std::{
    fmt,
    sync::{Arc, mpsc},
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{
    common::v1::InstrumentationScope,
    metrics::v1::{ResourceMetrics, ScopeMetrics},
    resource::v1::Resource as SentResource,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use prometheus_client::{
    encoding::prometheus_protobuf::{self, prometheus_data_model},
    registry::Registry,
};
use tokio::{
    runtime::Handle,
    time::{MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Program,
    otlp::{Destination, OtlpSettings, transport::TransportError},
    outage::Outage,
    variables::{InvalidSetting, Signal, Variables},
};

mod client;
mod translate;

use client::{Client, SendError};

/// The longest that the last export may take, with which the process waits to end.
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// How metrics are exported.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    to: Destination,
    interval: Duration,
    /// The most time for one export.
    within: Duration,
}

/// Who counts, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) program: Program,
    pub(crate) resource: Resource,
    pub(crate) since: SystemTime,
}

/// Exports go on until it is told to stop.
#[derive(Debug)]
pub(crate) struct Export {
    stop: CancellationToken,
    /// Disconnected once the last export is over.
    ended: mpsc::Receiver<()>,
}

impl Metrics {
    /// None if nobody wants any.
    pub(crate) fn of(
        own: &OtlpSettings,
        variables: Variables<'_>,
    ) -> Result<Option<Self>, InvalidSetting> {
        let Some(to) = Destination::of(Signal::Metrics, own, variables)? else {
            return Ok(None);
        };
        let interval =
            variables.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", Duration::from_mins(1))?;
        let within =
            variables.milliseconds("OTEL_METRIC_EXPORT_TIMEOUT", Duration::from_secs(30))?;
        Ok(Some(Self {
            to,
            interval,
            within,
        }))
    }

    /// Exports `registry` on `runtime`.
    pub(crate) fn export(
        self,
        registry: Arc<Registry>,
        source: Source,
        runtime: &Handle,
    ) -> Result<Export, TransportError> {
        let _on = runtime.enter();
        let exporter = Exporter {
            client: Client::new(&self.to)?,
            registry,
            source,
            outage: Outage::new("metrics"),
        };
        let stop = CancellationToken::new();
        let (held, ended) = mpsc::channel();
        let stopped = stop.clone();
        runtime.spawn(async move {
            exporter.run(self.interval, self.within, &stopped).await;
            drop(held);
        });
        Ok(Export { stop, ended })
    }
}

impl Export {
    /// Begins the last export.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the last export is over, but not for long.
    pub(crate) fn wait(&self, most: Duration) {
        // Both errors end the waiting: disconnected is what is waited for.
        let _ = self.ended.recv_timeout(most);
    }
}

struct Exporter {
    client: Client,
    registry: Arc<Registry>,
    source: Source,
    outage: Outage,
}

/// Why metrics were not exported.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("they cannot be shown")]
    Encode(#[from] fmt::Error),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("it took more than {0:?}")]
    Timeout(Duration),
}

impl Exporter {
    async fn run(&self, every: Duration, within: Duration, stop: &CancellationToken) {
        let now = tokio::time::Instant::now();
        let mut ticks = interval_at(now + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let until_stopped = async {
            loop {
                ticks.tick().await;
                self.export(within).await;
            }
        };
        // An export on its way is given up for the last one, which has all that it had.
        stop.run_until_cancelled(until_stopped).await;
        self.export(within.min(LAST_WITHIN)).await;
    }

    async fn export(&self, within: Duration) {
        let result = match timeout(within, self.send()).await {
            Ok(result) => result,
            Err(_) => Err(ExportError::Timeout(within)),
        };
        self.outage.saw(&result);
    }

    async fn send(&self) -> Result<(), ExportError> {
        let shown = prometheus_protobuf::encode(&self.registry)?;
        let span = translate::Span {
            since: nanoseconds(self.source.since),
            now: nanoseconds(now()),
        };
        Ok(self.client.send(self.source.wrap(shown, span)).await?)
    }
}

impl Source {
    fn wrap(
        &self,
        shown: Vec<prometheus_data_model::MetricFamily>,
        span: translate::Span,
    ) -> ResourceMetrics {
        ResourceMetrics {
            resource: Some(SentResource {
                attributes: ResourceAttributesWithSchema::from(&self.resource)
                    .attributes
                    .0,
                ..SentResource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: self.program.name.to_owned(),
                    version: self.program.version.to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics: shown
                    .into_iter()
                    .filter_map(|family| translate::metric(family, span))
                    .collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }
    }
}

/// The time that the collector is told; it decides nothing here.
#[allow(clippy::disallowed_methods, reason = "OTLP wants the time of day")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Since 1970, as OTLP has it; good until 2554.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}
