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

    /// How to speak to it; goes before `OTEL_EXPORTER_OTLP_PROTOCOL` [default: grpc on port
    /// 4317, else http/protobuf]
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

#[cfg(test)]
mod tests {
    use toolgate_telemetry::{OtlpSettings, Protocol};

    use crate::{
        Config,
        config::tests::{file, flags},
    };

    #[test]
    fn a_collector_is_named_by_flags_or_in_the_file() {
        let below = file("otlp: {endpoint: 'http://a:1', protocol: http/protobuf}").unwrap();
        let above = flags(&["--policies=x", "--otlp-endpoint", "http://b:4317"]);
        let config = Config::try_from(above.over(below)).unwrap();
        let expected = OtlpSettings {
            endpoint: Some("http://b:4317".to_owned()),
            protocol: Some(Protocol::HttpProtobuf),
        };
        assert_eq!(config.otlp, expected);
        let flags = flags(&["--policies=x", "--otlp-protocol", "grpc"]);
        let config = Config::try_from(flags).unwrap();
        assert_eq!(config.otlp.protocol, Some(Protocol::Grpc));
        let error = file("otlp: {protocol: udp}").unwrap_err();
        assert!(error.contains("otlp.protocol"), "{error}");
    }
}
