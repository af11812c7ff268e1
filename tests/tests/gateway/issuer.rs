//! An issuer of tokens on a free port.

use axum::{Json, Router, routing::get};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};
use toolgate_limit::{Clock as _, SystemClock};

pub(crate) struct Issuer {
    pub(crate) url: String,
    key: EncodingKey,
    _serve: JoinSet<()>,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let pair = rcgen::KeyPair::generate().expect("a key");
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a key");
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).expect("a key");
        let keys = JwkSet { keys: vec![jwk] };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async || Json(discovery)),
            )
            .route("/keys", get(async || Json(keys)));
        let mut serve = JoinSet::new();
        serve.spawn(async { axum::serve(listener, router).await.expect("served") });
        Self {
            url,
            key,
            _serve: serve,
        }
    }

    /// A token of five minutes for `subject`.
    pub(crate) fn token(&self, subject: &str) -> String {
        let exp = SystemClock::new().now().as_micros() / 1_000_000 + 300;
        let claims = json!({"iss": self.url, "aud": "vmcp", "sub": subject, "exp": exp});
        encode(&Header::new(Algorithm::ES256), &claims, &self.key).expect("signed")
    }
}
