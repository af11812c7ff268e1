//! Connections end without a check that fails.

use std::sync::Arc;

use nix::sys::signal::Signal;
use toolgate_client::{Cause, Client, FailOpen, Verdict};
use toolgate_tests::{FaultProxy, Limiter, Load, PolicyFile, client_config, eventually};

use crate::{
    stage::TEN_A_DAY,
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
    let address = limiter.endpoint().trim_start_matches("http://");
    let proxy = FaultProxy::start(address.parse().expect("an address")).await;
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

/// As in a rolling restart: another one is ready, and then the first is told to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limiter_that_stops_hands_its_callers_over_without_a_failed_check() {
    let policies = PolicyFile::of_spec(TEN_A_DAY).expect("a policy");
    let limiter = async || {
        Limiter::start(&policies.path(), [""; 0])
            .await
            .expect("a limiter")
    };
    let (mut first, second) = (limiter().await, limiter().await);
    let address = |limiter: &Limiter| {
        let address = limiter.endpoint().trim_start_matches("http://");
        address.parse().expect("an address")
    };
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
