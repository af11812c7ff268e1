//! Certificates, made on the fly.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "what goes wrong here is wrong with the machine"
)]

use std::{fmt, net::IpAddr, path::PathBuf, process::Command};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256,
    SanType, date_time_ymd,
};

/// Who vouches for servers and their callers; with a folder for the files.
pub struct Authority {
    folder: tempfile::TempDir,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// PEM texts of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// One that nobody knows yet.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // OpenSSL takes a certificate that has its issuer's name for that issuer's own.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "authority");
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

    /// Credentials with these names: URIs, IP addresses and DNS names.
    pub fn credentials(&self, names: &[&str]) -> Credentials {
        self.sign(names, |_| {})
    }

    /// Such credentials with an RSA key of 2,048 bits, which takes most of a processor for a signature.
    /// The program `openssl` makes it.
    pub fn rsa_credentials(&self, names: &[&str]) -> Credentials {
        let arguments = [
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ];
        let made = Command::new("openssl").args(arguments).output();
        let made = String::from_utf8(made.expect("openssl").stdout).expect("PEM");
        let key = KeyPair::from_pem_and_sign_algo(&made, &PKCS_RSA_SHA256).expect("a key");
        self.sign_for(&key, names, |_| {})
    }

    /// Credentials of somebody who is known by a name and an organization, as Kubernetes takes them.
    pub fn credentials_of(&self, name: &str, organization: &str) -> Credentials {
        self.sign(&[], |params| {
            let who = &mut params.distinguished_name;
            who.push(DnType::CommonName, name);
            who.push(DnType::OrganizationName, organization);
        })
    }

    /// One that was valid until long ago.
    pub fn expired(&self, names: &[&str]) -> Credentials {
        self.sign(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Credentials {
        self.sign_for(&KeyPair::generate().expect("a key"), names, change)
    }

    fn sign_for(
        &self,
        key: &KeyPair,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Credentials {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.subject_alt_names = names
            .iter()
            .map(|name| {
                let text = || (*name).try_into().expect("ASCII");
                match name.parse::<IpAddr>() {
                    Ok(address) => SanType::IpAddress(address),
                    Err(_) if name.contains("://") => SanType::URI(text()),
                    Err(_) => SanType::DnsName(text()),
                }
            })
            .collect();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let certificate = params.signed_by(key, &self.issuer).expect("signed");
        Credentials {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// The PEM text of its own certificate.
    pub fn pem(&self) -> &str {
        &self.certificate
    }

    /// The file with its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// The file `name` in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the file `name` in its folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Writes `credentials` as `<name>.crt` and `<name>.key`.
    pub fn write_credentials(&self, name: &str, credentials: &Credentials) -> (PathBuf, PathBuf) {
        (
            self.write(&format!("{name}.crt"), &credentials.certificate),
            self.write(&format!("{name}.key"), &credentials.key),
        )
    }
}
