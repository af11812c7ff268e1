//! TLS to a limiter.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use toolgate_net::read_authorities;

use super::Endpoint;

/// With what a limiter is verified, and what this command shows of itself.
#[derive(Clone, Debug, Args)]
pub(crate) struct TlsArgs {
    /// Authorities that vouch for the limiter of an https endpoint, in PEM
    #[arg(long = "tls-ca", value_name = "FILE", env = "TOOLGATE_TLS_CA")]
    ca: Option<PathBuf>,
    /// Certificate chain to show to the limiter, in PEM
    #[arg(
        long = "tls-certificate",
        value_name = "FILE",
        env = "TOOLGATE_TLS_CERTIFICATE",
        requires_all = ["ca", "key"]
    )]
    certificate: Option<PathBuf>,
    /// Private key of that certificate, in PEM
    #[arg(
        long = "tls-key",
        value_name = "FILE",
        env = "TOOLGATE_TLS_KEY",
        requires = "certificate"
    )]
    key: Option<PathBuf>,
    /// Name in the limiter's certificate [default: the host of the endpoint]
    #[arg(
        long = "tls-server-name",
        value_name = "NAME",
        env = "TOOLGATE_TLS_SERVER_NAME",
        requires = "ca"
    )]
    server_name: Option<String>,
}

impl TlsArgs {
    /// `endpoint` with what its scheme needs of this.
    pub(crate) fn of(&self, endpoint: &Endpoint) -> anyhow::Result<Endpoint> {
        match (endpoint.is_https(), &self.ca) {
            (false, None) => Ok(endpoint.clone()),
            (true, Some(ca)) => endpoint.over(self.config(ca, endpoint)?),
            (true, None) => bail!("{endpoint} needs --tls-ca or TOOLGATE_TLS_CA"),
            (false, Some(_)) => bail!("TLS files are set, but {endpoint} is not https"),
        }
    }

    fn config(&self, ca: &Path, endpoint: &Endpoint) -> anyhow::Result<ClientTlsConfig> {
        let mut config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read_authorities("--tls-ca", ca)?));
        if let Some(name) = self.server_name.as_deref().or(endpoint.host()) {
            config = config.domain_name(name);
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        Ok(config)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
