//! What the caller at the other end of a connection may do.
//!
//! It is worked out once a connection, from the certificate, and asked once a check and once an
//! administrative call.

use rustls::pki_types::CertificateDer;
use tonic::Status;
use toolgate_limit::ServerId;
use webpki::EndEntityCert;

use super::status;
use crate::{CallerRule, ServerPattern};

/// By what callers are told apart.
#[derive(Debug)]
pub(crate) struct CallerRules {
    pub(crate) callers: Vec<CallerRule>,
    /// Whether callers without a certificate may use `AdminService`: they are on this machine, or
    /// it was asked for.
    pub(crate) open_admin: bool,
}

/// What one caller may do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    servers: Servers,
    admin: Admission,
}

#[derive(Debug, PartialEq, Eq)]
enum Servers {
    All,
    These(Vec<ServerPattern>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Open,
    /// Callers are listed, and this one not as an administrator.
    NotListed,
    /// Nobody is listed, and this caller has shown no certificate.
    Unknown,
}

impl CallerRules {
    /// What the caller with `certificate`, which was verified, may do.
    pub(crate) fn caller(&self, certificate: Option<&CertificateDer<'_>>) -> Caller {
        if self.callers.is_empty() {
            let is_known = certificate.is_some() || self.open_admin;
            return Caller {
                servers: Servers::All,
                admin: if is_known {
                    Admission::Open
                } else {
                    Admission::Unknown
                },
            };
        }
        // Who was verified can be read; who cannot be read has no name, and is granted nothing.
        let certificate = certificate.and_then(|der| EndEntityCert::try_from(der).ok());
        let rules: Vec<_> = self
            .callers
            .iter()
            .filter(|rule| certificate.as_ref().is_some_and(|of| fits(rule, of)))
            .collect();
        let is_admin = rules.iter().any(|rule| rule.admin);
        Caller {
            servers: Servers::These(
                rules
                    .into_iter()
                    .flat_map(|rule| rule.servers.iter().cloned())
                    .collect(),
            ),
            admin: if is_admin {
                Admission::Open
            } else {
                Admission::NotListed
            },
        }
    }
}

fn fits(rule: &CallerRule, certificate: &EndEntityCert<'_>) -> bool {
    let of_dns = |name| rule.san.fits_dns(name);
    let of_uri = |uri| rule.san.fits_uri(uri);
    certificate.valid_dns_names().any(of_dns) || certificate.valid_uri_names().any(of_uri)
}

impl Caller {
    /// Refuses checks of servers that are not this caller's. To be asked before any token is taken.
    pub(crate) fn may_check(&self, server: &ServerId) -> Result<(), Status> {
        match &self.servers {
            Servers::All => Ok(()),
            Servers::These(servers) if servers.iter().any(|of| of.fits(server)) => Ok(()),
            Servers::These(_) => Err(status::not_your_server(server)),
        }
    }

    /// Refuses `AdminService`.
    pub(crate) fn may_administer(&self) -> Result<(), Status> {
        match self.admin {
            Admission::Open => Ok(()),
            Admission::NotListed => Err(status::no_administrator()),
            Admission::Unknown => Err(status::unknown_administrator()),
        }
    }
}

#[cfg(test)]
mod tests;
