//! Several limiters behind one `dns:///` name.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use toolgate_client::{
    BreakerState, Cause, Client, ClientConfig, FailOpen, OnUnavailable, Verdict,
};
use toolgate_tests::{FakeLimiter, Manner, Names, eventually};

use crate::load::{Gateway, call, config, gateway, impatient, load};

fn addresses(limiters: &[&FakeLimiter]) -> Vec<SocketAddr> {
    limiters.iter().map(|limiter| limiter.address()).collect()
}

fn names_of(limiters: &[&FakeLimiter]) -> Names {
    Names::at(&addresses(limiters))
}

pub(crate) fn gateway_of(names: &Names, settings: fn(&str) -> ClientConfig) -> Arc<Gateway> {
    let config = settings(Names::ENDPOINT);
    let client = Client::with_resolver(config, Arc::new(names.clone())).expect("valid settings");
    Arc::new(FailOpen::new(client, OnUnavailable::Allow))
}

pub(crate) async fn all_connected(gateway: &Gateway, count: usize) {
    eventually("all limiters are connected", async || {
        let replicas = gateway.limiter().replicas();
        let connected = replicas.iter().filter(|replica| replica.connected).count();
        (connected == count && replicas.len() == count).then_some(())
    })
    .await;
}

/// Waits until `limiter` has had `more` checks.
async fn is_used(limiter: &FakeLimiter, more: u64) {
    let enough = limiter.checks() + more;
    eventually("the limiter is used", async || {
        (limiter.checks() >= enough).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_dies_and_one_joins_and_only_what_was_in_flight_fails() {
    const CALLERS: usize = 16;
    let first = FakeLimiter::start(Manner::Allow);
    let second = FakeLimiter::start(Manner::Allow);
    let names = names_of(&[&first, &second]);
    let gateway = gateway_of(&names, config);
    all_connected(&gateway, 2).await;

    let calls = load(&gateway, CALLERS, call);
    is_used(&first, 500).await;
    is_used(&second, 500).await;

    // The name still leads to the dead one.
    let again = first.address();
    drop(first);
    is_used(&second, 500).await;
    let undecided = gateway.counters().all_undecided();
    assert!(undecided <= CALLERS as u64, "{undecided} calls failed open");
    assert_eq!(
        gateway.counters().undecided(Cause::ConnectionLost),
        undecided
    );

    let third = FakeLimiter::start(Manner::Allow);
    names.lead_to(&addresses(&[&second, &third]));
    is_used(&third, 500).await;
    is_used(&second, 500).await;
    all_connected(&gateway, 2).await;

    // One leaves while it lives, as in a rolling update: nothing is lost.
    names.lead_to(&addresses(&[&third]));
    all_connected(&gateway, 1).await;
    is_used(&third, 500).await;

    // The dead one comes back, where it was unless that was taken.
    let listener = TcpListener::bind(again).or_else(|_| TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a free port");
    let first = FakeLimiter::start_on(listener, Manner::Allow, None);
    names.lead_to(&addresses(&[&first, &third]));
    is_used(&first, 500).await;

    let verdicts = calls.end().await;
    let failed_open = |verdict: &&Verdict| **verdict == Verdict::Allowed { decided: false };
    let failed_open = verdicts.iter().filter(failed_open).count() as u64;
    assert_eq!(failed_open, undecided, "more calls failed open");
    for limiter in [&first, &second, &third] {
        assert!(limiter.most_of_one_subject() <= 1, "a check was sent again");
    }
}

/// A name may be ahead of what it names: the limiter that has left it answers until its successor
/// is there. Calls once failed open in between, while a good limiter was connected.
#[tokio::test]
async fn a_name_that_moves_to_a_limiter_that_is_not_there_yet_loses_no_call() {
    let old = FakeLimiter::start(Manner::Allow);
    let names = names_of(&[&old]);
    let gateway = gateway_of(&names, config);
    all_connected(&gateway, 1).await;
    let calls = load(&gateway, 8, call);
    is_used(&old, 500).await;

    // It takes connections, and nobody speaks yet.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    names.lead_to(&[listener.local_addr().expect("an address")]);
    eventually("the new limiter is known", async || {
        (gateway.limiter().replicas().len() == 2).then_some(())
    })
    .await;
    is_used(&old, 2_000).await;
    let new = FakeLimiter::start_on(listener, Manner::Allow, None);
    is_used(&new, 500).await;
    all_connected(&gateway, 1).await;
    for verdict in calls.end().await {
        assert_eq!(verdict, Verdict::Allowed { decided: true });
    }
}

#[tokio::test]
async fn two_equal_limiters_share_the_load() {
    let (one, other) = (
        FakeLimiter::start(Manner::Allow),
        FakeLimiter::start(Manner::Allow),
    );
    let gateway = gateway_of(&names_of(&[&one, &other]), config);
    all_connected(&gateway, 2).await;
    for _ in 0..2_000 {
        gateway.check(call()).await;
    }
    let (one, other) = (one.checks(), other.checks());
    assert_eq!(one + other, 2_000);
    assert!(one.abs_diff(other) < 400, "{one} and {other}");
}

#[tokio::test]
async fn one_bad_limiter_of_two_costs_few_calls() {
    let (good, bad) = (
        FakeLimiter::start(Manner::Deny),
        FakeLimiter::start(Manner::Deny),
    );
    let gateway = gateway_of(&names_of(&[&good, &bad]), impatient);
    all_connected(&gateway, 2).await;
    bad.behave(Manner::Silent);
    let is_left_alone = || {
        let replicas = gateway.limiter().replicas();
        replicas
            .iter()
            .any(|replica| replica.breaker != BreakerState::Closed)
    };
    while !is_left_alone() {
        gateway.check(call()).await;
    }
    let failed = gateway.counters().all_undecided();
    // Five, and those whose own timers are late on a busy machine.
    assert!((5..=20).contains(&failed), "{failed}");
    // But for a probe now and then all calls are decided.
    let calls = load(&gateway, 4, call);
    is_used(&good, 2_000).await;
    let verdicts = calls.end().await;
    let undecided = |verdict: &&Verdict| !matches!(verdict, Verdict::Denied(_));
    let undecided = verdicts.iter().filter(undecided).count();
    assert!(
        undecided * 20 < verdicts.len(),
        "{undecided} of {}",
        verdicts.len()
    );
}

#[tokio::test]
async fn a_name_server_that_fails_changes_nothing() {
    let limiter = FakeLimiter::start(Manner::Deny);
    let names = Names::at(&[]);
    let gateway = gateway_of(&names, config);
    // The name has no address yet, and nobody waits for one.
    let first = gateway.check(call()).await;
    assert_eq!(first, Verdict::Allowed { decided: false });
    names.lead_to(&addresses(&[&limiter]));
    all_connected(&gateway, 1).await;
    for broken in [Names::fail as fn(&Names), |names| names.lead_to(&[])] {
        broken(&names);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let verdict = gateway.check(call()).await;
        assert!(matches!(verdict, Verdict::Denied(_)), "{verdict:?}");
    }
}

#[tokio::test]
async fn the_systems_resolver_finds_each_address_of_a_name() {
    let limiter = FakeLimiter::start(Manner::Deny);
    let endpoint = format!("dns:///localhost:{}", limiter.address().port());
    let gateway = gateway(config(&endpoint));
    eventually("the limiter is found", async || {
        let verdict = gateway.check(call()).await;
        matches!(verdict, Verdict::Denied(_)).then_some(())
    })
    .await;
}
