//! Metrics: what `/metrics` shows, sent to a collector at an interval.
//!
//! The SDK has instruments of its own, with which all would be counted twice; so what is shown there
//! is [translated](translate), and sent here. What is lost on the way is not sent again: the next
//! export has all that has been counted since the start.

use std::{
    fmt,
    sync::mpsc,
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{
    common::v1::InstrumentationScope,
    metrics::v1::{ResourceMetrics, ScopeMetrics},
    resource::v1::Resource as SentResource,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::MetricFamily;
use tokio::{
    runtime::Handle,
    time::{MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;
use toolgate_tasks::Tasks;

use crate::{
    Metrics, Program,
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
#[derive(Debug)]
pub(crate) struct Push {
    to: Destination,
    every: Duration,
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

/// Sends the metrics of the process to a collector, once it is given them.
#[derive(Debug)]
pub struct MetricsExport {
    push: Push,
    client: Client,
    source: Source,
    runtime: Handle,
    stop: CancellationToken,
    /// Dropped with the last export.
    held: mpsc::Sender<()>,
}

/// How an export is ended.
#[derive(Debug)]
pub(crate) struct Pushing {
    stop: CancellationToken,
    /// Disconnected once the last export is over, or there will be none.
    ended: mpsc::Receiver<()>,
}

impl Push {
    /// None if nobody wants any.
    pub(crate) fn of(
        own: &OtlpSettings,
        variables: Variables<'_>,
    ) -> Result<Option<Self>, InvalidSetting> {
        let Some(to) = Destination::of(Signal::Metrics, own, variables)? else {
            return Ok(None);
        };
        let every = "OTEL_METRIC_EXPORT_INTERVAL";
        let within = "OTEL_METRIC_EXPORT_TIMEOUT";
        Ok(Some(Self {
            to,
            every: variables.milliseconds(every, Duration::from_mins(1))?,
            within: variables.milliseconds(within, Duration::from_secs(30))?,
        }))
    }

    /// An export on `runtime`, which has not begun, and what ends it.
    pub(crate) fn prepare(
        self,
        source: Source,
        runtime: &Handle,
    ) -> Result<(MetricsExport, Pushing), TransportError> {
        let _on = runtime.enter();
        let stop = CancellationToken::new();
        let (held, ended) = mpsc::channel();
        let export = MetricsExport {
            client: Client::new(&self.to)?,
            push: self,
            source,
            runtime: runtime.clone(),
            stop: stop.clone(),
            held,
        };
        Ok((export, Pushing { stop, ended }))
    }
}

impl MetricsExport {
    /// Sends `metrics` at each interval from now on, and once more at the end of the process, in one
    /// of `tasks`.
    pub fn start(self, metrics: Metrics, tasks: &Tasks) {
        let Self {
            push,
            client,
            source,
            runtime,
            stop,
            held,
        } = self;
        let exporter = Exporter {
            client,
            metrics,
            source,
            outage: Outage::new("metrics"),
        };
        let _on = runtime.enter();
        // What is held is dropped with the task.
        let state = (exporter, push, stop, held);
        tasks.spawn("metrics_export", state, |(exporter, push, stop, _)| {
            Box::pin(exporter.run(push.every, push.within, stop))
        });
    }
}

impl Pushing {
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
    metrics: Metrics,
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
        let shown = self.metrics.families()?;
        let span = translate::Span {
            since: nanoseconds(self.source.since),
            now: nanoseconds(now()),
        };
        Ok(self.client.send(self.source.wrap(shown, span)).await?)
    }
}

impl Source {
    fn wrap(&self, shown: Vec<MetricFamily>, span: translate::Span) -> ResourceMetrics {
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
