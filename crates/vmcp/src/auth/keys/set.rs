//! A set of keys, and which of them a token means.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// The keys that can be used, in the order of the document.
#[derive(Debug, Deserialize)]
#[serde(from = "Document")]
pub(super) struct KeySet {
    keys: Vec<(Jwk, DecodingKey)>,
    unusable: Vec<String>,
}

/// The most reasons why keys are left out that are kept, for a log line has an end.
const MAX_UNUSABLE: usize = 4;

/// By RFC 7517, section 5, one key that is not understood does not spoil the others.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl From<Document> for KeySet {
    fn from(document: Document) -> Self {
        let mut set = Self {
            keys: Vec::new(),
            unusable: Vec::new(),
        };
        for (place, key) in document.keys.iter().enumerate() {
            match read(key) {
                Ok(key) => set.keys.push(key),
                Err(_) if set.unusable.len() == MAX_UNUSABLE => {}
                Err(reason) => set.unusable.push(format!("keys[{place}]: {reason}")),
            }
        }
        set
    }
}

fn read(key: &Value) -> Result<(Jwk, DecodingKey), String> {
    let jwk = Jwk::deserialize(key).map_err(|error| error.to_string())?;
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
    Ok((jwk, decoding))
}

impl KeySet {
    /// The first key `kid` for signatures of `algorithm`, or the only one for them if no `kid` is
    /// given: by `OpenID` Connect Core 1.0, section 10.1, a token must say which of many it is.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let mut fitting = self.keys.iter().filter(|(jwk, _)| {
            let is_meant = kid.is_none_or(|kid| jwk.common.key_id.as_deref() == Some(kid));
            is_meant && fits(jwk, algorithm)
        });
        let (_, key) = fitting.next()?;
        let is_clear = kid.is_some() || fitting.next().is_none();
        is_clear.then(|| key.clone())
    }

    /// What is wrong with the first of the keys that were left out.
    pub(super) fn unusable(&self) -> &[String] {
        &self.unusable
    }
}

/// Whether `key` is of the kind that signs by `algorithm`, and is meant to.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let common = &key.common;
    let for_signatures = common
        .public_key_use
        .as_ref()
        .is_none_or(|used| *used == PublicKeyUse::Signature);
    let may_verify = common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let of_algorithm = common
        .key_algorithm
        .is_none_or(|own| own == algorithm.into());
    for_signatures && may_verify && of_algorithm && is_of_kind(&key.algorithm, algorithm)
}

fn is_of_kind(key: &AlgorithmParameters, algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match algorithm {
        RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => {
            matches!(key, AlgorithmParameters::RSA(_))
        }
        ES256 => is_on(key, &EllipticCurve::P256),
        ES384 => is_on(key, &EllipticCurve::P384),
        EdDSA => {
            matches!(key, AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519)
        }
        // Symmetric ones, with which the public key would be the secret.
        _ => false,
    }
}

fn is_on(key: &AlgorithmParameters, curve: &EllipticCurve) -> bool {
    matches!(key, AlgorithmParameters::EllipticCurve(key) if key.curve == *curve)
}
