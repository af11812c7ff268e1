//! Denials that the client remembers, so that a refused caller in a tight loop costs the limiter
//! next to nothing and is still denied no longer than the limiter would deny.

use std::{num::NonZeroU32, time::Duration};

use tokio::time::{Instant, sleep};
use toolgate_client::{BreakerState, Cause, Client, ClientConfig, Verdict};
use toolgate_limit::{Check, Decision, Limiter as _};
use toolgate_proto::pb::ResetBucketsRequest;
use toolgate_tests::{FakeLimiter, Limiter, Manner, PATIENCE, eventually, of_user};

use crate::load::{call_of, config, gateway, http, load};

/// As it is by default.
fn remembering(endpoint: &str) -> ClientConfig {
    ClientConfig {
        remember_denials: Duration::from_secs(1),
        ..config(endpoint)
    }
}

async fn limiter(spec: &str) -> Limiter {
    Limiter::of_spec(spec, [""; 0]).await.expect("a limiter")
}

fn costing(cost: u32, user: &str) -> Check {
    Check {
        cost: NonZeroU32::new(cost).expect("not zero"),
        ..call_of(user)
    }
}

async fn decision(client: &Client, check: Check) -> Decision {
    let answer = client.check(check).await;
    answer.expect("a decision").decision
}

async fn is_allowed(client: &Client, check: Check) -> bool {
    decision(client, check).await.is_allowed()
}

/// How long the denial of `check` says to wait.
async fn wait(client: &Client, check: Check) -> Duration {
    let Decision::Denied(denial) = decision(client, check).await else {
        panic!("it is allowed");
    };
    denial.retry_after.expect("it ends")
}

/// The limiter says to wait for seven seconds, of which one is remembered. When it is over each of
/// the callers may ask before the first of them has its answer.
#[tokio::test]
async fn the_flood_of_a_refused_user_reaches_the_limiter_a_few_times_a_second() {
    const CALLERS: u64 = 4;
    let limiter = FakeLimiter::start(Manner::Deny);
    let gateway = gateway(remembering(&http(limiter.address())));
    let began = Instant::now();
    let calls = load(&gateway, 4, || call_of("alice"));
    eventually("what is remembered was over twice", async || {
        let hits = gateway.limiter().deny_cache_hits();
        (limiter.checks() >= 3 && hits > 10_000).then_some(())
    })
    .await;
    let denied = u64::try_from(calls.end().await.len()).expect("fits");
    let (checks, hits) = (limiter.checks(), gateway.limiter().deny_cache_hits());
    let rounds = 1 + began.elapsed().as_secs();
    assert!(checks <= CALLERS * rounds, "{checks} in {rounds} s");
    assert_eq!(checks + hits, denied);
    assert_eq!(gateway.counters().denied(), denied);
    assert_eq!(gateway.counters().all_undecided(), 0);
}

/// On a busy machine it once was told to come back a millisecond too early: its wait counted from
/// before the check was sent. It is remembered for as long as it lasts, so that there is time to look
/// at it.
#[tokio::test]
async fn whoever_waits_as_a_remembered_denial_says_is_allowed() {
    let limiter = limiter("perUser: {maxTokens: 1, refillPeriod: 3s}").await;
    let client = Client::new(ClientConfig {
        remember_denials: PATIENCE,
        ..config(limiter.endpoint())
    })
    .expect("valid settings");
    eventually("the next call is denied", async || {
        (!is_allowed(&client, call_of("alice")).await).then_some(())
    })
    .await;
    let (hits, first) = (
        client.deny_cache_hits(),
        wait(&client, call_of("alice")).await,
    );
    let second = wait(&client, call_of("alice")).await;
    assert!(second < first, "{second:?} {first:?}");
    assert_eq!(client.deny_cache_hits(), hits + 2, "both are remembered");
    sleep(second).await;
    assert!(is_allowed(&client, call_of("alice")).await);
}

#[tokio::test]
async fn other_users_and_other_costs_are_asked_about() {
    let spec =
        "global: {maxTokens: 20, refillPeriod: 24h}, perUser: {maxTokens: 10, refillPeriod: 24h}";
    let limiter = limiter(spec).await;
    let client = Client::new(remembering(limiter.endpoint())).expect("valid settings");
    assert!(is_allowed(&client, costing(6, "alice")).await);
    assert!(!is_allowed(&client, costing(5, "alice")).await);
    assert!(
        is_allowed(&client, costing(4, "alice")).await,
        "she has four"
    );
    assert!(is_allowed(&client, costing(5, "bob")).await);
    assert!(is_allowed(&client, costing(5, "bob")).await);

    // Nothing is left for anybody. Each is asked about once, as their own wait may be longer.
    assert!(!is_allowed(&client, costing(1, "carol")).await);
    let before = client.deny_cache_hits();
    assert!(!is_allowed(&client, costing(1, "dave")).await);
    assert_eq!(client.deny_cache_hits(), before);
    assert!(!is_allowed(&client, costing(1, "dave")).await);
    assert_eq!(client.deny_cache_hits(), before + 1);
}

/// Ten seconds were told, the wait of the bucket that all share. Hers took an hour.
#[tokio::test]
async fn the_longest_wait_is_told_also_from_memory() {
    let spec =
        "global: {maxTokens: 3, refillPeriod: 30s}, perUser: {maxTokens: 1, refillPeriod: 1h}";
    let limiter = limiter(spec).await;
    let client = Client::new(remembering(limiter.endpoint())).expect("valid settings");
    for user in ["alice", "bob", "carol"] {
        assert!(is_allowed(&client, call_of(user)).await);
    }
    let just_under_an_hour = Duration::from_mins(59);
    for _ in 0..3 {
        // Dave's own bucket is full, so the wait that he is told is the shared one's.
        assert!(wait(&client, call_of("dave")).await <= Duration::from_secs(10));
        for user in ["alice", "bob"] {
            assert!(wait(&client, call_of(user)).await > just_under_an_hour);
        }
    }
}

/// Her next token is a day away.
#[tokio::test]
async fn a_reset_is_seen_when_the_denial_is_forgotten() {
    let limiter = limiter("perUser: {maxTokens: 1, refillPeriod: 24h}").await;
    let client = Client::new(remembering(limiter.endpoint())).expect("valid settings");
    assert!(is_allowed(&client, call_of("alice")).await);
    assert!(!is_allowed(&client, call_of("alice")).await);
    let denied = Instant::now();
    let mut admin = limiter.admin().await.expect("a connection");
    let reset = ResetBucketsRequest {
        server: "test/server".to_owned(),
        identity: of_user("alice").identity,
        ..ResetBucketsRequest::default()
    };
    admin.reset_buckets(reset).await.expect("reset");
    eventually("she is allowed again", async || {
        is_allowed(&client, call_of("alice")).await.then_some(())
    })
    .await;
    // A second, and a busy machine.
    assert!(denied.elapsed() < Duration::from_secs(10));
}

/// A limiter that fails denies nobody for longer than it has said; and a denial that it was not
/// asked for says nothing about it.
#[tokio::test]
async fn remembered_denials_end_and_tell_the_breaker_nothing() {
    let limiter = FakeLimiter::start(Manner::Deny);
    let gateway = gateway(remembering(&http(limiter.address())));
    let verdict = gateway.check(call_of("alice")).await;
    assert!(matches!(verdict, Verdict::Denied(_)), "{verdict:?}");
    limiter.behave(Manner::Error(tonic::Code::Internal));
    // Bob's calls fail. What alice is told from memory in between does not mend the limiter.
    for _ in 0..50 {
        gateway.check(call_of("bob")).await;
        gateway.check(call_of("alice")).await;
    }
    let breaker = gateway.limiter().replicas()[0].breaker;
    assert_ne!(breaker, BreakerState::Closed);
    eventually("alice's calls run, too", async || {
        let verdict = gateway.check(call_of("alice")).await;
        (verdict == Verdict::Allowed { decided: false }).then_some(())
    })
    .await;
    assert!(gateway.counters().undecided(Cause::Failed) >= 5);
}
