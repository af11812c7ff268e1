//! Files with authorities, which must hold some.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
};
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

/// A file that cannot vouch for anybody.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {} {reason}", path.display())]
pub struct InvalidAuthority {
    setting: String,
    path: PathBuf,
    reason: &'static str,
    source: Option<io::Error>,
}

/// The PEM text of the file at `path`, which `setting` names, if it holds certificates that can vouch
/// for somebody. One that holds a key, or the certificate of a server, would make every handshake
/// fail, or none that it should.
pub fn read_authorities(setting: &str, path: &Path) -> Result<Vec<u8>, InvalidAuthority> {
    let invalid = |reason, source| InvalidAuthority {
        setting: setting.to_owned(),
        path: path.to_owned(),
        reason,
        source,
    };
    let pem = fs::read(path).map_err(|error| invalid("cannot be read", Some(error)))?;
    check_authorities(&pem).map_err(|reason| invalid(reason, None))?;
    Ok(pem)
}

/// An error is what is wrong with `pem`.
pub fn check_authorities(pem: &[u8]) -> Result<(), &'static str> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|_| "is no PEM")?;
    if certificates.is_empty() {
        let is_key = pem.windows(12).any(|part| part == b"PRIVATE KEY-");
        return Err(if is_key {
            "holds a private key, and no certificate of an authority"
        } else {
            "holds no certificate"
        });
    }
    if certificates.iter().any(can_vouch) {
        return Ok(());
    }
    Err("holds no certificate of an authority, but that of a server or a client")
}

/// Whether `certificate` is that of an authority, or vouches for itself.
fn can_vouch(certificate: &CertificateDer<'_>) -> bool {
    let certificate = match EndEntityCert::try_from(certificate) {
        // As of old authorities, which do not say what they are.
        Err(Error::UnsupportedCertVersion) => return true,
        Err(_) => return false,
        Ok(certificate) => certificate,
    };
    let verify = |at| {
        let der = certificate.der();
        let anchors = [anchor_from_trusted_cert(&der)?];
        let algorithms = ring::default_provider()
            .signature_verification_algorithms
            .all;
        let usage = KeyUsage::client_auth();
        let verified =
            certificate.verify_for_usage(algorithms, &anchors, &[], at, usage, None, None);
        verified.map(|_| ())
    };
    // When it began to be valid: whether it still is, is for handshakes to say.
    let at = match verify(UnixTime::since_unix_epoch(Duration::ZERO)) {
        Err(Error::CertNotValidYet { not_before, .. }) => not_before,
        _ => UnixTime::since_unix_epoch(Duration::ZERO),
    };
    matches!(verify(at), Ok(()) | Err(Error::CaUsedAsEndEntity))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    #[test]
    fn only_what_can_vouch_for_somebody_is_an_authority() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, &key);
        let leaf_key = KeyPair::generate().unwrap();
        let of_server = || CertificateParams::new(vec!["server".to_owned()]).unwrap();
        let leaf = of_server().signed_by(&leaf_key, &issuer).unwrap().pem();
        let own = of_server().self_signed(&leaf_key).unwrap().pem();
        let check = |pem: &str| check_authorities(pem.as_bytes());
        assert_eq!(check(&authority), Ok(()));
        assert_eq!(check(&format!("{leaf}{authority}")), Ok(()));
        assert_eq!(check(&own), Ok(()), "it vouches for itself");
        for (pem, reason) in [
            (leaf.as_str(), "that of a server"),
            (&key.serialize_pem(), "a private key"),
            ("", "no certificate"),
            ("nothing of the kind", "no certificate"),
        ] {
            let error = check(pem).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let path = Path::new("/nowhere/ca.crt");
        let error = read_authorities("redis.tls.caFile", path)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("redis.tls.caFile: /nowhere/ca.crt"),
            "{error}"
        );
    }
}
