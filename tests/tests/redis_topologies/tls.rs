//! TLS both ways, to one server, to sentinels and their servers, and to a cluster.

use toolgate_redis::{RedisConfig, RedisStore, TlsFiles};
use toolgate_tests::{
    Authority, RedisCluster, RedisServer, SentinelOptions, SentinelTrio, eventually,
};

use crate::{
    authority::{arguments, identity},
    load::limiter,
    store::{decides, open, refused, take_of},
};

/// A server that asks for a certificate of `authority`.
async fn server(authority: &Authority) -> (RedisServer, String) {
    let identity = identity(authority, "server");
    let ca = authority.ca().display().to_string();
    let arguments = ["--tls-auth-clients", "yes", "--tls-ca-cert-file", &ca];
    let (certificate, key) = (&identity.certificate, &identity.key);
    let server = RedisServer::start_with_tls(certificate, key, &arguments).await;
    let server = server.expect("Redis");
    let url = format!("rediss://127.0.0.1:{}", server.tls_port());
    (server, url)
}

fn with(url: &str, tls: TlsFiles) -> RedisStore {
    open(url, |config: &mut RedisConfig| config.tls = tls)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_a_store_that_know_each_other_decide() {
    let authority = Authority::new();
    let (_server, url) = server(&authority).await;
    let identity = identity(&authority, "store");
    let spec = "perUser: {maxTokens: 5, refillPeriod: 1h}";
    let (ca, certificate, key) = (authority.ca(), identity.certificate, identity.key);
    let [ca, certificate, key] = [ca, certificate, key].map(|path| path.display().to_string());
    let files = [
        "--redis-tls-ca-file",
        &ca,
        "--redis-tls-cert-file",
        &certificate,
    ];
    let files = [&files[..], &["--redis-tls-key-file", &key]].concat();
    let limiter = limiter(&url, spec, &files).await;
    crate::load::decides(&limiter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_authority_is_not_trusted() {
    let authority = Authority::new();
    let (_server, url) = server(&authority).await;
    let stranger = Authority::new();
    let store = with(
        &url,
        TlsFiles {
            ca: Some(stranger.ca()),
            identity: Some(identity(&authority, "store")),
        },
    );
    let error = refused(&store, "tls").await;
    assert!(error.contains("invalid peer certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_a_certificate_or_with_a_strangers_is_refused_and_says_so() {
    let authority = Authority::new();
    let (_server, url) = server(&authority).await;
    let stranger = Authority::new();
    for identity in [None, Some(identity(&stranger, "store"))] {
        let ca = Some(authority.ca());
        let store = with(&url, TlsFiles { ca, identity });
        refused(&store, "tls").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_is_named_and_read_again() {
    let authority = Authority::new();
    let (_server, url) = server(&authority).await;
    let identity = identity(&authority, "store");
    let right = std::fs::read(&identity.certificate).expect("a file");
    std::fs::write(&identity.certificate, "nothing of the kind").expect("written");
    let certificate = identity.certificate.clone();
    let store = with(
        &url,
        TlsFiles {
            ca: Some(authority.ca()),
            identity: Some(identity),
        },
    );
    let error = refused(&store, "configuration").await;
    assert!(
        error.contains("certFile") && error.contains("store.crt"),
        "{error}"
    );
    std::fs::write(&certificate, right).expect("written");
    decides(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_their_servers_may_speak_tls_and_ask_for_passwords_of_their_own() {
    let authority = Authority::new();
    let mut server_arguments = arguments(&authority);
    let more = [
        "--tls-replication",
        "yes",
        "--requirepass",
        "of-servers",
        "--masterauth",
        "of-servers",
    ];
    server_arguments.extend(more.map(str::to_owned));
    let arguments = arguments(&authority);
    let mut sentinel_lines: Vec<_> = arguments
        .chunks_exact(2)
        .map(|pair| format!("{} {}", pair[0].trim_start_matches('-'), pair[1]))
        .collect();
    sentinel_lines.extend(
        [
            "tls-replication yes",
            "sentinel auth-pass buckets of-servers",
            "requirepass of-sentinels",
            "sentinel sentinel-pass of-sentinels",
        ]
        .map(str::to_owned),
    );
    let options = SentinelOptions {
        server_arguments,
        sentinel_lines,
        sentinel_login: Some(("default".to_owned(), "of-sentinels".to_owned())),
    };
    let sentinels = SentinelTrio::start_with(&options).await.expect("sentinels");
    let identity = identity(&authority, "store");
    let tls = TlsFiles {
        ca: Some(authority.ca()),
        identity: Some(identity),
    };
    let url = sentinels.url_of("rediss", "default:of-servers@");
    let store = open(&url, |config| {
        config.tls = tls.clone();
        config.sentinel.login.password = Some("of-sentinels".to_owned());
    });
    decides(&store).await;
    // The servers' password is not that of the sentinels.
    let store = open(&url, |config| {
        config.tls = tls;
        config.sentinel.login.password = Some("of-servers".to_owned());
    });
    refused(&store, "wrongpass").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_may_speak_tls() {
    let authority = Authority::new();
    let mut arguments = arguments(&authority);
    arguments.extend(["--tls-cluster", "yes", "--port", "0"].map(str::to_owned));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let cluster = RedisCluster::start_with(&arguments)
        .await
        .expect("a cluster");
    let store = open(&cluster.url_of("rediss", ""), |config| {
        config.tls = TlsFiles {
            ca: Some(authority.ca()),
            identity: Some(identity(&authority, "store")),
        };
    });
    decides(&store).await;
    for number in 0..20 {
        let plan = crate::store::plan(&format!("server-{number}"));
        eventually("every node decides", async || {
            take_of(&store, plan.clone()).await.ok()
        })
        .await;
    }
}
