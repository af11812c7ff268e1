//! Policies change under load: no check fails, no fresh burst is handed out, and a broken file keeps
//! what was in force.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
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

/// The errors of the last reload, once there are some.
async fn errors(limiter: &Limiter) -> String {
    eventually("the admin API tells the error", async || {
        let errors = reload_status(limiter).await.errors;
        (!errors.is_empty()).then(|| errors.join("\n"))
    })
    .await
}

/// The file was emptied by a full disk, or commented out by a hand: all calls passed, and it counted as a
/// success.
#[tokio::test]
async fn a_file_that_is_emptied_or_gone_opens_no_gate() {
    let policies = PolicyFile::new(&per_day(1)).expect("a policy");
    let limiter = Limiter::start(&policies.path(), [""; 0]).await;
    let limiter = limiter.expect("a limiter");
    let decide = async || {
        let reply = limiter.check(of_user("alice")).await.expect("a decision");
        reply.decision()
    };
    assert_eq!(decide().await, Decision::Allowed);
    let commented = per_day(1).replace("apiVersion", "# apiVersion");
    let commented = commented.replace('\n', "\n# ");
    for text in [Some(""), Some(&*commented), None] {
        let path = policies.path();
        let part = if let Some(text) = text {
            fs::write(path, text).expect("written");
            "has no manifests any more"
        } else {
            fs::remove_file(path).expect("removed");
            "cannot be read"
        };
        let errors = errors(&limiter).await;
        assert!(errors.contains(part), "{errors}");
        assert_eq!(decide().await, Decision::Denied, "the gate is open");
        let metrics = limiter.metrics().await.expect("metrics");
        assert_eq!(metrics.value("toolgate_policy_last_reload_successful"), 0);
        let before = reload_status(&limiter).await.generation;
        policies.write(&per_day(1)).expect("a policy");
        generation(&limiter, before + 1).await;
    }
}

#[tokio::test]
async fn a_folder_may_lose_one_file_but_not_its_last() {
    let policies = PolicyFile::new(&per_day(1)).expect("a policy");
    let other = policies.folder().join("other.yaml");
    let text = manifest("other", "perUser: {maxTokens: 1, refillPeriod: 24h}");
    fs::write(&other, text).expect("written");
    let limiter = Limiter::start(policies.folder(), [""; 0]).await;
    let limiter = limiter.expect("a limiter");
    fs::remove_file(&other).expect("removed");
    generation(&limiter, 2).await;
    let log = limiter.log().expect("a log");
    let told = log
        .lines()
        .find(|line| line.contains("have lost their limits"));
    let told = told.expect("a warning in the log");
    assert!(
        told.contains("WARN") && told.contains("test/other"),
        "{told}"
    );

    let limit = async || limiter.check(of_user("alice")).await.expect("a decision");
    assert_eq!(limit().await.decision(), Decision::Allowed);
    fs::remove_file(policies.path()).expect("removed");
    let errors = errors(&limiter).await;
    assert!(errors.contains("has no manifests any more"), "{errors}");
    assert_eq!(limit().await.decision(), Decision::Denied);
}

/// A FIFO in the folder stopped reloads for ever, and the start too.
#[tokio::test]
async fn a_fifo_in_the_folder_is_an_error_and_nothing_waits_for_it() {
    let make = |path: &std::path::Path| {
        let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
        assert!(made.success());
    };
    let policies = PolicyFile::new(&per_day(1)).expect("a policy");
    let fifo = policies.folder().join("x.yaml");
    let limiter = Limiter::start(policies.folder(), [""; 0]).await;
    let limiter = limiter.expect("a limiter");
    make(&fifo);
    let errors = errors(&limiter).await;
    assert!(errors.contains("x.yaml: error: is a FIFO"), "{errors}");
    let at_start = Limiter::start(policies.folder(), [""; 0]).await;
    at_start.expect_err("a FIFO is no manifest");
    fs::remove_file(&fifo).expect("removed");
    policies.write(&per_day(2)).expect("a policy");
    generation(&limiter, 2).await;
}

#[tokio::test]
async fn a_limiter_without_policies_starts_only_if_that_is_allowed() {
    let policies = PolicyFile::new("# none yet\n").expect("a file");
    for path in [policies.path(), policies.folder().to_owned()] {
        let refused = Limiter::start(&path, [""; 0]).await;
        refused.expect_err("nothing would be limited");
        let allowed = Limiter::start(&path, ["--allow-empty"]).await;
        let allowed = allowed.expect("a limiter");
        assert_eq!(reload_status(&allowed).await.generation, 1);
    }
}
