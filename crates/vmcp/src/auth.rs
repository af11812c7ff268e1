//! Who calls, established at the edge and nowhere else.
//!
//! Only what a caller cannot choose counts: a signed token, or that nobody is asked. A header that
//! names a user and the `clientInfo` of MCP are chosen by the caller, and are never looked at.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use axum::http::HeaderMap;
use toolgate_limit::Identity;

mod bearer;
mod keys;
mod oidc;
mod resource;

pub use keys::{KeysError, KeysSettings};
pub use oidc::{Oidc, OidcError, OidcSettings};
pub use resource::ProtectedResource;

/// Establishes who sent a request.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// The caller, by the headers of the request.
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, Unauthorized>;

    /// Whether two callers have two identities. If not, nothing is done for one of them that another
    /// could feel.
    fn tells_apart(&self) -> bool {
        true
    }

    /// What callers who were not let in are told of where to get a token, if it is known.
    fn protected_resource(&self) -> Option<&ProtectedResource> {
        None
    }
}

/// Why a request was refused at the edge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthorized {
    /// No bearer token came with it.
    #[error("a bearer token is required")]
    Missing,
    /// Its token is not good, and why; nothing in it is secret.
    #[error("{0}")]
    Invalid(String),
    /// The issuer's keys could not be had, so that no token can be checked.
    #[error("tokens cannot be checked at this time")]
    Unavailable(#[source] Arc<KeysError>),
}

/// Asks nobody: every caller is the one subject `anonymous`, and shares its buckets with all.
#[derive(Clone, Debug)]
pub struct Anonymous(Identity);

impl Anonymous {
    /// The subject of everybody.
    pub const SUBJECT: &str = "anonymous";

    /// Lets everybody in.
    pub fn new() -> Self {
        // Its length is far below the bound, which is all that could be wrong with a subject.
        Self(Identity::new(Self::SUBJECT).unwrap_or_default())
    }
}

impl Default for Anonymous {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Authenticator for Anonymous {
    async fn authenticate(&self, _: &HeaderMap) -> Result<Identity, Unauthorized> {
        Ok(self.0.clone())
    }

    fn tells_apart(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_header_changes_who_an_anonymous_caller_is() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "x-user",
            "x-forwarded-user",
            "mcp-session-id",
        ] {
            headers.insert(name, "alice".parse().unwrap());
        }
        let identity = Anonymous::new().authenticate(&headers).await.unwrap();
        assert_eq!(identity.subject(), Some("anonymous"));
        assert_eq!(identity.issuer(), None);
    }
}
