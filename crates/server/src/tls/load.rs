//! From PEM files to what rustls needs.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
};

use toolgate_net::check_authorities;

use crate::TlsFiles;

/// The largest file that is read, in bytes. Bundles of authorities are below it.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Why files make no TLS. Nothing of a key is ever in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no PEM, or holds something else.
    #[error("{}: no {what} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why it does not.
        source: pem::Error,
    },
    /// A certificate and a key that do not go together, or are of a kind that is not served.
    #[error("{} cannot be served with {}", certificate.display(), key.display())]
    Identity {
        /// The certificate chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Certificates that cannot vouch for anybody.
    #[error("{}: not the certificates of authorities", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A file that holds none.
    #[error("grpcTls.clientCa: {} {reason}", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
        /// What it holds.
        reason: &'static str,
    },
    /// Callers cannot be verified.
    #[error("{}: callers cannot be verified", path.display())]
    Verifier {
        /// The file with the authorities.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
}

/// What lies in the files at one time.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    /// What they make, with `files` for the names in errors.
    pub(super) fn to_config(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| of_identity(files, source))?;
        let config = match (&files.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => {
                config.with_client_cert_verifier(verifier(path, pem, provider)?)
            }
            _ => config.with_no_client_auth(),
        };
        let chain = certificates(&files.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| TlsError::Pem {
            path: files.key.clone(),
            what: "private key",
            source,
        })?;
        let mut config = config
            .with_single_cert(chain, key)
            .map_err(|source| of_identity(files, source))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session is not verified again, and connections last: each is verified in full.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

fn verifier(
    path: &Path,
    pem: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    check_authorities(pem).map_err(|reason| TlsError::NoAuthority {
        path: path.to_owned(),
        reason,
    })?;
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        authorities
            .add(certificate)
            .map_err(|source| TlsError::Authority {
                path: path.to_owned(),
                source,
            })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
        .build()
        .map_err(|source| TlsError::Verifier {
            path: path.to_owned(),
            source,
        })
}

/// The certificates in `pem`; at least one.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found
        .and_then(|found| {
            if found.is_empty() {
                return Err(pem::Error::NoItemsFound);
            }
            Ok(found)
        })
        .map_err(|source| TlsError::Pem {
            path: path.to_owned(),
            what: "certificate",
            source,
        })
}

fn of_identity(files: &TlsFiles, source: rustls::Error) -> TlsError {
    TlsError::Identity {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let reason = format!("it is larger than {MAX_FILE_BYTES} bytes");
        return Err(failed(io::Error::other(reason)));
    }
    Ok(bytes)
}
