//! Which tokens and keys are let in, which are refused and what the log says then, and what a broken
//! issuer costs. docs/security.md has the same tables.

use axum::body::{Body, Bytes};
use futures::{FutureExt as _, stream};

use super::{log::Log, *};

/// RSA keys of 512 to 3072 bits and one of Ed25519, with a token that each has signed for
/// `https://id.example.com`, good until the year 2100. Nobody has their private keys any more.
const SIGNED: &str = include_str!("keys.json");

/// Checks tokens of `https://id.example.com` by this document of keys.
async fn with_document(document: &Value) -> (Issuer, Oidc) {
    let issuer = Issuer::start(&[]).await;
    issuer.publish_document(&document.to_string());
    let oidc = oidc_with(KeysSettings {
        jwks_url: Some(format!("{}/keys", issuer.url)),
        ..KeysSettings::of("https://id.example.com")
    });
    (issuer, oidc)
}

fn claims() -> Value {
    json!({"iss": "https://id.example.com", "aud": "vmcp", "sub": "alice", "exp": now() + 300})
}

#[tokio::test]
async fn claims_are_of_the_kind_that_they_should_be() {
    let key = Key::new("k1");
    let (_issuer, oidc) = with_document(&json!({"keys": [key.jwk()]})).await;
    let iss = "https://id.example.com";
    for (field, value, refused) in [
        ("iss", json!(iss), None),
        ("iss", json!([iss]), Some("the token's iss is not text")),
        (
            "iss",
            json!([iss, iss]),
            Some("the token's iss is not text"),
        ),
        ("iss", json!([]), Some("the token is of another issuer")),
        (
            "iss",
            json!([iss, "https://evil.example"]),
            Some("the token's iss is not text"),
        ),
        (
            "iss",
            json!(format!("{iss}/")),
            Some("the token is of another issuer"),
        ),
        ("iss", json!({"a": iss}), Some("the token has no iss")),
        ("aud", json!("vmcp"), None),
        ("aud", json!(["other", "vmcp"]), None),
        ("aud", json!([]), Some("the token is for another audience")),
        (
            "aud",
            json!("VMCP"),
            Some("the token is for another audience"),
        ),
        (
            "sub",
            json!(["alice"]),
            Some("a claim of the token is of another kind than RFC 7519 has it"),
        ),
        ("sub", json!(7), Some("the token's sub is not text")),
        ("exp", json!(now() - 300), Some("the token has expired")),
        ("exp", json!("soon"), Some("the token has no exp")),
        (
            "nbf",
            json!(now() + 300),
            Some("the token is not valid yet"),
        ),
    ] {
        let mut claims = claims();
        claims[field] = value.clone();
        let token = key.sign(&claims);
        match refused {
            None => assert!(ask(&oidc, &token).await.is_ok(), "{field}: {value}"),
            Some(refused) => assert_eq!(reason(&oidc, &token).await, refused, "{field}: {value}"),
        }
    }
}

/// By RFC 7518, sections 3.3 and 3.5. Tokens of a key that can be factored were let in.
#[tokio::test]
async fn an_rsa_key_has_2048_bits_at_least() {
    let good = Key::new("k1");
    let signed: Vec<Value> = serde_json::from_str(SIGNED).unwrap();
    let log = Log::default();
    let _captured = log.capture();
    let mut let_in = Vec::new();
    for signed in signed {
        let kid = signed["jwk"]["kid"].as_str().unwrap();
        let document = json!({"keys": [signed["jwk"], good.jwk()]});
        let (_issuer, oidc) = with_document(&document).await;
        ask(&oidc, &good.sign(&claims())).await.unwrap();
        match ask(&oidc, signed["token"].as_str().unwrap()).await {
            Ok(identity) => {
                assert_eq!(identity.subject(), Some("alice"));
                let_in.push(kid.to_owned());
            }
            Err(Unauthorized::Invalid(reason)) => {
                assert_eq!(reason, "the token was signed with an unknown key");
                let bits = kid.strip_prefix("rsa-").unwrap();
                let line = format!("keys[0]: an RSA key of {bits} bits");
                assert!(log.text().contains(&line), "{}", log.text());
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(let_in, ["rsa-2048", "rsa-3072", "ed25519"]);
}

/// Keys that no token could be checked with replaced the good ones, and the log said nothing.
#[tokio::test]
async fn a_set_without_a_usable_key_is_a_fault_of_the_issuer() {
    let key = Key::new("k1");
    let mut encrypts = json!(key.jwk());
    encrypts["use"] = json!("enc");
    let weak = serde_json::from_str::<Value>(SIGNED).unwrap()[1]["jwk"].clone();
    for (keys, said) in [
        (json!([]), "has no key that can be used"),
        (json!([encrypts]), "has no key that can be used"),
        (
            json!([{"kty": "oct", "kid": "k1", "k": "c2VjcmV0"}]),
            "has no key that can be used",
        ),
        (json!([weak]), "keys[0]: an RSA key of 1024 bits"),
        (json!([7]), "has no key that can be used: keys[0]: "),
    ] {
        let log = Log::default();
        let _captured = log.capture();
        let (_issuer, oidc) = with_document(&json!({"keys": keys})).await;
        for _ in 0..3 {
            let error = ask(&oidc, &key.sign(&claims())).await.unwrap_err();
            assert!(matches!(error, Unauthorized::Unavailable(_)), "{error:?}");
        }
        let text = log.text();
        assert_eq!(text.matches("nobody is let in").count(), 1, "{text}");
        assert!(text.contains(said), "{said}: {text}");
    }
}

/// One byte every 10 ms, without end.
pub(super) fn trickle() -> Response {
    let bytes = stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
    });
    Body::from_stream(Box::pin(bytes)).into_response()
}

#[tokio::test]
async fn a_broken_issuer_costs_a_caller_whose_key_is_known_nothing() {
    let (key, new) = (Key::new("k1"), Key::new("k2"));
    let weak = serde_json::from_str::<Value>(SIGNED).unwrap()[0]["jwk"].clone();
    let document = |text: String| Broken::Document(text);
    for (how, said) in [
        (Broken::Silent, "did not come within"),
        (Broken::Slow, "did not come within"),
        (Broken::Status(StatusCode::INTERNAL_SERVER_ERROR), "500"),
        (Broken::Status(StatusCode::NOT_FOUND), "404"),
        (Broken::Redirect("/keys".to_owned()), "too many redirects"),
        (
            Broken::Redirect("ftp://127.0.0.1/keys".to_owned()),
            "cannot fetch",
        ),
        (document("<html>Sign in</html>".to_owned()), "cannot read"),
        (document(String::new()), "cannot read"),
        (document("{}".to_owned()), "missing field `keys`"),
        (document(r#"{"keys": null}"#.to_owned()), "cannot read"),
        (
            document(r#"{"keys": []}"#.to_owned()),
            "has no key that can be used",
        ),
        (
            document(json!({"keys": [weak]}).to_string()),
            "an RSA key of 512 bits",
        ),
        (document(" ".repeat(1_100_000)), "longer than 1048576 bytes"),
    ] {
        let log = Log::default();
        let _captured = log.capture();
        let issuer = Issuer::start(&[&key]).await;
        let settings = KeysSettings {
            min_interval: Duration::ZERO,
            timeout: Duration::from_millis(500),
            ..KeysSettings::of(&issuer.url)
        };
        let oidc = Arc::new(oidc_with(settings.clone()));
        let (known, unknown) = (key.sign(&issuer.claims()), new.sign(&issuer.claims()));
        ask(&oidc, &known).await.unwrap();
        let is_let_in_at_once = || ask(&oidc, &known).now_or_never().is_some_and(|a| a.is_ok());

        issuer.breaks(Some(how.clone()));
        let fetches = issuer.fetches();
        let waits = tokio::spawn({
            let (oidc, unknown) = (Arc::clone(&oidc), unknown.clone());
            async move { reason(&oidc, &unknown).await }
        });
        Served::until(&issuer.served.fetches, fetches + 1).await;
        assert!(is_let_in_at_once(), "while it is asked: {said}");
        let refused = waits.await.unwrap();
        assert_eq!(
            refused, "the token was signed with an unknown key",
            "{said}"
        );
        assert!(is_let_in_at_once(), "afterwards: {said}");
        let text = log.text();
        assert!(text.contains(said), "{said}: {text}");
        assert_eq!(text.matches("old ones are used").count(), 1, "{text}");

        // Without any key, nobody can be let in.
        let error = ask(&oidc_with(settings), &known).await.unwrap_err();
        assert!(matches!(error, Unauthorized::Unavailable(_)), "{error:?}");
        let text = log.text();
        assert_eq!(text.matches("nobody is let in").count(), 1, "{text}");

        issuer.breaks(None);
        issuer.publish(&[&key, &new]);
        ask(&oidc, &unknown).await.unwrap();
        assert!(log.text().contains("can be had again"), "{}", log.text());
    }
}

/// Whoever came first after an hour waited for the fetch, five seconds where the issuer was slow.
#[tokio::test]
async fn old_keys_are_fetched_again_without_a_caller_who_waits() {
    let (old, new) = (Key::new("k1"), Key::new("k2"));
    let issuer = Issuer::start(&[&old]).await;
    let oidc = oidc_with(KeysSettings {
        max_age: Duration::from_millis(20),
        min_interval: Duration::from_millis(20),
        ..KeysSettings::of(&issuer.url)
    });
    let token = old.sign(&issuer.claims());
    ask(&oidc, &token).await.unwrap();
    let at_once = || ask(&oidc, &token).now_or_never();

    let held = Arc::clone(&issuer.served.before_keys).write_owned().await;
    let fetches = issuer.fetches();
    Served::until(&issuer.served.fetches, fetches + 1).await;
    assert!(matches!(at_once(), Some(Ok(_))), "while they are fetched");
    drop(held);

    // Nobody asks until the keys that were withdrawn have gone.
    issuer.publish(&[&new]);
    let fetches = issuer.fetches();
    Served::until(&issuer.served.fetches, fetches + 3).await;
    let gone = reason(&oidc, &token).await;
    assert_eq!(gone, "the token was signed with an unknown key");

    drop(oidc);
    tokio::time::sleep(Duration::from_millis(60)).await;
    let fetches = issuer.fetches();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(issuer.fetches(), fetches, "nobody checks tokens any more");
}
