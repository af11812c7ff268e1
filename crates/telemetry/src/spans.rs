//! Spans: how they are taken, gathered and sent.

use std::{sync::Arc, time::Duration};

use opentelemetry_otlp::{
    Compression, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{
        BatchConfig, BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData,
    },
};
use tokio::{runtime::Handle, time::timeout};

use crate::{
    StartError,
    otlp::{Destination, OtlpSettings, Protocol, transport},
    outage::Outage,
    sampler::{self, AtMost},
    variables::{InvalidSetting, Signal, Variables},
};

/// How spans are made.
#[derive(Debug)]
pub(crate) struct Spans {
    sampler: Sampler,
    export: Option<SpanExport>,
}

#[derive(Debug)]
struct SpanExport {
    to: Destination,
    batches: BatchConfig,
    /// The most time for one batch, all attempts together.
    within: Duration,
}

impl Spans {
    /// None if nobody wants any. With a sampler and nowhere to send them, spans are made and
    /// dropped.
    pub(crate) fn of(
        own: &OtlpSettings,
        variables: Variables<'_>,
    ) -> Result<Option<Self>, InvalidSetting> {
        let sampler = sampler::sampler(variables)?;
        let export = match Destination::of(Signal::Traces, own, variables)? {
            Some(to) => Some(SpanExport {
                to,
                batches: batches(variables)?,
                within: variables
                    .milliseconds("OTEL_BSP_EXPORT_TIMEOUT", Duration::from_secs(30))?,
            }),
            None => None,
        };
        Ok(match (sampler, export) {
            (None, None) => None,
            (sampler, export) => Some(Self {
                sampler: sampler.unwrap_or_else(sampler::default),
                export,
            }),
        })
    }

    /// The provider of tracers. Spans are sent on `runtime`.
    pub(crate) fn provider(
        self,
        resource: Resource,
        runtime: &Handle,
    ) -> Result<SdkTracerProvider, StartError> {
        let mut provider = SdkTracerProvider::builder()
            .with_sampler(AtMost::new(self.sampler))
            .with_resource(resource);
        if let Some(export) = self.export {
            let exporter = Bounded {
                exporter: Arc::new(exporter(&export.to, runtime)?),
                runtime: runtime.clone(),
                within: export.within,
                outage: Outage::new("spans"),
            };
            provider =
                provider.with_span_processor(BatchSpanProcessor::new(exporter, export.batches));
        }
        Ok(provider.build())
    }
}

/// How many spans wait, and for how long.
fn batches(variables: Variables<'_>) -> Result<BatchConfig, InvalidSetting> {
    let queue = variables.count("OTEL_BSP_MAX_QUEUE_SIZE", 2_048)?;
    let batch = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
    let most = variables.count(batch, queue.min(512))?;
    if most > queue
        && let Some(setting) = variables.get(batch)?
    {
        let reason = format_args!("it must be at most OTEL_BSP_MAX_QUEUE_SIZE, which is {queue}");
        return Err(setting.invalid(reason));
    }
    let delay = variables.milliseconds("OTEL_BSP_SCHEDULE_DELAY", Duration::from_secs(5))?;
    Ok(BatchConfigBuilder::default()
        .with_max_queue_size(queue)
        .with_max_export_batch_size(most)
        .with_scheduled_delay(delay)
        .build())
}

/// Headers it reads itself, from the variables that [`Destination`] has found to be right.
fn exporter(to: &Destination, runtime: &Handle) -> Result<SpanExporter, StartError> {
    let builder = SpanExporter::builder();
    let exporter = match to.protocol {
        Protocol::Grpc => {
            let _on = runtime.enter();
            let mut builder = builder
                .with_tonic()
                .with_channel(transport::grpc(to)?)
                .with_timeout(to.timeout);
            if to.is_gzip {
                builder = builder.with_compression(Compression::Gzip);
            }
            builder.build()
        }
        Protocol::HttpProtobuf => {
            let mut builder = builder
                .with_http()
                .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
                .with_http_client(transport::http(to)?)
                .with_endpoint(to.endpoint.to_string())
                .with_timeout(to.timeout);
            if to.is_gzip {
                builder = builder.with_compression(Compression::Gzip);
            }
            builder.build()
        }
    };
    Ok(exporter?)
}

/// Sends on a runtime of its own, within a bound.
///
/// The batch processor calls from a thread without a runtime, sets no bound, and logs nothing.
#[derive(Debug)]
struct Bounded {
    exporter: Arc<SpanExporter>,
    runtime: Handle,
    within: Duration,
    outage: Outage,
}

impl opentelemetry_sdk::trace::SpanExporter for Bounded {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exporter = Arc::clone(&self.exporter);
        let within = self.within;
        let sent = self
            .runtime
            .spawn(async move { timeout(within, exporter.export(batch)).await });
        let result = match sent.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(OTelSdkError::Timeout(within)),
            Err(error) if error.is_panic() => Err(OTelSdkError::InternalFailure(
                "sending them has panicked".to_owned(),
            )),
            // The process is ending, and has told the runtime to.
            Err(_) => return Err(OTelSdkError::AlreadyShutdown),
        };
        self.outage.saw(&result);
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Called once, before anything is sent, so nobody else has it yet.
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests;
