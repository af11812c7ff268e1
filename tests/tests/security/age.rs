//! Connections end without a check that fails.

use std::{net::SocketAddr, sync::Arc};

use nix::sys::signal::Signal;
use tonic::transport::Endpoint;
use toolgate_client::{Cause, Client, FailOpen, OnUnavailable, Verdict};
use toolgate_proto::pb::limiter_service_client::LimiterServiceClient;
use toolgate_tests::{
    FaultProxy, Limiter, Load, Names, PolicyFile, client_config, eventually, of_user,
};

use crate::{
    stage::{TEN_A_DAY, check, remaining},
    tls::{call_of, gateway},
};

fn load(gateway: &Arc<FailOpen<Client>>, callers: usize) -> Load<Verdict> {
    let gateway = Arc::clone(gateway);
    Load::start(callers, move || {
        let gateway = Arc::clone(&gateway);
        async move { gateway.check(call_of("test/server", "alice")).await }
    })
}

fn undecided(verdicts: &[Verdict]) -> usize {
    let undecided = |verdict: &&Verdict| **verdict == Verdict::Allowed { decided: false };
    verdicts.iter().filter(undecided).count()
}

/// A stream that ended by itself lost what was on the wire; every gateway would have lost some checks
/// every five minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_too_old_is_left_without_a_failed_check() {
    let arguments = ["--connections-max-age", "300ms"];
    let limiter = Limiter::of_spec(TEN_A_DAY, arguments)
        .await
        .expect("a limiter");
    let proxy = FaultProxy::start(address(&limiter)).await;
    let proxy = proxy.expect("a proxy");
    let gateway = gateway(client_config(&format!("http://{}", proxy.address())));
    let load = load(&gateway, 8);
    eventually("it has connected anew again and again", async || {
        (proxy.accepted() >= 8).then_some(())
    })
    .await;
    let verdicts = load.end().await;
    assert_eq!(undecided(&verdicts), 0, "of {}", verdicts.len());
    assert_eq!(gateway.counters().undecided(Cause::ConnectionLost), 0);
    eventually("old connections are closed", async || {
        (proxy.open() <= 2).then_some(())
    })
    .await;
}

/// Other clients have no stream, and connect anew by themselves. A call that meets the end of its
/// connection may fail there, and many libraries make it again: it must not have been paid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_call_is_answered_or_was_never_taken() {
    const CAPACITY: usize = 1_000_000;
    let spec = format!("perUser: {{maxTokens: {CAPACITY}, refillPeriod: 8784h}}");
    let arguments = ["--connections-max-age", "300ms"];
    let limiter = Limiter::of_spec(&spec, arguments).await.expect("a limiter");
    let proxy = FaultProxy::start(address(&limiter)).await.expect("a proxy");
    let channel = Endpoint::from_shared(format!("http://{}", proxy.address()));
    let client = LimiterServiceClient::new(channel.expect("a URL").connect_lazy());
    let calling = client.clone();
    let load = Load::start(8, move || {
        let client = calling.clone();
        async move { check(&client, of_user("alice")).await.is_ok() }
    });
    eventually("it has connected anew again and again", async || {
        (proxy.accepted() >= 8).then_some(())
    })
    .await;
    let answered = load.end().await.into_iter().filter(|answered| *answered);
    let fresh = limiter.client().await.expect("a connection");
    let left = remaining(&fresh, of_user("alice")).await.expect("a bucket");
    let paid = CAPACITY - usize::try_from(left).expect("a count");
    // In a minute at most two tokens come back.
    let answered = answered.count();
    assert!(
        (answered.saturating_sub(2)..=answered).contains(&paid),
        "{paid} {answered}"
    );
}

/// A caller that does not understand the notice is cut, and not before its calls are answered.
#[tokio::test]
async fn who_stays_is_cut_after_the_grace() {
    let arguments = [
        "--connections-max-age",
        "200ms",
        "--connections-max-age-grace",
        "400ms",
    ];
    let limiter = Limiter::of_spec(TEN_A_DAY, arguments)
        .await
        .expect("a limiter");
    let mut client = limiter.client().await.expect("a connection");
    let answers = client.check_stream(futures::stream::pending()).await;
    let mut answers = answers.expect("a stream").into_inner();
    let notice = answers.message().await.expect("open").expect("a notice");
    assert!(notice.leaving && notice.result.is_none());
    assert_eq!(answers.message().await.expect("in good order"), None);
}

fn address(limiter: &Limiter) -> SocketAddr {
    let address = limiter.endpoint().trim_start_matches("http://");
    address.parse().expect("an address")
}

/// Behind a headless service, whose name is late to forget whom it named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_two_replicas_fails_no_check() {
    let policies = PolicyFile::of_spec(TEN_A_DAY).expect("a policy");
    let start = async || {
        let limiter = Limiter::start(&policies.path(), [""; 0]).await;
        limiter.expect("a limiter")
    };
    let mut replicas = vec![start().await, start().await];
    let names = Names::at(&[address(&replicas[0]), address(&replicas[1])]);
    let config = client_config(Names::ENDPOINT);
    let client = Client::with_resolver(config, Arc::new(names.clone())).expect("valid settings");
    let gateway = Arc::new(FailOpen::new(client, OnUnavailable::Allow));
    let all_connected = async || {
        let replicas = gateway.limiter().replicas();
        let all = replicas.len() == 2 && replicas.iter().all(|replica| replica.connected);
        all.then_some(())
    };
    eventually("both are connected", all_connected).await;
    let load = load(&gateway, 8);
    for _ in 0..2 {
        let seen = load.answers();
        eventually("checks flow", async || {
            (load.answers() > seen + 500).then_some(())
        })
        .await;
        let mut old = replicas.remove(0);
        old.signal(Signal::SIGTERM).expect("told to stop");
        assert!(old.wait().await.expect("ended").success());
        replicas.push(start().await);
        names.lead_to(&[address(&replicas[0]), address(&replicas[1])]);
        eventually("both are connected", all_connected).await;
    }
    let verdicts = load.end().await;
    assert_eq!(undecided(&verdicts), 0, "of {}", verdicts.len());
}

/// As behind a service with one address: another one is ready, and then the first is told to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limiter_that_stops_hands_its_callers_over_without_a_failed_check() {
    let policies = PolicyFile::of_spec(TEN_A_DAY).expect("a policy");
    let limiter = async || {
        Limiter::start(&policies.path(), [""; 0])
            .await
            .expect("a limiter")
    };
    let (mut first, second) = (limiter().await, limiter().await);
    // As a service does: new connections go to whoever is ready.
    let service = FaultProxy::start(address(&first)).await.expect("a proxy");
    let gateway = gateway(client_config(&format!("http://{}", service.address())));
    let load = load(&gateway, 8);
    eventually("checks flow", async || {
        (load.answers() > 1_000).then_some(())
    })
    .await;
    service.lead_to(address(&second));
    first.signal(Signal::SIGTERM).expect("told to stop");
    assert!(first.wait().await.expect("ended").success());
    let seen = load.answers();
    eventually("checks flow", async || {
        (load.answers() > seen + 1_000).then_some(())
    })
    .await;
    let verdicts = load.end().await;
    assert_eq!(undecided(&verdicts), 0, "of {}", verdicts.len());
    let log = first.log().expect("a log");
    assert!(!log.contains("stopped with calls in flight"), "{log}");
}
