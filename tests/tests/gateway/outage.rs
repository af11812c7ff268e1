//! A limiter that is killed, or cut off, in mid-load: no call fails, none waits longer than it may,
//! and limits are enforced again when the limiter is back.

use std::{net::SocketAddr, time::Duration};

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;
use toolgate_tests::{Fault, FaultProxy, Limiter, PolicyFile, RedisServer, eventually};

use crate::{
    backend::Backend,
    caller::{Caller, is_denied},
    load::{goes_on, load, timed},
    replica::Replica,
};

/// `a_reverse` shows whether limits are enforced: it runs once, and then never. `a_echo` has no
/// limit, and is asked for all the same.
const SPEC: &str = "tools: [{name: a_reverse, global: {maxTokens: 1, refillPeriod: 24h}}]";

/// More than the longest waits between attempts to connect (5 s) and probes (at most 4 s in outages
/// as short as these), on a busy machine.
const SOON: Duration = Duration::from_secs(15);

async fn is_enforced(caller: &Caller) {
    let since = Instant::now();
    eventually("the limit is enforced", async || {
        let outcome = caller.call("a_reverse", json!({})).await;
        is_denied(&outcome).then_some(())
    })
    .await;
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
}

async fn is_not_enforced(caller: &Caller) {
    eventually("the gateway fails open", async || {
        let outcome = caller.call("a_reverse", json!({})).await;
        outcome.is_ok().then_some(())
    })
    .await;
}

async fn replica(backend: &Backend, endpoint: &str, timeout: &str) -> Replica {
    let yaml = format!(
        "
incomingAuth: {{type: anonymous}}
backends: [{{name: a, url: '{}'}}]
limiter: {{endpoint: '{endpoint}', timeout: {timeout}}}
",
        backend.url
    );
    Replica::start(&yaml).await
}

/// The deadline is a minute, so a single call that waits for the dead limiter is seen.
#[tokio::test]
async fn a_limiter_killed_in_mid_load_fails_no_call_delays_none_and_is_obeyed_when_it_is_back() {
    let policies = PolicyFile::of_spec(SPEC).expect("a policy");
    let folder = tempfile::tempdir().expect("a folder");
    let endpoint = format!("unix://{}/toolgate.sock", folder.path().display());
    let start = async || {
        let arguments = ["--grpc-listen", &endpoint];
        let limiter = Limiter::start(&policies.path(), arguments).await;
        limiter.expect("a limiter")
    };
    let mut limiter = start().await;
    let backend = Backend::start().await;
    let replica = replica(&backend, &endpoint, "1m").await;
    let caller = replica.anonymous();
    is_enforced(&caller).await;

    let calls = load(&caller, 8);
    goes_on(&calls, 200).await;
    for _ in 0..2 {
        limiter.signal(Signal::SIGKILL).expect("killed");
        limiter.wait().await.expect("gone");
        is_not_enforced(&caller).await;
        goes_on(&calls, 200).await;
        limiter = start().await;
        is_enforced(&caller).await;
    }
    for call in calls.end().await {
        assert!(call.outcome.is_ok(), "{:?}", call.outcome);
        assert!(call.took < Duration::from_secs(30), "{:?}", call.took);
    }
}

/// Nothing comes back from the limiter, and TCP says nothing either.
#[tokio::test]
async fn a_limiter_that_is_cut_off_costs_few_calls_the_deadline_and_the_others_nothing() {
    const DEADLINE: Duration = Duration::from_millis(300);
    /// Five, and those on a busy machine: timers that are late count as no failures. Were it not
    /// for the breaker there would be twice as many, until the connection is known to be dead.
    const MOST: u32 = 20;
    let limiter = Limiter::of_spec(SPEC, [""; 0]).await.expect("a limiter");
    let address = limiter.endpoint().strip_prefix("http://").expect("TCP");
    let address: SocketAddr = address.parse().expect("an address");
    let proxy = FaultProxy::start(address).await;
    let proxy = proxy.expect("a proxy");
    let backend = Backend::start().await;
    let endpoint = format!("http://{}", proxy.address());
    let replica = replica(&backend, &endpoint, "300ms").await;
    let caller = replica.anonymous();
    is_enforced(&caller).await;

    proxy.inject(Fault::BlackHole);
    let (mut late, mut at_once) = (0, 0);
    // Until the breaker is open, as the row of calls that do not wait shows.
    while at_once < 100 {
        let call = timed(&caller).await;
        call.outcome.expect("no decision is no denial");
        if call.took >= DEADLINE {
            late += 1;
            at_once = 0;
            assert!(call.took < DEADLINE * 15, "{:?}", call.took);
            assert!(late <= MOST, "more and more calls wait");
        } else {
            at_once += 1;
        }
    }
    assert!(late >= 5, "{late} calls waited");

    proxy.inject(Fault::None);
    is_enforced(&caller).await;
}

/// Two replicas, each with a limiter beside it. What both stand on goes silent; each limiter then
/// decides alone, and callers see nothing of it but limits that are counted twice.
#[tokio::test]
async fn a_redis_behind_a_black_hole_fails_no_call_and_limits_are_enforced_all_the_same() {
    let spec = "global: {maxTokens: 1000000, refillPeriod: 24h},
        tools: [{name: a_reverse, global: {maxTokens: 1, refillPeriod: 24h}}]";
    let redis = RedisServer::start().await.expect("Redis");
    let proxy = FaultProxy::start(redis.socket()).await.expect("a proxy");
    let store = format!("redis://{}", proxy.address());
    let backend = Backend::start().await;
    let mut sides = Vec::new();
    for _ in 0..2 {
        let limiter = Limiter::of_spec(spec, ["--store", &store]).await;
        let limiter = limiter.expect("a limiter");
        let replica = replica(&backend, limiter.endpoint(), "1m").await;
        sides.push((limiter, replica));
    }
    let callers: Vec<_> = sides
        .iter()
        .map(|(_, replica)| replica.anonymous())
        .collect();
    is_enforced(&callers[0]).await;
    is_enforced(&callers[1]).await;

    let calls: Vec<_> = callers.iter().map(|caller| load(caller, 4)).collect();
    goes_on(&calls[0], 200).await;
    goes_on(&calls[1], 200).await;
    proxy.inject(Fault::BlackHole);
    for (caller, calls) in callers.iter().zip(&calls) {
        goes_on(calls, 200).await;
        is_enforced(caller).await;
        goes_on(calls, 200).await;
    }
    proxy.inject(Fault::None);
    let mut took = Vec::new();
    for calls in calls {
        goes_on(&calls, 200).await;
        for call in calls.end().await {
            assert!(call.outcome.is_ok(), "{:?}", call.outcome);
            took.push(call.took);
        }
    }
    took.sort_unstable();
    println!(
        "{} calls, no error; p50 {:?}, p99 {:?}, all within {:?}",
        took.len(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took[took.len() - 1],
    );
    for (limiter, _) in &sides {
        let log = limiter.log().expect("a log");
        assert!(log.contains("degraded: the store does not decide"), "{log}");
    }
}
