//! The documents of an issuer: which keys it has, and where they are.

use reqwest::{Client, Url, redirect::Policy};
use serde::{Deserialize, de::DeserializeOwned};

use super::{KeySet, KeysError, KeysSettings};

/// The longest document that is read, in bytes. Real ones have some thousand.
const MAX_BYTES: usize = 1024 * 1024;

const MAX_REDIRECTS: usize = 5;

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

pub(super) async fn fetch(client: &Client, settings: &KeysSettings) -> Result<KeySet, KeysError> {
    if let Some(url) = &settings.jwks_url {
        return keys(client, url).await;
    }
    // OpenID Connect Discovery 1.0, section 4: a trailing slash of the issuer goes.
    let base = settings.issuer.trim_end_matches('/');
    let url = format!("{base}/.well-known/openid-configuration");
    let discovery: Discovery = get(client, &url).await?;
    if discovery.issuer != settings.issuer {
        let found = discovery.issuer;
        return Err(KeysError::OtherIssuer { url, found });
    }
    // OpenID Connect Discovery 1.0, section 3.
    let is_secure = |url: &str| Url::parse(url).is_ok_and(|url| url.scheme() == "https");
    if is_secure(&url) && !is_secure(&discovery.jwks_uri) {
        let found = discovery.jwks_uri;
        return Err(KeysError::Insecure { url, found });
    }
    keys(client, &discovery.jwks_uri).await
}

/// Follows redirects, but never from https to what anybody on the way could change.
pub(super) fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let came_by = |scheme| attempt.previous().iter().any(|url| url.scheme() == scheme);
        if came_by("https") && attempt.url().scheme() != "https" {
            attempt.error("a redirect leaves https")
        } else if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else {
            attempt.follow()
        }
    })
}

/// A set of which no key can be used is a fault of the issuer, and none of the tokens.
async fn keys(client: &Client, url: &str) -> Result<KeySet, KeysError> {
    let set: KeySet = get(client, url).await?;
    if set.can_verify() {
        return Ok(set);
    }
    let unusable = set.unusable().join("; ");
    let separator = if unusable.is_empty() { "" } else { ": " };
    Err(KeysError::NoKeys {
        url: url.to_owned(),
        unusable: format!("{separator}{unusable}"),
    })
}

async fn get<T: DeserializeOwned>(client: &Client, url: &str) -> Result<T, KeysError> {
    let failed = |source: reqwest::Error| KeysError::Fetch {
        url: url.to_owned(),
        source: source.without_url(),
    };
    let answer = client.get(url).send().await;
    let mut answer = answer
        .and_then(reqwest::Response::error_for_status)
        .map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(KeysError::TooLong {
                url: url.to_owned(),
                max: MAX_BYTES,
            });
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|source| KeysError::Read {
        url: url.to_owned(),
        source,
    })
}
