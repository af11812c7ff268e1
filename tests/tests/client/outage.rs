//! A real limiter dies and comes back, in mid-load.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::Instant;
use toolgate_client::{Cause, Verdict};
use toolgate_tests::{Fault, FaultProxy, Limiter, Names, PolicyFile, RedisServer, eventually};

use crate::{
    load::{Gateway, call, call_of, config, gateway, http, impatient, load},
    names::{all_connected, gateway_of},
};

/// Nobody gets a second call, so each decided one is a denial.
const SPEC: &str = "perUser: {maxTokens: 1, refillPeriod: 24h}";

const UNDECIDED: Verdict = Verdict::Allowed { decided: false };

/// A limiter on a TCP address.
async fn start(policies: &PolicyFile, arguments: &[&str]) -> (Limiter, SocketAddr) {
    let limiter = Limiter::start(&policies.path(), arguments).await;
    let limiter = limiter.expect("a limiter");
    let address = limiter.endpoint().strip_prefix("http://").expect("TCP");
    let address = address.parse().expect("an address");
    (limiter, address)
}

async fn enforces(gateway: &Gateway) {
    eventually("the limit is enforced", async || {
        let verdict = gateway.check(call_of("alice")).await;
        matches!(verdict, Verdict::Denied(_)).then_some(())
    })
    .await;
}

async fn is_open(gateway: &Gateway) {
    let before = gateway.counters().all_undecided();
    eventually("calls fail open", async || {
        (gateway.counters().all_undecided() > before + 1_000).then_some(())
    })
    .await;
}

/// The deadline is a minute, so a single call that waits is seen.
#[tokio::test]
async fn a_limiter_killed_in_mid_load_blocks_no_call_and_is_obeyed_after_its_restart() {
    let policies = PolicyFile::of_spec(SPEC).expect("a policy");
    let folder = tempfile::tempdir().expect("a folder");
    let endpoint = format!("unix://{}/toolgate.sock", folder.path().display());
    let start = async || {
        let arguments = ["--grpc-listen", &endpoint];
        Limiter::start(&policies.path(), arguments)
            .await
            .expect("a limiter")
    };
    let mut limiter = start().await;
    let gateway = gateway(config(&endpoint));
    enforces(&gateway).await;

    let calls = load(&gateway, 64, || call_of("alice"));
    for outages in 1..=2 {
        limiter.signal(Signal::SIGKILL).expect("killed");
        limiter.wait().await.expect("gone");
        is_open(&gateway).await;
        let lost = gateway.counters().undecided(Cause::ConnectionLost);
        assert!(lost <= outages * 64, "{lost} were in flight");
        limiter = start().await;
        let restarted = Instant::now();
        enforces(&gateway).await;
        // At most the longest wait between attempts, and a busy machine.
        assert!(restarted.elapsed() < Duration::from_secs(5));
    }
    // A limiter that stops, and is not killed, answers first what it has been asked.
    limiter.signal(Signal::SIGTERM).expect("told to stop");
    limiter.wait().await.expect("stopped");
    is_open(&gateway).await;
    assert_eq!(gateway.counters().undecided(Cause::Timeout), 0);
    for verdict in calls.end().await {
        let decided = Verdict::Allowed { decided: true };
        // One call of alice may pass each time her bucket is new.
        assert!(
            matches!(verdict, Verdict::Denied(_)) || verdict == UNDECIDED || verdict == decided,
            "{verdict:?}"
        );
    }
}

#[tokio::test]
async fn a_limiter_that_cannot_be_reached_is_waited_for_by_few_calls() {
    let policies = PolicyFile::of_spec(SPEC).expect("a policy");
    let (_limiter, address) = start(&policies, &[]).await;
    let proxy = FaultProxy::start(address).await.expect("a proxy");
    let gateway = gateway(impatient(&http(proxy.address())));
    enforces(&gateway).await;

    let late = || gateway.counters().undecided(Cause::Timeout);
    let before = late();
    proxy.inject(Fault::BlackHole);
    for _ in 0..1_000 {
        assert_eq!(gateway.check(call_of("alice")).await, UNDECIDED);
    }
    // Five, and those on a busy machine whose own timers are late, which are no failures. Without the
    // breaker there would be fifty, until the connection is known to be dead.
    let waited = late() - before;
    assert!((5..=20).contains(&waited), "{waited} calls waited");
    proxy.inject(Fault::None);
    enforces(&gateway).await;
}

/// The limiter is another process each time, at another address behind the proxy.
#[tokio::test]
async fn a_limiter_replaced_by_another_is_obeyed() {
    let policies = PolicyFile::of_spec(SPEC).expect("a policy");
    let (mut limiter, address) = start(&policies, &[]).await;
    let proxy = FaultProxy::start(address).await.expect("a proxy");
    let gateway: Arc<Gateway> = gateway(config(&http(proxy.address())));
    enforces(&gateway).await;
    limiter.signal(Signal::SIGKILL).expect("killed");
    limiter.wait().await.expect("gone");
    let (_limiter, address) = start(&policies, &[]).await;
    proxy.lead_to(address);
    enforces(&gateway).await;
    // A look costs nothing, so it can be repeated.
    for _ in 0..2 {
        let peek = gateway.peek(call_of("bob")).await;
        assert_eq!(peek, Verdict::Allowed { decided: true });
    }
}

/// Replicas that share a Redis are one limiter: what is admitted is exact but for the checks that
/// were in flight to the one that died.
#[tokio::test]
async fn one_of_two_replicas_dies_and_another_joins_and_the_limit_holds() {
    const TOKENS: u64 = 20_000;
    const CALLERS: u64 = 16;
    let spec = format!("global: {{maxTokens: {TOKENS}, refillPeriod: 8784h}}");
    let policies = PolicyFile::of_spec(&spec).expect("a policy");
    let redis = RedisServer::start().await.expect("Redis");
    let store = redis.url();
    let arguments = ["--store", &store, "--store-timeout", "20s"];
    let (mut first, first_at) = start(&policies, &arguments).await;
    let (_second, second_at) = start(&policies, &arguments).await;
    let names = Names::at(&[first_at, second_at]);
    let gateway = gateway_of(&names, config);
    all_connected(&gateway, 2).await;

    let calls = load(&gateway, 16, call);
    let allowed = async |at_least: u64| {
        eventually("calls are allowed", async || {
            (gateway.counters().allowed() >= at_least).then_some(())
        })
        .await;
    };
    allowed(TOKENS / 10).await;
    first.signal(Signal::SIGKILL).expect("killed");
    first.wait().await.expect("gone");
    let (_third, third_at) = start(&policies, &arguments).await;
    names.lead_to(&[second_at, third_at]);
    all_connected(&gateway, 2).await;
    eventually("the limit is reached", async || {
        (gateway.counters().denied() > 100).then_some(())
    })
    .await;
    calls.end().await;

    let counters = gateway.counters();
    let (allowed, lost) = (counters.allowed(), counters.all_undecided());
    assert_eq!(counters.undecided(Cause::ConnectionLost), lost);
    assert!(lost <= CALLERS, "{lost} calls failed open");
    assert!(
        allowed <= TOKENS && allowed + lost >= TOKENS,
        "{allowed} and {lost} lost"
    );
}
