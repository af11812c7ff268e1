//! Set-up, and the end.

use std::{env, io, time::Duration};

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tokio::runtime::{self, Runtime};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry,
    filter::{Targets, filter_fn},
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::{
    Log, OtlpSettings,
    otlp::transport::TransportError,
    push::{self, MetricsExport, Push, Pushing, Source},
    resource::resource,
    spans::Spans,
    variables::{InvalidSetting, Variables},
};

/// The longest that spans which wait may hold up the end of the process.
const SPANS_END_WITHIN: Duration = Duration::from_secs(2);

/// How much longer the last export of metrics may, which begins at the same time.
const METRICS_END_WITHIN: Duration = Duration::from_secs(1);

/// Who is observed.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The service's name.
    pub name: &'static str,
    /// The version that runs.
    pub version: &'static str,
    /// The crates whose spans of the `tracing` crate, at info and above, become spans of
    /// OpenTelemetry too.
    pub spans_of: &'static [&'static str],
}

/// Why nothing can be observed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A variable of the environment, or one of the program's own settings.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// Collectors could not be spoken to.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Spans could not be exported.
    #[error("cannot export spans")]
    Spans(#[from] opentelemetry_otlp::ExporterBuildError),
    /// There is no thread to export from.
    #[error("cannot start the thread that exports")]
    Thread(#[source] io::Error),
    /// Something else logs already.
    #[error("cannot log")]
    Log(#[from] TryInitError),
}

/// Logs and exports, as long as it is there. Its end sends what waits, within a bound.
#[must_use = "nothing is exported after it is dropped"]
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    /// Until somebody takes it.
    metrics: Option<MetricsExport>,
    pushing: Option<Pushing>,
    /// What exports has a thread of its own, so that a collector can never hold up a call.
    runtime: Option<Runtime>,
}

impl Telemetry {
    /// Starts to log; to take and export traces, if the environment or `otlp` asks for it; and
    /// makes W3C Trace Context the process's way to pass traces on. To be called once, by `main`.
    ///
    /// The environment is that of the OpenTelemetry specification. Nothing is exported unless an
    /// endpoint or an exporter is named.
    pub fn start(program: Program, log: Log, otlp: &OtlpSettings) -> Result<Self, StartError> {
        let variables = Variables(&|name| env::var_os(name));
        global::set_text_map_propagator(TraceContextPropagator::new());
        let mut telemetry = Self {
            provider: None,
            metrics: None,
            pushing: None,
            runtime: None,
        };
        if !variables.is_true("OTEL_SDK_DISABLED")? {
            telemetry.take(program, otlp, variables)?;
        }
        let mut layers = vec![log.into_layer()];
        layers.extend(telemetry.span_layer(program));
        tracing_subscriber::registry().with(layers).try_init()?;
        Ok(telemetry)
    }

    /// The export of metrics, if the environment or the settings ask for it. It begins when it is
    /// given what there is to export.
    pub fn metrics_export(&mut self) -> Option<MetricsExport> {
        self.metrics.take()
    }

    fn take(
        &mut self,
        program: Program,
        otlp: &OtlpSettings,
        variables: Variables<'_>,
    ) -> Result<(), StartError> {
        let spans = Spans::of(otlp, variables)?;
        let metrics = Push::of(otlp, variables)?;
        let resource = resource(program, variables)?;
        if spans.is_none() && metrics.is_none() {
            return Ok(());
        }
        let runtime = self.runtime.insert(runtime()?);
        if let Some(spans) = spans {
            let provider = spans.provider(resource.clone(), runtime.handle())?;
            global::set_tracer_provider(provider.clone());
            self.provider = Some(provider);
        }
        let source = Source {
            program,
            resource,
            since: push::now(),
        };
        if let Some(push) = metrics {
            let (export, pushing) = push.prepare(source, runtime.handle())?;
            (self.metrics, self.pushing) = (Some(export), Some(pushing));
        }
        Ok(())
    }

    fn span_layer(&self, program: Program) -> Option<Box<dyn Layer<Registry> + Send + Sync>> {
        let provider = self.provider.as_ref()?;
        if program.spans_of.is_empty() {
            return None;
        }
        let crates = program.spans_of.iter();
        let own = Targets::new().with_targets(crates.map(|name| (*name, LevelFilter::INFO)));
        // Events are for the log: their texts may hold what a caller or a backend has sent.
        let own_spans =
            filter_fn(move |it| it.is_span() && own.would_enable(it.target(), it.level()));
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(program.name))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        Some(layer.with_filter(own_spans).boxed())
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(pushing) = &self.pushing {
            pushing.stop();
        }
        if let Some(provider) = &self.provider {
            // An error means that it took too long, or that no collector wanted them, as was said.
            let _ = provider.shutdown_with_timeout(SPANS_END_WITHIN);
        }
        // An export that nobody has taken would be waited for.
        drop(self.metrics.take());
        if let Some(pushing) = &self.pushing {
            pushing.wait(METRICS_END_WITHIN);
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One thread, whatever the program's own runtime is, and whether that still runs.
fn runtime() -> Result<Runtime, StartError> {
    runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp")
        .enable_all()
        .build()
        .map_err(StartError::Thread)
}
