//! Two readings, for people and scripts.

use std::net::TcpListener;

use serde_json::json;
use toolgate_proto::pb::Decision;
use toolgate_tests::{Limiter, eventually, manifest, of_tool};

use crate::stage::{FIVE_A_DAY, Stage, bench, number, once, rate, seen, states};

const ZIPF: [&str; 8] = [
    "--keys",
    "zipf:1.2",
    "--users",
    "10000",
    "--tools",
    "1",
    "--connections",
    "2",
];

/// What `toolgate bench` has counted at its end is what the replicas have.
#[tokio::test]
async fn checks_of_two_replicas_add_up_exactly_and_the_hottest_of_ten_thousand_users_is_found() {
    let stage = Stage::start(&[]).await;
    let endpoints = stage.endpoints();
    let load = tokio::spawn({
        let endpoints = endpoints.clone();
        let time = ["--duration", "4s"];
        async move { bench(&endpoints, &[&ZIPF[..], &time].concat()).await }
    });
    eventually("checks are seen while they come", async || {
        let seen = seen(&endpoints).await;
        let rates = ["allowed", "denied"].map(|of| seen["rates"][of].as_f64());
        let is_seen = rates.iter().all(|rate| rate.is_some_and(|rate| rate > 0.0));
        let is_over = load.is_finished();
        assert!(is_seen || !is_over, "{seen}");
        is_seen.then_some(())
    })
    .await;
    let report = load.await.expect("it ends");
    assert_eq!(number(&report, "/checks/unanswered"), 0, "{report}");

    let seen = seen(&endpoints).await;
    for outcome in ["allowed", "denied"] {
        let sent = number(&report, &format!("/checks/{outcome}"));
        assert!(sent > 0, "{report}");
        assert_eq!(number(&seen, &format!("/counts/{outcome}")), sent, "{seen}");
        let of = |replica| number(&seen, &format!("/replicas/{replica}/counts/{outcome}"));
        assert!(of(0) > 0 && of(1) > 0, "{seen}");
        assert_eq!(of(0) + of(1), sent);
        assert_eq!(number(&seen, &format!("/servers/0/counts/{outcome}")), sent);
    }
    for outcome in ["shadowDenied", "unlimited", "error"] {
        assert_eq!(number(&seen, &format!("/counts/{outcome}")), 0);
    }
    let limits = seen["servers"][0]["limits"].as_array().expect("a list");
    let per_user = json!({"scope": "SCOPE_PER_USER", "tool": "tool-0"});
    assert_eq!(limits.len(), 1, "{seen}");
    assert_eq!(limits[0]["limit"], per_user);
    assert_eq!(
        limits[0]["counts"]["denied"], seen["counts"]["denied"],
        "{seen}"
    );
    assert!(rate(&seen, "/rates/allowed").abs() < f64::EPSILON, "{seen}");

    let buckets = seen["hotBuckets"].as_array().expect("a list");
    let hottest = &buckets[0];
    assert_eq!(hottest["identity"]["subject"], "user-0", "{seen}");
    assert_eq!(hottest["limit"], per_user);
    assert_eq!(hottest["status"]["remaining"], 0);
    assert_eq!(hottest["status"]["capacity"], 5);
    assert!(rate(hottest, "/deniedPerSecond") > 0.0);
    let all = buckets.iter().find(|bucket| bucket["identity"].is_null());
    let all = all.expect("the bucket of all callers");
    assert!(rate(all, "/checksPerSecond") > rate(hottest, "/checksPerSecond"));
}

#[tokio::test]
async fn a_replica_without_its_store_is_shown_as_degraded_with_its_reason() {
    let mut stage = Stage::start(&[]).await;
    let endpoints = stage.endpoints();
    let check = of_tool("alice", "tool-0");
    let answer = stage.limiters[0].check(check.clone()).await;
    assert!(!answer.expect("an answer").degraded);
    assert_eq!(states(&seen(&endpoints).await), ["serving", "serving"]);

    stage.redis.kill().await.expect("killed");
    eventually("it decides alone", async || {
        let answer = stage.limiters[0].check(check.clone()).await.ok()?;
        answer.degraded.then_some(())
    })
    .await;
    // The other one finds out by itself.
    let seen = eventually("both are degraded", async || {
        let seen = seen(&endpoints).await;
        (states(&seen) == ["degraded", "degraded"]).then_some(seen)
    })
    .await;
    let reason = seen["replicas"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("the store is unavailable"), "{seen}");
    assert!(rate(&seen, "/replicas/0/stateSeconds") >= 0.0);
    // Nobody waits for what the store would say of them.
    let buckets = seen["hotBuckets"].as_array().expect("a list");
    assert!(!buckets.is_empty(), "{seen}");
    assert!(buckets.iter().all(|it| it["status"].is_null()), "{seen}");

    let table = once(&endpoints, &["--timeout", "30s"]).await;
    let table = String::from_utf8(table.stdout).expect("UTF-8");
    assert!(
        table.starts_with("toolgate top   2 replicas: 2 degraded\n"),
        "{table}"
    );
}

#[tokio::test]
async fn a_replica_that_may_not_decide_alone_is_not_deciding_and_its_errors_are_counted() {
    let mut stage = Stage::start(&["--outage", "unavailable"]).await;
    stage.redis.kill().await.expect("killed");
    let endpoint = stage.limiters[0].endpoint();
    let seen = eventually("it does not decide", async || {
        let check = stage.limiters[0].check(of_tool("alice", "tool-0")).await;
        let seen = seen(endpoint).await;
        (check.is_err() && states(&seen) == ["not deciding"]).then_some(seen)
    })
    .await;
    assert!(number(&seen, "/counts/error") > 0, "{seen}");
}

#[tokio::test]
async fn replicas_that_are_away_or_hang_are_shown_and_hold_up_nobody() {
    let limiter = Limiter::of_spec(FIVE_A_DAY, [""; 0])
        .await
        .expect("a limiter");
    // Takes connections, and says nothing.
    let hangs = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let hangs = format!("http://{}", hangs.local_addr().expect("bound"));
    let away = "unix:///nowhere/toolgate.sock";
    let endpoints = format!("{hangs},{},{away}", limiter.endpoint());
    let output = eventually("the limiter answers in time", async || {
        let arguments = ["--timeout", "2s", "--output", "json"];
        let output = once(&endpoints, &arguments).await;
        output.status.success().then_some(output)
    })
    .await;
    let seen = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(states(&seen), ["unreachable", "serving", "unreachable"]);
    let reasons = seen["replicas"].as_array().expect("replicas");
    let reasons: Vec<_> = reasons.iter().map(|it| it["reason"].as_str()).collect();
    assert_eq!(reasons[0], Some("no answer within 2s"));
    assert!(reasons[2].is_some_and(|it| it.starts_with("nothing listens there")));

    let alone = once(away, &[]).await;
    assert_eq!(alone.status.code(), Some(1));
    let error = String::from_utf8_lossy(&alone.stderr);
    assert!(error.contains("nothing listens there"), "{error}");
}

#[tokio::test]
async fn replicas_with_different_policies_are_marked_and_what_cannot_be_read_is_told() {
    let stage = Stage::start(&[]).await;
    let other = Limiter::of_spec("global: {maxTokens: 7, refillPeriod: 1s}", [""; 0]).await;
    let other = other.expect("a limiter");
    let endpoints = format!("{},{}", stage.endpoints(), other.endpoint());
    let view = seen(&endpoints).await;
    let replicas = view["replicas"].as_array().expect("replicas");
    let differ: Vec<_> = replicas.iter().map(|it| &it["policiesDiffer"]).collect();
    assert_eq!(differ, [false, false, true]);
    assert_eq!(replicas[2]["generation"], 1);

    let broken = manifest("server", "global: {maxTokens: 0, refillPeriod: 1s}");
    stage.policies.write(&broken).expect("written");
    eventually("the failed reload is told", async || {
        let view = seen(&endpoints).await;
        let errors = view["replicas"][0]["reloadErrors"].as_array()?.clone();
        let error = errors.first()?.as_str()?.to_owned();
        error.contains("maxTokens").then_some(())
    })
    .await;
}

/// It is said so, and not that nothing happens.
#[tokio::test]
async fn a_replica_without_metrics_says_that_it_counts_nothing() {
    let limiter = Limiter::of_spec(FIVE_A_DAY, ["--metrics=false"]).await;
    let limiter = limiter.expect("a limiter");
    let answer = limiter.check(of_tool("alice", "tool-0")).await;
    assert_eq!(answer.expect("an answer").decision(), Decision::Allowed);
    let view = seen(limiter.endpoint()).await;
    assert_eq!(view["replicas"][0]["countsChecks"], false);
    assert_eq!(view["servers"], json!([]));
    assert_eq!(view["hotBuckets"], json!([]));
}
