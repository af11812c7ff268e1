//! Where a limiter listens.

use std::{fmt, str::FromStr};

use tokio::time::timeout;
use tonic::{
    Status,
    transport::{self, Channel, ClientTlsConfig, Uri},
};
use toolgate_limit::GoDuration;

use super::error::{CallError, Cause};

/// `http://host:port`, `https://host:port` or `unix:///path`, as given.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    text: String,
    endpoint: transport::Endpoint,
}

/// Why a text is no [`Endpoint`].
#[derive(Debug, thiserror::Error)]
#[error("an endpoint is http://host:port, https://host:port or unix:///path")]
pub(crate) struct EndpointError;

impl Endpoint {
    pub(super) fn is_https(&self) -> bool {
        self.endpoint.uri().scheme_str() == Some("https")
    }

    /// The same over TLS.
    pub(super) fn over(&self, tls: ClientTlsConfig) -> anyhow::Result<Self> {
        Ok(Self {
            text: self.text.clone(),
            endpoint: self.endpoint.clone().tls_config(tls)?,
        })
    }

    /// Connects when first used. Must run on a tokio runtime.
    pub(super) fn channel(&self) -> Channel {
        self.endpoint.connect_lazy()
    }

    /// Connects now.
    pub(crate) async fn connect(&self, within: GoDuration) -> Result<Channel, CallError> {
        let connecting = timeout(within.0, self.endpoint.connect()).await;
        let cause = match connecting {
            Ok(Ok(channel)) => return Ok(channel),
            Ok(Err(error)) => Status::from_error(error.into()).into(),
            Err(_elapsed) => Cause::NoAnswer(within),
        };
        Err(CallError {
            call: "connecting",
            endpoint: self.text.clone(),
            cause,
        })
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if !is_socket(text) && !is_host_and_port(text) {
            return Err(EndpointError);
        }
        Ok(Self {
            text: text.to_owned(),
            endpoint: transport::Endpoint::from_shared(text.to_owned())
                .map_err(|_| EndpointError)?,
        })
    }
}

fn is_socket(text: &str) -> bool {
    text.strip_prefix("unix://")
        .is_some_and(|path| path.starts_with('/') && !path.contains('\0'))
}

fn is_host_and_port(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.port().is_some()
            && uri.path_and_query().is_none_or(|path| path == "/")
    })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_with_a_port_or_the_path_of_a_socket() {
        for text in [
            "http://127.0.0.1:7070",
            "http://127.0.0.1:7070/",
            "http://[::1]:7070",
            "http://toolgate.default.svc:7070",
            "https://toolgate.default.svc:7070",
            "unix:///run/toolgate/grpc.sock",
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), text);
        }
        for text in [
            "",
            "127.0.0.1:7070",
            "localhost",
            "http://localhost",
            "http://:7070",
            "http://localhost:7070/v1",
            "https://localhost",
            "ftp://localhost:7070",
            "unix://run/toolgate.sock",
            "unix:toolgate.sock",
            "unix:///a\0b",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }
}
