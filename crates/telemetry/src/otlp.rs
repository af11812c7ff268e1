//! Where to export to, and how.

use std::{fs, time::Duration};

use clap::ValueEnum;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde::Deserialize;

use crate::variables::{InvalidSetting, Setting, Signal, Variables, milliseconds};

pub(crate) mod transport;

/// What a program's own configuration says of the export. It goes before the variables that are
/// for all signals, and after those of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OtlpSettings {
    /// The collector: `http://host:port` or `https://host:port`.
    pub endpoint: Option<String>,
    /// How it is spoken to. Default: over gRPC if the port is 4317, which is registered for that,
    /// else over HTTP, as the specification has it.
    pub protocol: Option<Protocol>,
}

/// A form of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
pub enum Protocol {
    /// Over gRPC; collectors listen on port 4317
    #[serde(rename = "grpc")]
    Grpc,
    /// Over HTTP; collectors listen on port 4318
    #[default]
    #[serde(rename = "http/protobuf")]
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

/// Where one signal goes.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) protocol: Protocol,
    /// Over HTTP with its path.
    pub(crate) endpoint: Uri,
    pub(crate) headers: HeaderMap,
    /// The most time that one attempt may take.
    pub(crate) timeout: Duration,
    pub(crate) is_gzip: bool,
    /// Who may vouch for the collector, in PEM. None: whom the system trusts.
    pub(crate) authorities: Option<Vec<u8>>,
}

impl Destination {
    /// Where `signal` goes; none if nothing asks for its export, or something forbids it.
    pub(crate) fn of(
        signal: Signal,
        own: &OtlpSettings,
        variables: Variables<'_>,
    ) -> Result<Option<Self>, InvalidSetting> {
        let is_asked_for = match variables.get(&format!("OTEL_{}_EXPORTER", signal.upper()))? {
            None => false,
            Some(exporter) => match exporter.value.as_str() {
                "none" => return Ok(None),
                // They are there to be scraped, whatever is said here.
                "prometheus" if signal == Signal::Metrics => return Ok(None),
                "otlp" => true,
                _ => return Err(exporter.invalid("it must be otlp or none")),
            },
        };
        let protocol = protocol(signal, own, variables)?;
        let (protocol, endpoint) = match endpoint(signal, own, protocol, variables)? {
            Some(endpoint) => endpoint,
            None if is_asked_for => default_endpoint(signal, protocol.unwrap_or_default()),
            None => return Ok(None),
        };
        Ok(Some(Self {
            protocol,
            endpoint,
            headers: headers(signal, variables)?,
            timeout: match variables.of_exporter(signal, "TIMEOUT")? {
                None => Duration::from_secs(10),
                Some(timeout) => milliseconds(&timeout)?,
            },
            is_gzip: is_gzip(signal, variables)?,
            authorities: authorities(signal, variables)?,
        }))
    }
}

fn protocol(
    signal: Signal,
    own: &OtlpSettings,
    variables: Variables<'_>,
) -> Result<Option<Protocol>, InvalidSetting> {
    let of_signal = variables.get(&format!("OTEL_EXPORTER_OTLP_{}_PROTOCOL", signal.upper()))?;
    let given = match (of_signal, own.protocol) {
        (Some(given), _) => Some(given),
        (None, Some(own)) => return Ok(Some(own)),
        (None, None) => variables.get("OTEL_EXPORTER_OTLP_PROTOCOL")?,
    };
    match given.as_ref().map(|given| (given, given.value.as_str())) {
        None => Ok(None),
        Some((_, "grpc")) => Ok(Some(Protocol::Grpc)),
        Some((_, "http/protobuf")) => Ok(Some(Protocol::HttpProtobuf)),
        Some((given, _)) => Err(given.invalid("it must be grpc or http/protobuf")),
    }
}

fn endpoint(
    signal: Signal,
    own: &OtlpSettings,
    protocol: Option<Protocol>,
    variables: Variables<'_>,
) -> Result<Option<(Protocol, Uri)>, InvalidSetting> {
    let of_signal = variables.get(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.upper()))?;
    if let Some(endpoint) = of_signal {
        return url(&endpoint, protocol, None).map(Some);
    }
    let own = own.endpoint.as_ref().map(|endpoint| Setting {
        name: "otlp.endpoint".to_owned(),
        value: endpoint.trim().to_owned(),
    });
    let of_all = match own {
        Some(own) => Some(own),
        None => variables.get("OTEL_EXPORTER_OTLP_ENDPOINT")?,
    };
    let url = |endpoint: Setting| url(&endpoint, protocol, Some(signal));
    of_all.map(url).transpose()
}

/// How to speak to `setting`, and its URL; over HTTP it gets the path of `signal`, if there is one.
fn url(
    setting: &Setting,
    protocol: Option<Protocol>,
    signal: Option<Signal>,
) -> Result<(Protocol, Uri), InvalidSetting> {
    let invalid = |reason| {
        // It could hold a password.
        if setting.value.contains('@') {
            setting.invalid_secret(reason)
        } else {
            setting.invalid(reason)
        }
    };
    let form = "it must be http://host:port or https://host:port";
    let mut url = Url::parse(&setting.value).map_err(|_| invalid(form))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid(form));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let reason = "it must hold no user name or password; use OTEL_EXPORTER_OTLP_HEADERS";
        return Err(invalid(reason));
    }
    let protocol = protocol.unwrap_or_else(|| match url.port() {
        Some(GRPC_PORT) => Protocol::Grpc,
        _ => Protocol::HttpProtobuf,
    });
    match (protocol, signal) {
        (Protocol::Grpc, _) if url.path() != "/" => {
            return Err(invalid("over gRPC it must have no path"));
        }
        (Protocol::HttpProtobuf, Some(signal)) => {
            let base = url.path().trim_end_matches('/');
            url.set_path(&format!("{base}/v1/{}", signal.lower()));
        }
        _ => {}
    }
    let uri = url.as_str().parse().map_err(|_| invalid(form))?;
    Ok((protocol, uri))
}

/// Registered for OTLP over gRPC.
const GRPC_PORT: u16 = 4317;

fn default_endpoint(signal: Signal, protocol: Protocol) -> (Protocol, Uri) {
    let endpoint = match (protocol, signal) {
        (Protocol::Grpc, _) => "http://localhost:4317",
        (Protocol::HttpProtobuf, Signal::Traces) => "http://localhost:4318/v1/traces",
        (Protocol::HttpProtobuf, Signal::Metrics) => "http://localhost:4318/v1/metrics",
    };
    (protocol, Uri::from_static(endpoint))
}

/// `key=value,...`, the values percent-encoded.
fn headers(signal: Signal, variables: Variables<'_>) -> Result<HeaderMap, InvalidSetting> {
    let Some(given) = variables.of_exporter(signal, "HEADERS")? else {
        return Ok(HeaderMap::new());
    };
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((name.trim().parse::<HeaderName>().ok()?, value))
    };
    let headers: Option<HeaderMap> = given.value.split_terminator(',').map(header).collect();
    headers.ok_or_else(|| {
        given.invalid_secret("it must be name=value,name=value, the values percent-encoded")
    })
}

fn is_gzip(signal: Signal, variables: Variables<'_>) -> Result<bool, InvalidSetting> {
    let Some(given) = variables.of_exporter(signal, "COMPRESSION")? else {
        return Ok(false);
    };
    match given.value.as_str() {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err(given.invalid("it must be gzip or none")),
    }
}

fn authorities(
    signal: Signal,
    variables: Variables<'_>,
) -> Result<Option<Vec<u8>>, InvalidSetting> {
    let Some(file) = variables.of_exporter(signal, "CERTIFICATE")? else {
        return Ok(None);
    };
    match fs::read(&file.value) {
        Ok(pem) => Ok(Some(pem)),
        Err(error) => Err(file.invalid(format_args!("cannot read the file: {error}"))),
    }
}

#[cfg(test)]
mod tests;
