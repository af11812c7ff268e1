//! Where a limiter listens.

use std::{fmt, net::SocketAddr, str::FromStr};

use tokio::{net::lookup_host, time::timeout};
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
    transport: transport::Endpoint,
    /// The name that has led to this address, which is that in the limiter's certificate.
    host: Option<String>,
}

/// The most replicas behind one name.
const MAX_REPLICAS: usize = 100;

/// Why a text is no [`Endpoint`].
#[derive(Debug, thiserror::Error)]
#[error("an endpoint is http://host:port, https://host:port or unix:///path")]
pub(crate) struct EndpointError;

impl Endpoint {
    pub(super) fn is_https(&self) -> bool {
        self.transport.uri().scheme_str() == Some("https")
    }

    /// The name in the limiter's certificate, if it is not the host of the endpoint.
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The same over TLS.
    pub(super) fn over(&self, tls: ClientTlsConfig) -> anyhow::Result<Self> {
        Ok(Self {
            transport: self.transport.clone().tls_config(tls)?,
            ..self.clone()
        })
    }

    /// The replicas behind the name: an endpoint for each address that it leads to, if they are
    /// several, or else the endpoint itself.
    ///
    /// A host has one address of each family; those of the family that the system prefers are taken.
    /// None if the name cannot be looked up now.
    pub(crate) async fn replicas(&self, within: GoDuration) -> Option<Vec<Self>> {
        let uri = self.transport.uri();
        let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
            return Some(vec![self.clone()]);
        };
        let found = timeout(within.0, lookup_host((host.trim_matches(['[', ']']), port))).await;
        let found: Vec<_> = found.ok()?.ok()?.collect();
        Some(self.at(&found))
    }

    fn at(&self, found: &[SocketAddr]) -> Vec<Self> {
        let is_preferred = |address: &&SocketAddr| {
            Some(address.is_ipv4()) == found.first().map(SocketAddr::is_ipv4)
        };
        let mut addresses: Vec<_> = found.iter().filter(is_preferred).collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.len() < 2 {
            return vec![self.clone()];
        }
        let each = addresses.into_iter().take(MAX_REPLICAS).map(|address| {
            let uri = self.transport.uri();
            let scheme = uri.scheme_str().unwrap_or("http");
            let text = format!("{scheme}://{address}");
            let endpoint = transport::Endpoint::from_shared(text.clone()).ok()?;
            Some(Self {
                text,
                transport: endpoint.origin(uri.clone()),
                host: uri.host().map(str::to_owned),
            })
        });
        each.flatten().collect()
    }

    /// Connects when first used. Must run on a tokio runtime.
    pub(super) fn channel(&self) -> Channel {
        self.transport.connect_lazy()
    }

    /// Connects now.
    pub(crate) async fn connect(&self, within: GoDuration) -> Result<Channel, CallError> {
        let connecting = timeout(within.0, self.transport.connect()).await;
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
            transport: transport::Endpoint::from_shared(text.to_owned())
                .map_err(|_| EndpointError)?,
            host: None,
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
    fn a_name_with_several_addresses_is_several_replicas() {
        let texts = |endpoint: &str, found: &[&str]| -> Vec<String> {
            let endpoint: Endpoint = endpoint.parse().expect("an endpoint");
            let found: Vec<_> = found
                .iter()
                .map(|it| it.parse().expect("an address"))
                .collect();
            endpoint
                .at(&found)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        let name = "https://limiter.toolgate.svc:7070";
        let (one, other) = ("10.0.0.1:7070", "10.0.0.2:7070");
        assert_eq!(texts(name, &[]), [name]);
        assert_eq!(texts(name, &[one, one]), [name]);
        assert_eq!(texts(name, &[one, "[fd00::1]:7070"]), [name], "one host");
        assert_eq!(
            texts(name, &[other, one, "[fd00::1]:7070"]),
            ["https://10.0.0.1:7070", "https://10.0.0.2:7070"]
        );
        assert_eq!(
            texts(name, &["[fd00::1]:7070", "[fd00::2]:7070", one]),
            ["https://[fd00::1]:7070", "https://[fd00::2]:7070"]
        );
    }

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
