//! A set of keys, and which of them a token means.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::cut;

/// The keys that can be used, in the order of the document.
#[derive(Debug, Deserialize)]
#[serde(from = "Document")]
pub(super) struct KeySet {
    keys: Vec<(Jwk, DecodingKey)>,
    unusable: Vec<String>,
}

/// The most reasons why keys are left out that are kept, for a log line has an end.
const MAX_UNUSABLE: usize = 4;

/// Asymmetric, all of them.
pub(in crate::auth) const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The shortest modulus, in bits, by RFC 7518, sections 3.3 and 3.5.
const MIN_RSA_BITS: usize = 2_048;

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
                Err(reason) => {
                    set.unusable
                        .push(format!("keys[{place}]: {}", cut(&reason)));
                }
            }
        }
        set
    }
}

fn read(key: &Value) -> Result<(Jwk, DecodingKey), String> {
    let jwk = Jwk::deserialize(key).map_err(|error| error.to_string())?;
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
    if let AlgorithmParameters::RSA(rsa) = &jwk.algorithm {
        let bits = bits(&rsa.n);
        if bits < MIN_RSA_BITS {
            return Err(format!(
                "an RSA key of {bits} bits, which must have {MIN_RSA_BITS} at least"
            ));
        }
    }
    Ok((jwk, decoding))
}

/// The length in bits of a number in base64url, which may begin with zeros.
fn bits(number: &str) -> usize {
    let digits = number.trim_end_matches('=');
    let all = digits.len() * 6 / 8 * 8;
    let rest = digits.trim_start_matches('A');
    let zeros = (digits.len() - rest.len()) * 6;
    let first = rest.bytes().next().map_or(0, |digit| match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        _ => 63,
    });
    // Of its eight bits a digit has the lower six.
    let zeros = zeros + first.leading_zeros() as usize - 2;
    all.saturating_sub(zeros)
}

impl KeySet {
    /// Whether a token of any accepted algorithm could be checked.
    pub(super) fn can_verify(&self) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|(key, _)| ALGORITHMS.iter().any(|algorithm| fits(key, *algorithm)))
    }

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

#[cfg(test)]
mod tests {
    use super::bits;

    #[test]
    fn leading_zeros_make_no_longer_number() {
        assert_eq!(bits("AQAB"), 17);
        assert_eq!(bits("AAEAAQ"), 17, "with a zero before");
        assert_eq!(bits("gA"), 8);
        assert_eq!(bits("_w=="), 8);
        assert_eq!((bits(""), bits("AA"), bits("AAAA")), (0, 0, 0));
        let of_2048 = format!("g{}A", "A".repeat(340));
        assert_eq!(bits(&of_2048), 2_048);
        let of_2047 = format!("Q{}A", "A".repeat(340));
        assert_eq!(bits(&of_2047), 2_047);
    }
}
