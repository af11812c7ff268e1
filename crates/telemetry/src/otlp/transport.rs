//! Connections to collectors. They are opened when there is something to send.

use reqwest::redirect;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::Destination;

/// Why no connection could ever be opened.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Over gRPC.
    #[error("cannot export over gRPC")]
    Grpc(#[from] tonic::transport::Error),
    /// Over HTTP.
    #[error("cannot export over HTTP")]
    Http(#[from] reqwest::Error),
}

/// A connection over gRPC. It works on the runtime on which this is called.
pub(crate) fn grpc(to: &Destination) -> Result<Channel, TransportError> {
    let mut endpoint = Endpoint::from(to.endpoint.clone())
        .timeout(to.timeout)
        .connect_timeout(to.timeout);
    if to.endpoint.scheme_str() == Some("https") {
        let tls = ClientTlsConfig::new();
        let tls = match &to.authorities {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_native_roots(),
        };
        endpoint = endpoint.tls_config(tls)?;
    }
    Ok(endpoint.connect_lazy())
}

/// A client for HTTP.
pub(crate) fn http(to: &Destination) -> Result<reqwest::Client, TransportError> {
    // It has no provider of cryptography of its own. An error means that the process has one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder()
        .timeout(to.timeout)
        .redirect(redirect::Policy::none());
    if let Some(pem) = &to.authorities {
        client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?);
    }
    Ok(client.build()?)
}
