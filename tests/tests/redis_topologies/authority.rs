//! An authority of the test's own, and what it signs.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use toolgate_redis::TlsIdentity;

/// An authority, and the folder in which its files lie.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed").pem();
        let authority = Self {
            folder: tempfile::tempdir().expect("a folder"),
            issuer: Issuer::new(params, key),
        };
        std::fs::write(authority.ca(), certificate).expect("written");
        authority
    }

    /// The file with its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for this machine, and its key.
    pub(crate) fn identity(&self, name: &str) -> TlsIdentity {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let write = |kind, text| {
            let path = self.folder.path().join(format!("{name}.{kind}"));
            std::fs::write(&path, text).expect("written");
            path
        };
        TlsIdentity {
            certificate: write("pem", certificate.pem()),
            key: write("key", key.serialize_pem()),
        }
    }

    /// What makes a redis-server speak TLS and ask for certificates of this authority.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let TlsIdentity { certificate, key } = self.identity("server");
        let certificate = certificate.display().to_string();
        let (key, ca) = (key.display().to_string(), self.ca().display().to_string());
        [
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "yes",
        ]
        .map(str::to_owned)
        .into()
    }
}
