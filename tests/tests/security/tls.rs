//! Certificates: right, wrong, expired, missing, and new ones while the limiter runs.

use std::{sync::Arc, time::Duration};

use toolgate_client::{Cause, Client, ClientConfig, FailOpen, OnUnavailable, TlsIdentity, Verdict};
use toolgate_limit::{Check, Identity as User};
use toolgate_proto::pb::limiter_service_client::LimiterServiceClient;
use toolgate_tests::{Authority, Credentials, Load, eventually, of_user};

use crate::stage::{Stage, check};

pub(crate) fn gateway(config: ClientConfig) -> Arc<FailOpen<Client>> {
    let client = Client::new(config).expect("valid settings");
    Arc::new(FailOpen::new(client, OnUnavailable::Allow))
}

pub(crate) fn call_of(server: &str, user: &str) -> Check {
    Check {
        server: server.parse().expect("valid"),
        identity: User::new(user).expect("valid"),
        operation: None,
        cost: Check::COST_OF_ONE,
        trace: None,
    }
}

/// Whether a plain gRPC client gets an answer.
async fn is_served(stage: &Stage, identity: Option<&Credentials>) -> bool {
    // Over TLS 1.3 a client learns only from its first call that it was refused.
    let Ok(channel) = stage.channel(identity).await else {
        return false;
    };
    let client = LimiterServiceClient::new(channel);
    check(&client, of_user("alice")).await.is_ok()
}

#[tokio::test]
async fn callers_need_a_certificate_that_the_authority_vouches_for_now() {
    let stage = Stage::start("", &[]).await;
    let (ours, strangers) = (&stage.authority, Authority::new());
    let names: &[_] = &["gateway.svc"];
    assert!(is_served(&stage, Some(&ours.credentials(names))).await);
    assert!(!is_served(&stage, Some(&strangers.credentials(names))).await);
    assert!(!is_served(&stage, Some(&ours.expired(names))).await);
    assert!(!is_served(&stage, None).await);
    // Nor is there anything for who speaks no TLS.
    let plain = stage.limiter.channel().await;
    let answer = match plain {
        Ok(channel) => check(&LimiterServiceClient::new(channel), of_user("alice"))
            .await
            .ok(),
        Err(_) => None,
    };
    assert_eq!(answer, None);
    assert!(is_served(&stage, Some(&ours.credentials(names))).await);
}

/// The other way round: a gateway does not ask whom it cannot verify, and its calls go on.
#[tokio::test]
async fn a_gateway_asks_no_limiter_of_another_authority_or_name() {
    let stage = Stage::start("", &[]).await;
    let right = gateway(stage.gateway(&["gateway.svc"]));
    let verdict = right.check(call_of("test/server", "alice")).await;
    assert_eq!(verdict, Verdict::Allowed { decided: true });

    let identity = || {
        let identity = stage.authority.credentials(&["gateway.svc"]);
        let (certificate, key) = stage.authority.write_credentials("other", &identity);
        Some(TlsIdentity { certificate, key })
    };
    let stranger = Authority::new();
    let wrong_ca = stage.gateway_with(identity(), stranger.ca());
    let wrong_name = stage.gateway_with(identity(), stage.authority.ca());
    let wrong_name = ClientConfig {
        tls: wrong_name.tls.map(|tls| toolgate_client::TlsFiles {
            server_name: Some("elsewhere".to_owned()),
            ..tls
        }),
        ..wrong_name
    };
    for config in [wrong_ca, wrong_name] {
        let gateway = gateway(config);
        let verdict = gateway.check(call_of("test/server", "alice")).await;
        assert_eq!(verdict, Verdict::Allowed { decided: false });
        assert_eq!(gateway.counters().undecided(Cause::Unreachable), 1);
    }
}

/// The kubelet swaps the symlink `..data` for one to a new folder, and each file is a link through it.
fn mount(authority: &Authority, generation: &str, identity: &Credentials) {
    use std::os::unix::fs::symlink;
    let folder = authority.path(generation);
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("server.crt"), &identity.certificate).expect("written");
    std::fs::write(folder.join("server.key"), &identity.key).expect("written");
    let swap = authority.path("..data_tmp");
    symlink(generation, &swap).expect("a link");
    std::fs::rename(swap, authority.path("..data")).expect("swapped");
    for name in ["server.crt", "server.key"] {
        let link = authority.path(&format!("{name}.link"));
        symlink(format!("..data/{name}"), &link).expect("a link");
        std::fs::rename(link, authority.path(name)).expect("in place");
    }
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_costs_no_check() {
    let stage = Stage::start("", &[]).await;
    let old = stage.client(&["old.svc"]).await;
    check(&old, of_user("bob")).await.expect("an answer");
    let gateway = gateway(stage.gateway(&["gateway.svc"]));
    let load = {
        let gateway = Arc::clone(&gateway);
        Load::start(4, move || {
            let gateway = Arc::clone(&gateway);
            async move { gateway.check(call_of("test/server", "alice")).await }
        })
    };
    eventually("checks flow", async || (load.answers() > 100).then_some(())).await;

    // From another authority, so that only those who know the new one connect.
    let successor = Authority::new();
    mount(
        &stage.authority,
        "..1",
        &successor.credentials(&["localhost"]),
    );
    let trusting = |ca: &Authority| {
        let identity = stage.authority.credentials(&["new.svc"]);
        let (certificate, key) = stage.authority.write_credentials("new", &identity);
        stage.gateway_with(Some(TlsIdentity { certificate, key }), ca.ca())
    };
    let new = self::gateway(trusting(&successor));
    eventually("the new certificate is shown", async || {
        let verdict = new.check(call_of("test/server", "carol")).await;
        (verdict == Verdict::Allowed { decided: true }).then_some(())
    })
    .await;
    assert!(
        stage
            .channel(Some(&stage.authority.credentials(&["x.svc"])))
            .await
            .is_err()
    );

    // A wrong one changes nothing, and is told once.
    let mut torn = successor.credentials(&["localhost"]);
    torn.key = stage.authority.credentials(&["x"]).key;
    mount(&stage.authority, "..2", &torn);
    let told = async || {
        let log = stage.limiter.log().expect("a log");
        log.matches("TLS certificates stay as they were").count()
    };
    eventually("it is told", async || (told().await == 1).then_some(())).await;
    let late = self::gateway(trusting(&successor));
    let verdict = late.check(call_of("test/server", "dave")).await;
    assert_eq!(verdict, Verdict::Allowed { decided: true });
    assert_eq!(told().await, 1);

    // Those who were there are there.
    check(&old, of_user("bob")).await.expect("an answer");
    let seen = load.answers();
    eventually("checks flow", async || {
        (load.answers() > seen + 100).then_some(())
    })
    .await;
    let verdicts = load.end().await;
    let undecided = verdicts
        .iter()
        .filter(|v| **v == Verdict::Allowed { decided: false });
    assert_eq!(undecided.count(), 0, "of {}", verdicts.len());
    let log = stage.limiter.log().expect("a log");
    assert!(!log.contains("PRIVATE KEY"));
}

/// Without an authority for callers there is TLS all the same.
#[tokio::test]
async fn without_a_client_ca_callers_need_no_certificate() {
    let authority = Authority::new();
    let identity = authority.credentials(&["localhost"]);
    let (certificate, key) = authority.write_credentials("server", &identity);
    let arguments = [
        "--grpc-tls-certificate".as_ref(),
        certificate.as_os_str(),
        "--grpc-tls-key".as_ref(),
        key.as_os_str(),
    ];
    let limiter = toolgate_tests::Limiter::of_spec(crate::stage::TEN_A_DAY, arguments)
        .await
        .expect("a limiter");
    let (_, port) = limiter.endpoint().rsplit_once(':').expect("a port");
    let config = toolgate_tests::client_config(&format!("https://localhost:{port}"));
    let gateway = gateway(ClientConfig {
        tls: Some(toolgate_client::TlsFiles {
            ca: authority.ca(),
            identity: None,
            server_name: None,
        }),
        connect_timeout: Duration::from_secs(10),
        ..config
    });
    let verdict = gateway.check(call_of("test/server", "alice")).await;
    assert_eq!(verdict, Verdict::Allowed { decided: true });
}
