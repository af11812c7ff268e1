//! Every fault of Redis on a limiter that decides alone in the meantime, and on one that may not.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use toolgate_proto::pb::{Decision, ListBucketsRequest, PeekRequest, ResetBucketsRequest};
use toolgate_tests::{Fault, Limiter, RedisServer, eventually, of_user};

use crate::{
    fault::Down,
    stage::{Caller, Stage, get, percentile},
};

/// Checks that are in flight when Redis fails.
const AT_ONCE: usize = 50;

/// Checks once the breaker is open.
const OPEN: usize = 300;

/// A deadline is 40 ms. A check that waits for none takes microseconds; this leaves the rest to a
/// busy machine, and is still far from a check that waits.
const NO_WAIT: Duration = Duration::from_millis(20);

/// More than the longest pauses between probes and attempts to connect, which are 1.5 s together,
/// on a busy machine.
const SOON: Duration = Duration::from_secs(15);

async fn decides(caller: &mut Caller) -> Duration {
    let since = Instant::now();
    // A row of them, as a busy machine now and then is too late for one.
    let mut in_a_row = 0;
    while in_a_row < 20 {
        let (answer, _) = caller.ask().await;
        let decided = answer.is_ok_and(|answer| !answer.degraded);
        in_a_row = if decided { in_a_row + 1 } else { 0 };
        assert!(since.elapsed() < SOON, "Redis decides nothing");
    }
    since.elapsed()
}

/// The fault, from beginning to end, on a limiter that may decide alone and on one that may not: no
/// other answers than those that they announce, one deadline for the checks in flight, no wait for
/// those that follow, and decisions soon after it is over.
async fn endure(down: Down) {
    for local in [true, false] {
        Box::pin(endure_by(down, local)).await;
    }
}

async fn endure_by(down: Down, local: bool) {
    let arguments = ["--outage", if local { "local" } else { "unavailable" }];
    let mut stage = Stage::start(down.redis_arguments(), &arguments).await;
    let mut caller = Caller::of(&stage.limiter).await;
    decides(&mut caller).await;

    let is_outage = |answer: &crate::stage::Answered| match answer {
        Ok(answer) => {
            assert!(local || !answer.degraded, "{down:?}: {answer:?}");
            assert_eq!(answer.decision(), Decision::Allowed, "{down:?}");
            answer.degraded
        }
        Err((code, reason)) => {
            assert!(!local, "{down:?}: {code:?} {reason}");
            // A reply that cannot be read is no bucket, as far as the store knows.
            let unreadable = down == Down::Network(Fault::Corrupt) && *code == Code::Internal;
            assert!(
                *code == Code::Unavailable || unreadable,
                "{down:?}: {code:?} {reason}"
            );
            assert!(reason.contains("toolgate.dev"), "{down:?}: {reason}");
            true
        }
    };
    down.inject(&mut stage).await;
    let began = Instant::now();
    for _ in 0..AT_ONCE {
        caller.send(of_user("alice")).await;
    }
    let mut first = Vec::new();
    for _ in 0..AT_ONCE {
        is_outage(&caller.answer().await);
        first.push(began.elapsed());
    }
    let (mut open, mut in_a_row) = (Vec::new(), 0);
    while in_a_row < OPEN {
        let (answer, took) = caller.ask().await;
        if is_outage(&answer) {
            open.push(took);
            in_a_row += 1;
        } else {
            open.clear();
            in_a_row = 0;
        }
        assert!(began.elapsed() < SOON, "{down:?}: never an outage");
    }
    // The breaker is open: from here on nobody waits.
    let mut client = stage.limiter.client().await.expect("a connection");
    let mut unary = Vec::new();
    for _ in 0..20 {
        let asked = Instant::now();
        let answer = client.check(of_user("alice")).await;
        unary.push(asked.elapsed());
        let answer = answer.map(tonic::Response::into_inner);
        let answer = answer.map_err(|status| {
            let details = String::from_utf8_lossy(status.details()).into_owned();
            (status.code(), details)
        });
        assert!(is_outage(&answer), "{down:?}: {answer:?}");
    }
    let (p50, p99) = (percentile(&mut open, 50), percentile(&mut open, 99));
    assert!(p50 < NO_WAIT, "{down:?}: {p50:?}");
    let unary = percentile(&mut unary, 50);
    assert!(unary < NO_WAIT, "{down:?}: {unary:?}");
    eventually("the outage is told", async || {
        let expected = if local { (200, "degraded") } else { (503, "") };
        let (status, body) = get(&stage.limiter, "/readyz").await;
        (status == expected.0 && body.contains(expected.1)).then_some(())
    })
    .await;

    let healed = Instant::now();
    down.undo(&mut stage).await;
    let undone = healed.elapsed();
    let recovery = decides(&mut caller).await;
    eventually("the recovery is told", async || {
        let (status, body) = get(&stage.limiter, "/readyz").await;
        (status == 200 && body == "ok\n").then_some(())
    })
    .await;
    println!(
        "{down:?}, {}: {AT_ONCE} at once: p50 {:?}, all within {:?}; open: p50 {p50:?}, p99 {p99:?}, \
         unary p50 {unary:?}; recovered {recovery:?} after it was undone, which took {undone:?}",
        arguments[1],
        percentile(&mut first, 50),
        percentile(&mut first, 100),
    );
    let log = stage.limiter.log().expect("a log");
    let lines = log.lines().filter_map(|line| {
        let is = |what| line.contains(what).then_some(what);
        is("degraded: the store").or_else(|| is("recovered: the store"))
    });
    let told: Vec<_> = lines.collect();
    assert_eq!(told.is_empty(), !local, "{down:?}: {log}");
    // A busy machine may have outages of its own. Each change is told once all the same.
    let alternates = told.windows(2).all(|two| two[0] != two[1]);
    assert!(alternates, "{down:?}: {log}");
}

#[tokio::test]
async fn a_redis_that_is_killed_is_done_without() {
    endure(Down::Killed).await;
}

#[tokio::test]
async fn a_redis_that_stands_still_is_done_without() {
    endure(Down::Paused).await;
}

#[tokio::test]
async fn a_redis_behind_a_black_hole_is_done_without() {
    endure(Down::Network(Fault::BlackHole)).await;
}

#[tokio::test]
async fn a_redis_whose_replies_are_lost_is_done_without() {
    endure(Down::Network(Fault::NoReplies)).await;
}

#[tokio::test]
async fn a_redis_that_answers_after_the_deadline_is_done_without() {
    endure(Down::Network(Fault::Delay(Duration::from_millis(100)))).await;
}

#[tokio::test]
async fn a_redis_behind_a_trickle_is_done_without() {
    endure(Down::Network(Fault::Throttle(200))).await;
}

#[tokio::test]
async fn a_redis_whose_connections_are_reset_is_done_without() {
    endure(Down::Network(Fault::Reset)).await;
}

#[tokio::test]
async fn a_redis_whose_connections_are_closed_is_done_without() {
    endure(Down::Network(Fault::Refuse)).await;
}

#[tokio::test]
async fn a_redis_whose_replies_are_corrupted_is_done_without() {
    endure(Down::Network(Fault::Corrupt)).await;
}

#[tokio::test]
async fn a_server_that_is_no_redis_is_done_without() {
    endure(Down::Network(Fault::Garbage)).await;
}

#[tokio::test]
async fn a_redis_that_only_reads_is_done_without() {
    endure(Down::ReadOnly).await;
}

#[tokio::test]
async fn a_redis_without_memory_is_done_without() {
    endure(Down::OutOfMemory).await;
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_done_without() {
    endure(Down::Loading).await;
}

#[tokio::test]
async fn a_redis_that_runs_somebody_elses_script_is_done_without() {
    endure(Down::Busy).await;
}

#[tokio::test]
async fn a_redis_with_another_password_is_done_without() {
    endure(Down::NoAuth).await;
}

#[tokio::test]
async fn in_an_outage_a_peek_is_decided_alone_and_the_admin_api_says_that_it_cannot() {
    let mut stage = Stage::start(&[], &[]).await;
    let mut caller = Caller::of(&stage.limiter).await;
    decides(&mut caller).await;
    Down::Killed.inject(&mut stage).await;
    eventually("the replica is degraded", async || {
        let body = get(&stage.limiter, "/readyz").await.1;
        body.starts_with("degraded: ").then_some(())
    })
    .await;

    let mut client = stage.limiter.client().await.expect("a connection");
    for _ in 0..2 {
        let request = PeekRequest {
            check: Some(of_user("bob")),
        };
        let peek = client.peek(request).await.expect("decided").into_inner();
        let peek = peek.check.expect("a check");
        assert!(peek.degraded);
        assert_eq!(peek.buckets[0].remaining, 1_000_000, "nothing is paid");
    }
    let mut admin = stage.limiter.admin().await.expect("a connection");
    let (server, identity) = ("test/server".to_owned(), of_user("bob").identity);
    let list = ListBucketsRequest {
        server: server.clone(),
        identity: identity.clone(),
    };
    let listed = admin.list_buckets(list).await.expect_err("no store");
    assert_eq!(listed.code(), Code::Unavailable, "{listed}");
    let reset = ResetBucketsRequest {
        server,
        identity,
        operation: None,
    };
    let reset = admin.reset_buckets(reset).await.expect_err("no store");
    assert_eq!(reset.code(), Code::Unavailable, "{reset}");
    // Gateways should go on asking here.
    let mut health = HealthClient::new(stage.limiter.channel().await.expect("a connection"));
    let health = health.check(HealthCheckRequest::default()).await;
    let health = health.expect("an answer").into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);
    let policies = admin.list_policies(toolgate_proto::pb::ListPoliciesRequest::default());
    policies.await.expect("policies are known");
}

/// A denial is remembered, and not asked of Redis again, until its wait is over: a day here. Redis
/// may have lost the bucket meanwhile.
#[tokio::test]
async fn a_remembered_denial_outlives_the_bucket_by_a_second_at_most() {
    let redis = RedisServer::start().await.expect("Redis");
    let arguments = ["--store", &redis.url(), "--store-timeout", "20s"];
    let spec = "perUser: {maxTokens: 1, refillPeriod: 24h}";
    let limiter = Limiter::of_spec(spec, arguments).await.expect("a limiter");
    let mut caller = Caller::of(&limiter).await;
    let decision = async |caller: &mut Caller| {
        let answer = caller.ask().await.0.expect("decided");
        assert!(!answer.degraded);
        answer.decision()
    };
    assert_eq!(decision(&mut caller).await, Decision::Allowed);
    assert_eq!(decision(&mut caller).await, Decision::Denied);
    redis.flush().await.expect("flushed");
    let flushed = Instant::now();
    while decision(&mut caller).await == Decision::Denied {
        assert!(flushed.elapsed() < SOON);
    }
    println!("denied for {:?} after the flush", flushed.elapsed());
    assert_eq!(decision(&mut caller).await, Decision::Denied);
}
