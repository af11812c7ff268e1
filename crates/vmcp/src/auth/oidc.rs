//! Callers identified by JSON Web Tokens of an `OpenID` Connect issuer.
//!
//! A token counts when one of the issuer's keys has signed it, for this audience, and it is in
//! date. Symmetric algorithms and `none` are refused before any key is looked at: with them the
//! public key would be the secret, or there would be none.

use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde::Deserialize;
use serde_json::Value;
use toolgate_limit::Identity;

use super::{
    Authenticator, ProtectedResource, Unauthorized, bearer,
    keys::{ALGORITHMS, Keys},
};

mod settings;

pub use settings::{OidcError, OidcSettings};

/// Checks bearer tokens.
#[derive(Debug)]
pub struct Oidc {
    issuer: String,
    audience: String,
    leeway: Duration,
    keys: Keys,
    resource: Option<ProtectedResource>,
}

/// Anything goes here, for a refusal should say what is wrong.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: Value,
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    groups: Value,
}

impl Oidc {
    /// Checks tokens by `settings`. Keys are fetched when the first token comes.
    pub fn new(settings: OidcSettings) -> Result<Self, OidcError> {
        Self::with_client(settings, reqwest::Client::builder())
    }

    fn with_client(
        settings: OidcSettings,
        client: reqwest::ClientBuilder,
    ) -> Result<Self, OidcError> {
        Ok(Self {
            resource: settings.check()?,
            issuer: settings.keys.issuer.clone(),
            audience: settings.audience,
            leeway: settings.leeway,
            keys: Keys::with_client(settings.keys, client).map_err(OidcError::Client)?,
        })
    }

    async fn key(&self, header: &Header) -> Result<DecodingKey, Unauthorized> {
        let key = self.keys.find(header.kid.as_deref(), header.alg).await;
        let key = key.map_err(Unauthorized::Unavailable)?;
        key.ok_or_else(|| invalid("the token was signed with an unknown key"))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.validate_nbf = true;
        // In whole seconds, as `exp` mostly is; less than one must not become none.
        let part_of_one = self.leeway.subsec_nanos() > 0;
        validation.leeway = self.leeway.as_secs().saturating_add(part_of_one.into());
        validation
    }
}

#[async_trait]
impl Authenticator for Oidc {
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, Unauthorized> {
        let token = bearer::token(headers)?;
        let header = decode_header(token).map_err(|error| explain(&error))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(invalid("the token's algorithm is not accepted"));
        }
        // RFC 7515, section 4.1.11: such a field must be understood, and none is.
        if header.crit.is_some() {
            return Err(invalid("the token has critical header fields"));
        }
        let key = self.key(&header).await?;
        let decoded = decode::<Claims>(token, &key, &self.validation(header.alg));
        let claims = decoded.map_err(|error| explain(&error))?.claims;
        // RFC 7519, section 4.1.1: one issuer, and no list that it is in.
        if !claims.iss.is_string() {
            return Err(invalid("the token's iss is not text"));
        }
        let user = Identity::new(subject(&claims.sub)?)
            .and_then(|user| user.of_issuer(&self.issuer))
            .map_err(|error| invalid(&format!("the token's subject {error}")))?;
        user.in_groups(groups(claims.groups))
            .map_err(|error| invalid(&format!("the token's groups {error}")))
    }

    fn protected_resource(&self) -> Option<&ProtectedResource> {
        self.resource.as_ref()
    }
}

/// An identity without a subject would be everybody's.
fn subject(sub: &Value) -> Result<&str, Unauthorized> {
    match sub {
        Value::Null => Err(invalid("the token has no sub")),
        Value::String(sub) if sub.is_empty() => Err(invalid("the token has no sub")),
        Value::String(sub) => Ok(sub),
        _ => Err(invalid("the token's sub is not text")),
    }
}

/// The names in the claim `groups`, which has no standard form: a list, or one name.
///
/// No limit looks at groups, so nobody is refused for theirs. What is no name, or too long for
/// one, is left out, as half a name could be another group's; so is what is too many, or too long together.
fn groups(claim: Value) -> Vec<String> {
    let (most, longest) = Identity::MAX_GROUPS;
    let claims = match claim {
        Value::Array(claims) => claims,
        claim => vec![claim],
    };
    let names = claims.into_iter().filter_map(|claim| match claim {
        Value::String(name) => (1..=longest).contains(&name.len()).then_some(name),
        _ => None,
    });
    let mut room = Identity::MAX_BYTES_OF_GROUPS;
    let fit = names.filter(|name| {
        let left = room.checked_sub(name.len() + Identity::BYTES_PER_GROUP);
        room = left.unwrap_or(room);
        left.is_some()
    });
    fit.take(most).collect()
}

fn explain(error: &Error) -> Unauthorized {
    invalid(match error.kind() {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::MissingRequiredClaim(claim) => {
            return invalid(&format!("the token has no {claim}"));
        }
        // A list where text should be, as of `sub`.
        ErrorKind::Json(_) => "a claim of the token is of another kind than RFC 7519 has it",
        _ => "the token is not a JSON Web Token that is accepted here",
    })
}

fn invalid(reason: &str) -> Unauthorized {
    Unauthorized::Invalid(reason.to_owned())
}

#[cfg(test)]
mod tests;
