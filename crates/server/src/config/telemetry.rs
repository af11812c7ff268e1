//! Export of traces and metrics.

use clap::Args;
use serde::Deserialize;
use toolgate_telemetry::{OtlpSettings, Protocol};

/// Where traces and metrics go, as one source gives it. All else is set by the variables of the
/// OpenTelemetry specification.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OtlpExport {
    /// Collector to export traces and metrics to by OTLP: `http://host:port` or
    /// `https://host:port`; goes before `OTEL_EXPORTER_OTLP_ENDPOINT` [default: none]
    #[arg(
        long = "otlp-endpoint",
        value_name = "URL",
        env = "TOOLGATE_OTLP_ENDPOINT"
    )]
    pub endpoint: Option<String>,

    /// How to speak to it; goes before `OTEL_EXPORTER_OTLP_PROTOCOL` [default: http/protobuf]
    #[arg(
        long = "otlp-protocol",
        value_name = "PROTOCOL",
        env = "TOOLGATE_OTLP_PROTOCOL"
    )]
    pub protocol: Option<Protocol>,
}

impl OtlpExport {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            endpoint: self.endpoint.or(below.endpoint),
            protocol: self.protocol.or(below.protocol),
        }
    }
}

impl From<OtlpExport> for OtlpSettings {
    fn from(export: OtlpExport) -> Self {
        Self {
            endpoint: export.endpoint,
            protocol: export.protocol,
        }
    }
}
