//! From an address to an open stream.
//!
//! A limiter counts as connected once it has replied to the stream, which every limiter does at
//! once. So whoever accepts connections and never answers is found out here, at the cost of no
//! check.

use std::{error::Error, io, path::Path, sync::Arc};

use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};
use toolgate_proto::pb::{
    CheckStreamRequest, CheckStreamResponse, limiter_service_client::LimiterServiceClient,
};

use crate::{ClientConfig, Endpoint, TlsFiles, outgoing::Outgoing, spoken::Spoken};

/// Where one limiter replica is.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// For people; tells replicas of one endpoint apart.
    pub(crate) label: Arc<str>,
    /// What is connected to: `http`, `https` or `unix`.
    uri: String,
    /// What the limiter takes itself for, where it is found by another name.
    origin: Option<String>,
    /// The name in its certificate.
    host: String,
}

impl Address {
    /// The one address of `endpoint`; none if those of a name must be looked up.
    pub(crate) fn of(endpoint: &Endpoint) -> Option<Self> {
        let host = match endpoint {
            Endpoint::Url { host, .. } => host.clone(),
            Endpoint::Unix(_) => String::new(),
            Endpoint::Dns { .. } => return None,
        };
        let uri = endpoint.to_string();
        Some(Self {
            label: uri.as_str().into(),
            uri,
            origin: None,
            host,
        })
    }

    /// One of the addresses of `name`.
    pub(crate) fn resolved(name: &str, address: std::net::SocketAddr, tls: bool) -> Self {
        let scheme = if tls { "https" } else { "http" };
        let uri = format!("{scheme}://{address}");
        Self {
            label: uri.as_str().into(),
            uri,
            origin: Some(format!("{scheme}://{name}:{}", address.port())),
            host: name.to_owned(),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot read {path}: {source}")]
    TlsFile { path: String, source: io::Error },
    #[error("cannot connect: {}", chain(.0))]
    Transport(#[from] tonic::transport::Error),
    #[error("the limiter does not take a stream: {:?}: {}", .0.code(), .0.message())]
    Stream(#[from] Status),
    #[error("the name is no part of a URL: {0}")]
    Name(#[from] tonic::codegen::http::uri::InvalidUri),
    #[error("no stream within the deadline for connecting")]
    Timeout,
    #[error("the other end speaks {0}, and this one gRPC in plaintext")]
    Other(Spoken),
}

/// A connection with an open stream.
pub(crate) struct Connection {
    pub(crate) client: LimiterServiceClient<Channel>,
    pub(crate) requests: mpsc::Sender<Outgoing>,
    pub(crate) answers: Streaming<CheckStreamResponse>,
}

/// Connects to `address`, within the configured time, and as much again where that shows what the other
/// end is.
pub(crate) async fn open(
    address: &Address,
    config: &ClientConfig,
) -> Result<Connection, ConnectError> {
    let opened = timeout(config.connect_timeout, open_stream(address, config));
    let error = match opened.await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(error)) => error,
        Err(_) => return Err(ConnectError::Timeout),
    };
    // What a limiter says has no source; what became of the connection has.
    let is_broken = matches!(&error, ConnectError::Stream(status) if status.source().is_some());
    if is_broken && config.tls.is_none() {
        let asked = timeout(config.connect_timeout, Spoken::at(&address.uri));
        if let Ok(Some(spoken)) = asked.await {
            return Err(ConnectError::Other(spoken));
        }
    }
    Err(error)
}

async fn open_stream(address: &Address, config: &ClientConfig) -> Result<Connection, ConnectError> {
    let channel = connect(address, config).await?;
    let mut client = LimiterServiceClient::new(channel);
    // Room for as many again that were given up and have not left yet.
    let (requests, outgoing) = mpsc::channel(2 * config.max_in_flight);
    let answers = client.check_stream(on_the_wire(outgoing)).await?;
    Ok(Connection {
        client,
        requests,
        answers: answers.into_inner(),
    })
}

/// The checks as messages. One whose time is up while it waits here is not sent.
fn on_the_wire(
    outgoing: mpsc::Receiver<Outgoing>,
) -> impl tokio_stream::Stream<Item = CheckStreamRequest> + Send + 'static {
    use tokio_stream::StreamExt as _;
    ReceiverStream::new(outgoing).filter_map(Outgoing::into_message)
}

async fn connect(address: &Address, config: &ClientConfig) -> Result<Channel, ConnectError> {
    let mut endpoint = tonic::transport::Endpoint::from_shared(address.uri.clone())?
        .tcp_nodelay(true)
        .connect_timeout(config.connect_timeout)
        .http2_keep_alive_interval(config.keep_alive)
        .keep_alive_timeout(config.connect_timeout)
        .keep_alive_while_idle(true);
    if let Some(origin) = &address.origin {
        endpoint = endpoint.origin(origin.parse()?);
    }
    if let Some(files) = &config.tls {
        endpoint = endpoint.tls_config(tls(files, &address.host).await?)?;
    }
    Ok(endpoint.connect().await?)
}

async fn tls(files: &TlsFiles, host: &str) -> Result<ClientTlsConfig, ConnectError> {
    let name = files.server_name.as_deref().unwrap_or(host);
    let tls = ClientTlsConfig::new()
        .domain_name(name)
        .ca_certificate(Certificate::from_pem(read(&files.ca).await?));
    Ok(match &files.identity {
        None => tls,
        Some(identity) => {
            let certificate = read(&identity.certificate).await?;
            tls.identity(Identity::from_pem(certificate, read(&identity.key).await?))
        }
    })
}

async fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    tokio::fs::read(path)
        .await
        .map_err(|source| ConnectError::TlsFile {
            path: path.display().to_string(),
            source,
        })
}

/// An error with all that lie beneath it; tonic's own text is only "transport error". What an error
/// repeats of the one beneath it is said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_of_a_connection_says_each_thing_once() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("bound");
        drop(free);
        for endpoint in [format!("http://{address}"), "unix:///nowhere/socket".into()] {
            let config = ClientConfig::new(endpoint.parse().expect("an endpoint"));
            let address = Address::of(&config.endpoint).expect("one address");
            let error = open(&address, &config).await.err().expect("nobody listens");
            let text = error.to_string();
            let parts: Vec<_> = text.split(": ").collect();
            let distinct: std::collections::HashSet<_> = parts.iter().collect();
            assert_eq!(parts.len(), distinct.len(), "{text}");
            assert!(text.contains("os error"), "{text}");
        }
    }
}
