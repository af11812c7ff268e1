//! The block `incomingAuth`.

use std::time::Duration;

use serde::Deserialize;

use super::text;
use crate::auth::{KeysSettings, OidcSettings};

/// Who may call. What is not known here is an error: it may be meant to keep somebody out.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum IncomingAuth {
    /// Everybody, as one subject.
    // With braces, for what else stands in the block must be an error.
    Anonymous {},
    /// Who has a token of an issuer.
    Oidc {
        /// Which issuer, and for whom.
        oidc: OidcConfig,
    },
}

/// An `OpenID` Connect issuer and its tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcConfig {
    /// The issuer, as tokens name it.
    pub issuer: String,
    /// Whom tokens must be for.
    pub audience: String,
    /// Where its keys are, if it has no discovery document.
    pub jwks_url: Option<String>,
    /// The URL that callers reach this server by, for those who ask where to get a token. What
    /// stands before this server can change it, so it has no default.
    pub resource: Option<String>,
    /// How far clocks may differ.
    #[serde(default, deserialize_with = "text::duration")]
    pub leeway: Option<Duration>,
}

const DEFAULT_LEEWAY: Duration = Duration::from_mins(1);

impl OidcConfig {
    pub(crate) fn settings(&self) -> OidcSettings {
        OidcSettings {
            keys: KeysSettings {
                jwks_url: self.jwks_url.clone(),
                ..KeysSettings::of(&self.issuer)
            },
            audience: self.audience.clone(),
            leeway: self.leeway.unwrap_or(DEFAULT_LEEWAY),
            resource: self.resource.clone(),
        }
    }
}
