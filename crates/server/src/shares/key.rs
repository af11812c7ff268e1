//! Who a caller is, as far as its share goes.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use tokio_util::either::Either;
use toolgate_net::Address;
use webpki::EndEntityCert;

use crate::socket::Loose;

/// A caller: the names of its certificate, or else where it connects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CallerKey {
    /// The hash of the names of a certificate. A new certificate for the same names is the same caller.
    Names([u8; 32]),
    Address(Address),
    /// Whoever connects to a Unix socket.
    Unix,
}

impl CallerKey {
    /// By the address at the other end of `connection`. None: the connection is gone.
    pub(crate) fn of(connection: &Loose) -> Option<Self> {
        match connection {
            Either::Left(tcp) => Some(Self::of_ip(tcp.peer_addr().ok()?.ip())),
            Either::Right(_) => Some(Self::Unix),
        }
    }

    pub(crate) fn of_ip(ip: IpAddr) -> Self {
        Self::Address(ip.into())
    }

    /// By a certificate that was verified.
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Self {
        let mut hash = Sha256::new();
        let mut names = EndEntityCert::try_from(certificate)
            .map(|certificate| {
                let names = certificate.valid_dns_names();
                let names = names.chain(certificate.valid_uri_names());
                names.map(str::to_owned).collect::<Vec<_>>()
            })
            .unwrap_or_default();
        if names.is_empty() {
            hash.update(certificate);
        }
        names.sort_unstable();
        for name in names {
            hash.update(name);
            // No name has such a byte.
            hash.update([0]);
        }
        Self::Names(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_caller_is_an_address_or_a_network_of_ipv6() {
        let of = |ip: &str| CallerKey::of_ip(ip.parse().expect("an address"));
        assert_ne!(of("127.0.0.1"), of("127.0.0.2"));
        assert_eq!(of("127.0.0.1"), of("::ffff:127.0.0.1"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    #[test]
    fn a_new_certificate_for_the_same_names_is_the_same_caller() {
        let certificate = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let parameters = CertificateParams::new(names).expect("names");
            let key = KeyPair::generate().expect("a key");
            let certificate = parameters.self_signed(&key).expect("a certificate");
            CallerKey::of_certificate(certificate.der())
        };
        let one = certificate(&["a.example", "b.example"]);
        assert_eq!(one, certificate(&["b.example", "a.example"]));
        for other in [&["a.example"][..], &["a.exampleb.example"], &[]] {
            assert_ne!(one, certificate(other));
        }
        assert_ne!(certificate(&[]), certificate(&[]), "each is its own");
    }
}
