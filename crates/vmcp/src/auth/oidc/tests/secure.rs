//! An issuer of https, whose keys come by https too.

use std::net::SocketAddr;

use axum::{response::Redirect, serve::Listener};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};

use super::{log::Log, *};

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else {
                continue;
            };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The routes on https, and a client that trusts them.
async fn https(router: impl FnOnce(&str) -> Router) -> (String, reqwest::ClientBuilder) {
    crate::tls::use_ring();
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], PrivateKeyDer::from(key))
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let router = router(&url);
    tokio::spawn(async { axum::serve(Tls { listener, acceptor }, router).await });
    let root = reqwest::Certificate::from_der(own.cert.der()).unwrap();
    (url, reqwest::Client::builder().tls_certs_only([root]))
}

/// Whoever is on the way of a plain document gives the gateway any key.
#[tokio::test]
async fn of_an_https_issuer_no_key_comes_without_it() {
    const DISCOVERY: &str = "/.well-known/openid-configuration";
    let key = Key::new("k1");
    let plain = Issuer::start(&[&key]).await;
    let keys = json!({"keys": [key.jwk()]}).to_string();
    let discovery = |url: &str, keys: String| json!({"issuer": url, "jwks_uri": keys}).to_string();
    let redirect = |to: String| get(async move || Redirect::temporary(&to));
    let text = |text: String| get(async move || text);
    for (way, said) in [
        ("good", None),
        ("a redirect within https", None),
        ("jwks_uri", Some("which must be https as the issuer is")),
        ("discovery", Some("a redirect leaves https")),
        ("keys", Some("a redirect leaves https")),
        ("jwks_url", Some("a redirect leaves https")),
    ] {
        let log = Log::default();
        let _captured = log.capture();
        let fetched = plain.fetches();
        let (url, client) = https(|url| {
            let own_keys = format!("{url}/keys");
            let plain_keys = format!("{}/keys", plain.url);
            let router = Router::new().route("/moved", text(keys.clone()));
            let good = text(discovery(url, own_keys.clone()));
            match way {
                "jwks_uri" => router.route(DISCOVERY, text(discovery(url, plain_keys))),
                "discovery" => {
                    router.route(DISCOVERY, redirect(format!("{}{DISCOVERY}", plain.url)))
                }
                "good" => router
                    .route(DISCOVERY, good)
                    .route("/keys", text(keys.clone())),
                "a redirect within https" => {
                    let moved = redirect(format!("{url}/moved"));
                    router.route(DISCOVERY, good).route("/keys", moved)
                }
                _ => router
                    .route(DISCOVERY, good)
                    .route("/keys", redirect(plain_keys)),
            }
        })
        .await;
        let keys = KeysSettings {
            jwks_url: (way == "jwks_url").then(|| format!("{url}/keys")),
            ..KeysSettings::of(&url)
        };
        let oidc = Oidc::with_client(settings(keys), client).unwrap();
        let mut claims = plain.claims();
        claims["iss"] = json!(url);
        match (ask(&oidc, &key.sign(&claims)).await, said) {
            (Ok(_), None) => {}
            (Err(Unauthorized::Unavailable(_)), Some(said)) => {
                assert!(log.text().contains(said), "{way}: {}", log.text());
                assert_eq!(plain.fetches(), fetched, "{way}");
            }
            (answer, _) => panic!("{way}: {answer:?}, {}", log.text()),
        }
    }
}
