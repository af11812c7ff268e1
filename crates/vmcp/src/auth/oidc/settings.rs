//! Whose tokens count, and what of that cannot be.

use std::time::Duration;

use reqwest::Url;

use crate::auth::{KeysSettings, ProtectedResource};

/// Whose tokens count, and for whom they must be.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// The issuer's keys. Its name must be the token's `iss`, to the letter.
    pub keys: KeysSettings,
    /// What a token's `aud` must hold.
    pub audience: String,
    /// How far the clocks of the issuer and of this server may differ. Counts in whole seconds,
    /// rounded up.
    pub leeway: Duration,
    /// The URL that callers reach this server by, if they are to be told where to get a token.
    pub resource: Option<String>,
}

/// Why tokens cannot be checked by such settings. Fields are named as in the configuration file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// A field is no URL that can be fetched.
    #[error("{field} must be an http or https URL, not {value:?}")]
    NoUrl {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// A field without which any token, or none, would do.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// A resource is named by a URL without a fragment, by RFC 9728 section 1.2.
    #[error("resource must have no fragment")]
    Fragment,
    /// There is no HTTP client to fetch keys with.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

impl OidcSettings {
    /// The resource, if there is one and everything else can be.
    pub(super) fn check(&self) -> Result<Option<ProtectedResource>, OidcError> {
        http_url("issuer", &self.keys.issuer)?;
        if let Some(url) = &self.keys.jwks_url {
            http_url("jwksUrl", url)?;
        }
        if self.audience.trim().is_empty() {
            return Err(OidcError::Empty("audience"));
        }
        let Some(resource) = &self.resource else {
            return Ok(None);
        };
        let url = http_url("resource", resource)?;
        if url.fragment().is_some() {
            return Err(OidcError::Fragment);
        }
        let issuer = &self.keys.issuer;
        Ok(Some(ProtectedResource::new(resource, &url, issuer)))
    }
}

fn http_url(field: &'static str, value: &str) -> Result<Url, OidcError> {
    // Url::parse forgives blanks, but tokens are compared with the text.
    let is_plain = !value.contains(|c: char| c.is_whitespace() || c.is_control());
    let url = Url::parse(value).ok();
    url.filter(|url| is_plain && matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| OidcError::NoUrl {
            field,
            value: value.to_owned(),
        })
}
