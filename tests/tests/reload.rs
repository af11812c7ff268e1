//! Policies change under load: no check fails, no fresh burst is handed out, and a broken file keeps
//! what was in force.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use toolgate_proto::pb::{Decision, ListPoliciesRequest, ReloadStatus};
use toolgate_tests::{Limiter, PolicyFile, RedisServer, eventually, manifest, of_user};

fn per_day(tokens: u32) -> String {
    manifest(
        "server",
        &format!("perUser: {{maxTokens: {tokens}, refillPeriod: 24h}}"),
    )
}

async fn reload_status(limiter: &Limiter) -> ReloadStatus {
    let mut admin = limiter.admin().await.expect("a connection");
    let reply = admin.list_policies(ListPoliciesRequest::default()).await;
    reply
        .expect("policies")
        .into_inner()
        .reload
        .expect("a status")
}

async fn generation(limiter: &Limiter, generation: u64) {
    eventually(&format!("generation {generation}"), async || {
        (reload_status(limiter).await.generation == generation).then_some(())
    })
    .await;
}

async fn starts_with(policies: &PolicyFile, redis: &RedisServer) -> Limiter {
    let arguments = ["--store", &redis.url(), "--store-timeout", "20s"];
    Limiter::start(&policies.path(), arguments)
        .await
        .expect("a limiter")
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_no_check_fails_and_no_burst_is_fresh() {
    let redis = RedisServer::start().await.expect("Redis");
    let policies = PolicyFile::new(&per_day(100)).expect("a policy");
    let limiter = Arc::new(starts_with(&policies, &redis).await);
    // Alice uses up what she has.
    let mut client = limiter.client().await.expect("a connection");
    for _ in 0..100 {
        let reply = client.check(of_user("alice")).await.expect("a decision");
        assert_eq!(reply.into_inner().decision(), Decision::Allowed);
    }

    let (stop, decided) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let load = (0..8).map(|_| {
        let (limiter, stop, decided) = (limiter.clone(), stop.clone(), decided.clone());
        tokio::spawn(async move {
            let mut client = limiter.client().await.expect("a connection");
            while !stop.load(Ordering::Relaxed) {
                let reply = client
                    .check(of_user("alice"))
                    .await
                    .expect("no check fails");
                let decision = reply.into_inner().decision();
                assert_eq!(
                    decision,
                    Decision::Denied,
                    "a reload has handed out a fresh burst"
                );
                decided.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let load: Vec<_> = load.collect();
    // Smaller, larger, and what it was. In the time this takes a day's 100 refill none.
    for (number, tokens) in [50, 80, 100, 30, 100].into_iter().enumerate() {
        let before = decided.load(Ordering::Relaxed);
        policies.write(&per_day(tokens)).expect("a policy");
        generation(&limiter, number as u64 + 2).await;
        eventually("checks go on", async || {
            (decided.load(Ordering::Relaxed) > before + 100).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("no check fails");
    }
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_snapshot_and_says_so() {
    let redis = RedisServer::start().await.expect("Redis");
    let policies = PolicyFile::new(&per_day(1)).expect("a policy");
    let limiter = starts_with(&policies, &redis).await;
    let decide = async |user| {
        let reply = limiter.check(of_user(user)).await.expect("a decision");
        reply.decision()
    };
    assert_eq!(decide("alice").await, Decision::Allowed);

    policies.write(&per_day(0)).expect("a broken policy");
    let errors = eventually("the admin API tells the error", async || {
        let status = reload_status(&limiter).await;
        assert_eq!(status.generation, 1);
        (!status.errors.is_empty()).then_some(status.errors)
    })
    .await;
    assert!(errors[0].contains("policies.yaml:4:"), "{errors:?}");
    assert!(errors[0].contains("maxTokens"), "{errors:?}");
    let log = limiter.log().expect("a log");
    let told = log
        .lines()
        .find(|line| line.contains("ERROR"))
        .expect("an error in the log");
    assert!(told.contains("policies.yaml:4:"), "{told}");
    // The gate stays as it was.
    assert_eq!(decide("alice").await, Decision::Denied);
    assert_eq!(decide("bob").await, Decision::Allowed);

    policies.write(&per_day(2)).expect("a policy");
    generation(&limiter, 2).await;
    assert_eq!(reload_status(&limiter).await.errors, Vec::<String>::new());
    assert_eq!(decide("alice").await, Decision::Denied);
    assert_eq!(decide("carol").await, Decision::Allowed);
    assert_eq!(decide("carol").await, Decision::Allowed);
}
