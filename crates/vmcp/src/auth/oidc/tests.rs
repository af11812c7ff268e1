use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header::AUTHORIZATION},
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use jsonwebtoken::{EncodingKey, encode, jwk::Jwk};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::RwLock};
use toolgate_limit::{Clock, SystemClock};

use super::*;
use crate::auth::KeysSettings;

mod claims;
mod key_sets;
mod kit;
mod log;
mod outages;
mod secure;
mod start;

/// An issuer on a free port, whose keys can be changed.
struct Issuer {
    url: String,
    served: Arc<Served>,
}

#[derive(Default)]
struct Served {
    /// The document of the keys.
    keys: Mutex<String>,
    /// How often each document was asked for.
    discoveries: AtomicUsize,
    fetches: AtomicUsize,
    is_down: AtomicBool,
    /// How the document of the keys is answered, if not well.
    broken: Mutex<Option<Broken>>,
    /// Who holds one keeps the answer back.
    before_discovery: Arc<RwLock<()>>,
    before_keys: Arc<RwLock<()>>,
}

/// What an issuer does in place of an answer.
#[derive(Clone)]
enum Broken {
    Silent,
    Slow,
    Status(StatusCode),
    Redirect(String),
    Document(String),
}

impl Served {
    async fn discovery(&self, document: String) -> (StatusCode, String) {
        self.discoveries.fetch_add(1, Ordering::SeqCst);
        let _pass = self.before_discovery.read().await;
        self.answer(document)
    }

    async fn keys(&self) -> Response {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let _pass = self.before_keys.read().await;
        let broken = self.broken.lock().unwrap().clone();
        match broken {
            None => {
                let document = self.keys.lock().unwrap().clone();
                self.answer(document).into_response()
            }
            Some(Broken::Silent) => std::future::pending().await,
            Some(Broken::Slow) => kit::trickle(),
            Some(Broken::Status(status)) => status.into_response(),
            Some(Broken::Redirect(to)) => Redirect::temporary(&to).into_response(),
            Some(Broken::Document(document)) => document.into_response(),
        }
    }

    fn answer(&self, document: String) -> (StatusCode, String) {
        if self.is_down.load(Ordering::SeqCst) {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        (StatusCode::OK, document)
    }

    /// Returns when `count` is `expected`.
    async fn until(count: &AtomicUsize, expected: usize) {
        while count.load(Ordering::SeqCst) < expected {
            tokio::task::yield_now().await;
        }
    }
}

struct Key {
    kid: &'static str,
    encoding: EncodingKey,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let encoding = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self { kid, encoding }
    }

    fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.encoding, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.kid.to_owned());
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.to_owned());
        encode(&header, claims, &self.encoding).unwrap()
    }
}

impl Issuer {
    async fn start(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::new(Served::default());
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string();
        let (first, second) = (Arc::clone(&served), Arc::clone(&served));
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || first.discovery(discovery).await),
            )
            .route("/keys", get(async move || second.keys().await));
        tokio::spawn(async { axum::serve(listener, router).await });
        let issuer = Self { url, served };
        issuer.publish(keys);
        issuer
    }

    fn publish(&self, keys: &[&Key]) {
        let keys: Vec<_> = keys.iter().map(|key| json!(key.jwk())).collect();
        self.publish_document(&json!({"keys": keys}).to_string());
    }

    fn publish_document(&self, document: &str) {
        document.clone_into(&mut self.served.keys.lock().unwrap());
    }

    fn breaks(&self, how: Option<Broken>) {
        *self.served.broken.lock().unwrap() = how;
    }

    fn fetches(&self) -> usize {
        self.served.fetches.load(Ordering::SeqCst)
    }

    fn oidc(&self) -> Oidc {
        self.oidc_that_fetches_again_after(Duration::from_secs(10))
    }

    fn oidc_that_fetches_again_after(&self, min_interval: Duration) -> Oidc {
        oidc_with(KeysSettings {
            min_interval,
            ..KeysSettings::of(&self.url)
        })
    }

    fn claims(&self) -> Value {
        let exp = now() + 300;
        json!({"iss": self.url, "aud": ["other", "vmcp"], "sub": "alice", "exp": exp, "groups": ["g"]})
    }

    fn claims_with(&self, field: &str, value: Value) -> Value {
        let mut claims = self.claims();
        claims[field] = value;
        claims
    }
}

fn settings(keys: KeysSettings) -> OidcSettings {
    OidcSettings {
        keys,
        audience: "vmcp".to_owned(),
        leeway: Duration::from_secs(30),
        resource: None,
    }
}

fn oidc_with(keys: KeysSettings) -> Oidc {
    Oidc::new(settings(keys)).unwrap()
}

fn now() -> u64 {
    SystemClock::new().now().as_micros() / 1_000_000
}

async fn ask(oidc: &Oidc, token: &str) -> Result<Identity, Unauthorized> {
    let mut headers = HeaderMap::new();
    let value = format!("Bearer {token}").parse().unwrap();
    headers.insert(AUTHORIZATION, value);
    oidc.authenticate(&headers).await
}

async fn reason(oidc: &Oidc, token: &str) -> String {
    match ask(oidc, token).await {
        Err(Unauthorized::Invalid(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_good_token_is_an_identity_of_its_issuer() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let oidc = issuer.oidc();
    let identity = ask(&oidc, &key.sign(&issuer.claims())).await.unwrap();
    assert_eq!(identity.subject(), Some("alice"));
    assert_eq!(identity.issuer(), Some(issuer.url.as_str()));
    assert_eq!(identity.groups(), ["g"]);

    ask(&oidc, &key.sign(&issuer.claims())).await.unwrap();
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_request_without_a_token_is_told_to_bring_one() {
    let key = Key::new("k1");
    let oidc = Issuer::start(&[&key]).await.oidc();
    let error = oidc.authenticate(&HeaderMap::new()).await.unwrap_err();
    assert!(matches!(error, Unauthorized::Missing));
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_and_told_why() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let oidc = issuer.oidc();
    for (field, value, expected) in [
        ("exp", json!(now() - 60), "the token has expired"),
        ("nbf", json!(now() + 300), "the token is not valid yet"),
        ("aud", json!("other"), "the token is for another audience"),
        (
            "iss",
            json!("https://elsewhere"),
            "the token is of another issuer",
        ),
        ("sub", json!(""), "the token has no sub"),
        (
            "sub",
            json!("x".repeat(3_000)),
            "the token's subject must be at most 2048 bytes long, not 3000",
        ),
    ] {
        let token = key.sign(&issuer.claims_with(field, value));
        assert_eq!(reason(&oidc, &token).await, expected, "{field}");
    }
    for field in ["exp", "aud", "iss", "sub"] {
        let mut claims = issuer.claims();
        claims.as_object_mut().unwrap().remove(field);
        let reason = reason(&oidc, &key.sign(&claims)).await;
        assert!(reason.contains("token"), "{field}: {reason}");
    }
}

#[tokio::test]
async fn the_clocks_of_issuer_and_server_may_differ_a_little() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let just_expired = issuer.claims_with("exp", json!(now() - 10));
    assert!(ask(&issuer.oidc(), &key.sign(&just_expired)).await.is_ok());
}

#[tokio::test]
async fn an_unsigned_or_symmetric_token_is_refused_without_a_look_at_the_keys() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let oidc = issuer.oidc();
    // {"alg":"none","kid":"k1"}
    let signed = key.sign(&issuer.claims());
    let claims = signed.split('.').nth(1).unwrap();
    let none = format!("eyJhbGciOiJub25lIiwia2lkIjoiazEifQ.{claims}.");
    let secret = EncodingKey::from_secret(b"the public key");
    let symmetric = encode(&Header::new(Algorithm::HS256), &issuer.claims(), &secret).unwrap();

    for token in [none.as_str(), symmetric.as_str(), "", "a.b.c", "abc"] {
        reason(&oidc, token).await;
    }
    assert_eq!(issuer.fetches(), 0);
}

#[tokio::test]
async fn a_token_signed_with_another_key_is_refused() {
    let (key, stranger, imposter) = (Key::new("k1"), Key::new("k2"), Key::new("k1"));
    let issuer = Issuer::start(&[&key]).await;
    let oidc = issuer.oidc();
    let unknown = reason(&oidc, &stranger.sign(&issuer.claims())).await;
    assert_eq!(unknown, "the token was signed with an unknown key");
    let wrong = reason(&oidc, &imposter.sign(&issuer.claims())).await;
    assert_eq!(wrong, "the token's signature is wrong");
}

#[tokio::test]
async fn a_rotated_key_is_found_but_nonsense_does_not_hammer_the_issuer() {
    let (old, new) = (Key::new("k1"), Key::new("k2"));
    let issuer = Issuer::start(&[&old]).await;
    let oidc = issuer.oidc_that_fetches_again_after(Duration::ZERO);
    ask(&oidc, &old.sign(&issuer.claims())).await.unwrap();

    issuer.publish(&[&new]);
    ask(&oidc, &new.sign(&issuer.claims())).await.unwrap();
    reason(&oidc, &old.sign(&issuer.claims())).await;

    let patient = issuer.oidc();
    let before = issuer.fetches();
    for _ in 0..50 {
        reason(&patient, &old.sign(&issuer.claims())).await;
    }
    assert_eq!(issuer.fetches() - before, 1);
}

#[tokio::test]
async fn without_keys_nobody_is_let_in() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let nowhere = KeysSettings {
        jwks_url: Some("http://127.0.0.1:1/keys".to_owned()),
        ..KeysSettings::of(&issuer.url)
    };
    let oidc = oidc_with(nowhere);
    for _ in 0..2 {
        let error = ask(&oidc, &key.sign(&issuer.claims())).await.unwrap_err();
        assert!(matches!(error, Unauthorized::Unavailable(_)), "{error:?}");
    }
}
