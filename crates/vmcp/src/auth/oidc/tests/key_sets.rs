//! Sets of keys as issuers publish them.

use super::*;

impl Key {
    fn json(&self) -> Value {
        json!(self.jwk())
    }

    fn json_with(&self, field: &str, value: Value) -> Value {
        let mut json = self.json();
        json[field] = value;
        json
    }

    fn sign_without_kid(&self, claims: &Value) -> String {
        encode(&Header::new(Algorithm::ES256), claims, &self.encoding).unwrap()
    }
}

async fn with_keys(keys: Value) -> (Issuer, Oidc) {
    let issuer = Issuer::start(&[]).await;
    issuer.publish_document(&json!({"keys": keys}).to_string());
    let oidc = issuer.oidc();
    (issuer, oidc)
}

/// An RSA key, which no test signs with.
fn rsa(kid: &str) -> Value {
    let n = format!("{}A", "u".repeat(341));
    json!({"kty": "RSA", "kid": kid, "n": n, "e": "AQAB"})
}

#[tokio::test]
async fn a_token_without_a_kid_is_of_the_only_key_that_signs_by_its_algorithm() {
    let (key, other) = (Key::new("k1"), Key::new("k2"));
    for first in [
        other.json_with("use", json!("enc")),
        other.json_with("key_ops", json!(["deriveKey"])),
        other.json_with("alg", json!("ECDH-ES")),
        rsa("k2"),
    ] {
        let (issuer, oidc) = with_keys(json!([first, key.json()])).await;
        let answer = ask(&oidc, &key.sign_without_kid(&issuer.claims())).await;
        assert!(answer.is_ok(), "{first}: {answer:?}");
    }
    let (issuer, oidc) = with_keys(json!([key.json(), other.json()])).await;
    let unclear = reason(&oidc, &key.sign_without_kid(&issuer.claims())).await;
    assert_eq!(unclear, "the token was signed with an unknown key");
}

#[tokio::test]
async fn of_keys_with_one_kid_the_first_that_signs_by_the_algorithm_counts() {
    let (key, other) = (Key::new("k1"), Key::new("k1"));
    for first in [other.json_with("use", json!("enc")), rsa("k1")] {
        let (issuer, oidc) = with_keys(json!([first, key.json()])).await;
        let answer = ask(&oidc, &key.sign(&issuer.claims())).await;
        assert!(answer.is_ok(), "{first}: {answer:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_understood_does_not_spoil_the_others() {
    let (key, other) = (Key::new("k1"), Key::new("k2"));
    let odd = json!([
        7,
        {"kid": "k3"},
        other.json_with("kid", json!(7)),
        other.json_with("x", json!("no base64!")),
        {"kty": "AKP", "kid": "k4", "pub": "AQAB"},
        key.json(),
    ]);
    let (issuer, oidc) = with_keys(odd).await;
    ask(&oidc, &key.sign(&issuer.claims())).await.unwrap();
}
