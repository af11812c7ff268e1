//! TLS of the gRPC API.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::ConfigError;

/// TLS of the gRPC API, as one source gives it.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsSettings {
    /// Certificate chain of the gRPC API, in PEM; with it the API speaks TLS only. A changed file is
    /// used within seconds
    #[arg(
        id = "grpc_tls_certificate",
        long = "grpc-tls-certificate",
        value_name = "FILE",
        env = "TOOLGATE_GRPC_TLS_CERTIFICATE"
    )]
    pub certificate: Option<PathBuf>,

    /// Private key of that certificate, in PEM
    #[arg(
        id = "grpc_tls_key",
        long = "grpc-tls-key",
        value_name = "FILE",
        env = "TOOLGATE_GRPC_TLS_KEY"
    )]
    pub key: Option<PathBuf>,

    /// Authorities that vouch for callers, in PEM; with it every caller must show a certificate
    #[arg(
        id = "grpc_tls_client_ca",
        long = "grpc-tls-client-ca",
        value_name = "FILE",
        env = "TOOLGATE_GRPC_TLS_CLIENT_CA"
    )]
    pub client_ca: Option<PathBuf>,
}

/// The PEM files behind TLS on the gRPC API. They are read again while the limiter runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who vouches for callers. None: callers need no certificate.
    pub client_ca: Option<PathBuf>,
}

impl TlsSettings {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            certificate: self.certificate.or(below.certificate),
            key: self.key.or(below.key),
            client_ca: self.client_ca.or(below.client_ca),
        }
    }

    pub(super) fn into_files(self) -> Result<Option<TlsFiles>, ConfigError> {
        match (self.certificate, self.key, self.client_ca) {
            (None, None, None) => Ok(None),
            (Some(certificate), Some(key), client_ca) => Ok(Some(TlsFiles {
                certificate,
                key,
                client_ca,
            })),
            (None, ..) => Err(ConfigError::HalfOfTls("grpcTls.certificate")),
            (_, None, _) => Err(ConfigError::HalfOfTls("grpcTls.key")),
        }
    }
}
