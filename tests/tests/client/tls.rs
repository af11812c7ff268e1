//! TLS both ways, by files.

use std::path::Path;

use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use toolgate_client::{Cause, ClientConfig, ConfigFault, TlsFiles, TlsIdentity, Verdict};
use toolgate_tests::{Authority, FakeLimiter, Limiter, Manner, eventually};

use crate::load::{call, config, gateway};

/// Credentials for `gateway`, in files.
fn gateway_identity(authority: &Authority) -> TlsIdentity {
    let credentials = authority.credentials(&["gateway"]);
    let (certificate, key) = authority.write_credentials("client", &credentials);
    TlsIdentity { certificate, key }
}

/// A limiter that knows callers by their certificates.
fn limiter(authority: &Authority) -> FakeLimiter {
    let credentials = authority.credentials(&["localhost"]);
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(credentials.certificate, credentials.key))
        .client_ca_root(Certificate::from_pem(authority.pem()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    FakeLimiter::start_on(listener, Manner::Deny, Some(tls))
}

fn settings(endpoint: &str, ca: &Path, identity: Option<TlsIdentity>) -> ClientConfig {
    ClientConfig {
        tls: Some(TlsFiles {
            ca: ca.to_owned(),
            identity,
            server_name: None,
        }),
        ..config(endpoint)
    }
}

async fn is_denied(settings: ClientConfig) {
    let gateway = gateway(settings);
    eventually("the limiter is obeyed", async || {
        let verdict = gateway.check(call()).await;
        matches!(verdict, Verdict::Denied(_)).then_some(())
    })
    .await;
}

async fn is_kept_out(settings: ClientConfig) {
    let gateway = gateway(settings);
    for _ in 0..100 {
        let verdict = gateway.check(call()).await;
        assert_eq!(verdict, Verdict::Allowed { decided: false });
    }
    assert_eq!(gateway.counters().undecided(Cause::Unreachable), 100);
}

/// As [`is_kept_out`], for what the client itself finds wrong.
async fn is_at_fault(settings: ClientConfig) {
    let gateway = gateway(settings);
    eventually("a fault of configuration is counted as one", async || {
        assert_eq!(
            gateway.check(call()).await,
            Verdict::Allowed { decided: false }
        );
        (gateway.limiter().config_faults(ConfigFault::Tls) > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_limiter_and_its_caller_know_each_other_by_their_certificates() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let limiter = limiter(&authority);
    let port = limiter.address().port();
    let url = format!("https://localhost:{port}");
    let identity = || Some(gateway_identity(&authority));

    is_denied(settings(&url, &authority.ca(), identity())).await;
    let dns = format!("dns:///localhost:{port}");
    is_denied(settings(&dns, &authority.ca(), identity())).await;
    let by_address = format!("https://127.0.0.1:{port}");
    let mut named = settings(&by_address, &authority.ca(), identity());
    is_kept_out(named.clone()).await;
    is_at_fault(named.clone()).await;
    if let Some(tls) = &mut named.tls {
        tls.server_name = Some("localhost".to_owned());
    }
    is_denied(named).await;

    is_kept_out(settings(&url, &authority.ca(), None)).await;
    is_kept_out(settings(&url, &stranger.ca(), identity())).await;
    is_at_fault(settings(&url, &stranger.ca(), identity())).await;
    is_at_fault(settings(&url, &authority.ca(), None)).await;
    let of_stranger = settings(&url, &authority.ca(), Some(gateway_identity(&stranger)));
    is_kept_out(of_stranger.clone()).await;
    is_at_fault(of_stranger).await;
}

/// No wait mends it, as no wait mends a wrong certificate.
#[tokio::test]
async fn a_limiter_without_tls_and_a_file_that_is_not_there_are_faults_of_configuration() {
    let authority = Authority::new();
    let plain = FakeLimiter::start(Manner::Deny);
    let url = format!("https://localhost:{}", plain.address().port());
    is_at_fault(settings(&url, &authority.ca(), None)).await;
    is_at_fault(settings(&url, &authority.path("missing.pem"), None)).await;
}

/// It was an outage in the log, and no wait mends it.
#[tokio::test]
async fn a_limiter_with_tls_that_is_asked_in_plaintext_is_a_fault_of_configuration() {
    let authority = Authority::new();
    let limiter = limiter(&authority);
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("http://{host}:{}", limiter.address().port());
        is_at_fault(config(&url)).await;
    }
    let (certificate, key) =
        authority.write_credentials("limiter", &authority.credentials(&["localhost"]));
    let arguments = [
        "--grpc-tls-certificate".as_ref(),
        certificate.as_os_str(),
        "--grpc-tls-key".as_ref(),
        key.as_os_str(),
    ];
    let spec = "perUser: {maxTokens: 2, refillPeriod: 24h}";
    let real = Limiter::of_spec(spec, arguments).await;
    let real = real.expect("a limiter");
    let address = real.endpoint().rsplit('/').next().expect("an address");
    is_at_fault(config(&format!("http://{address}"))).await;
}

/// Files are read for each connection.
#[tokio::test]
async fn files_that_come_later_are_used() {
    let authority = Authority::new();
    let limiter = limiter(&authority);
    let url = format!("https://localhost:{}", limiter.address().port());
    let ca = authority.path("later.pem");
    let gateway = gateway(settings(&url, &ca, Some(gateway_identity(&authority))));
    let verdict = gateway.check(call()).await;
    assert_eq!(verdict, Verdict::Allowed { decided: false });
    std::fs::copy(authority.ca(), &ca).expect("copied");
    eventually("the limiter is obeyed", async || {
        let verdict = gateway.check(call()).await;
        matches!(verdict, Verdict::Denied(_)).then_some(())
    })
    .await;
}
