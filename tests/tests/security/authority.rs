//! Certificates, made on the fly.

use std::path::PathBuf;

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};

/// Who vouches for limiters and their callers; with a folder for the files.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// PEM texts of a certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed").pem();
        let authority = Self {
            folder: tempfile::tempdir().expect("a folder"),
            issuer: Issuer::new(params, key),
            certificate,
        };
        authority.write("ca.crt", &authority.certificate);
        authority
    }

    /// An identity with these names, URIs and DNS names.
    pub(crate) fn identity(&self, names: &[&str]) -> Identity {
        self.sign(names, |_| {})
    }

    /// One that was valid until long ago.
    pub(crate) fn expired(&self, names: &[&str]) -> Identity {
        self.sign(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.subject_alt_names = names
            .iter()
            .map(|name| {
                let text = (*name).try_into().expect("ASCII");
                if name.contains("://") {
                    SanType::URI(text)
                } else {
                    SanType::DnsName(text)
                }
            })
            .collect();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// The PEM text of its own certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.certificate
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.crt")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Writes `identity` as `<name>.crt` and `<name>.key`.
    pub(crate) fn write_identity(&self, name: &str, identity: &Identity) -> (PathBuf, PathBuf) {
        (
            self.write(&format!("{name}.crt"), &identity.certificate),
            self.write(&format!("{name}.key"), &identity.key),
        )
    }
}
