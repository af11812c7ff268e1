//! Health, and a clean stop.

use std::{
    fs::File, io::Write as _, os::unix::fs::OpenOptionsExt as _, process::Command, time::Duration,
};

use futures::StreamExt as _;
use nix::{libc::O_NONBLOCK, sys::signal::Signal};
use tokio::time::Instant;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use toolgate_proto::pb::{CheckStreamRequest, Decision};
use toolgate_tests::{Limiter, PolicyFile, RedisServer, eventually, of_user};

use crate::{TWO_A_DAY, health};

#[tokio::test]
async fn health_follows_the_store_for_each_service_where_the_replica_may_not_decide_alone() {
    let mut redis = RedisServer::start().await.expect("Redis");
    let policies = PolicyFile::of_spec(TWO_A_DAY).expect("a policy");
    let arguments = ["--store", &redis.url(), "--outage", "unavailable"];
    let limiter = Limiter::start(&policies.path(), arguments)
        .await
        .expect("a limiter");
    let becomes = async |service, status| {
        eventually("health follows", async || {
            (health(&limiter, service).await == Ok(status)).then_some(())
        })
        .await;
    };
    becomes("", ServingStatus::Serving).await;
    becomes("toolgate.v1.LimiterService", ServingStatus::Serving).await;
    redis.kill().await.expect("killed");
    becomes("toolgate.v1.LimiterService", ServingStatus::NotServing).await;
    becomes("", ServingStatus::NotServing).await;
    // Policies can be looked at all the same.
    becomes("toolgate.v1.AdminService", ServingStatus::Serving).await;
    redis.restart().await.expect("restarted");
    becomes("toolgate.v1.LimiterService", ServingStatus::Serving).await;
    assert_eq!(health(&limiter, "unknown").await, Err(Code::NotFound));
}

#[tokio::test]
async fn on_sigterm_calls_in_flight_are_answered_and_the_exit_is_clean() {
    let mut redis = RedisServer::start().await.expect("Redis");
    let policies = PolicyFile::of_spec(TWO_A_DAY).expect("a policy");
    let arguments = [
        "--store",
        &redis.url(),
        "--store-timeout",
        "20s",
        "--drain-timeout",
        "30s",
    ];
    let mut limiter = Limiter::start(&policies.path(), arguments)
        .await
        .expect("a limiter");
    // A health watch and an idle stream stay open for ever if they are let.
    let mut watch = HealthClient::new(limiter.channel().await.expect("a connection"));
    let mut watch = watch
        .watch(HealthCheckRequest::default())
        .await
        .expect("a watch")
        .into_inner();
    let mut idle = limiter.client().await.expect("a connection");
    let idle = idle
        .check_stream(futures::stream::pending())
        .await
        .expect("a stream");
    limiter
        .check(of_user("bob"))
        .await
        .expect("Redis is connected");

    // Redis holds the answer back until the limiter has been told to stop.
    redis.signal(Signal::SIGSTOP).expect("stopped");
    let mut client = limiter.client().await.expect("a connection");
    let in_flight = tokio::spawn(async move { client.check(of_user("alice")).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    limiter.signal(Signal::SIGTERM).expect("told to stop");
    let mut last = None;
    while let Some(Ok(reply)) = watch.next().await {
        last = Some(reply.status());
    }
    assert_eq!(
        last,
        Some(ServingStatus::NotServing),
        "health says so first"
    );
    let mut idle = idle.into_inner();
    let notice = idle.next().await.expect("open").expect("no error");
    assert!(notice.leaving, "its caller is asked to leave");
    assert!(idle.next().await.is_none(), "it ends in good order");
    redis.signal(Signal::SIGCONT).expect("continued");

    let reply = in_flight.await.expect("no panic").expect("an answer");
    assert_eq!(reply.into_inner().decision(), Decision::Allowed);
    assert!(limiter.wait().await.expect("ended").success());
}

/// They went on for as long as the last lines of the audit stream were waited for.
#[tokio::test]
async fn calls_that_outlast_the_drain_are_ended_before_anything_else_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (salt, audit) = (folder.path().join("salt"), folder.path().join("audit"));
    std::fs::write(&salt, "correct horse battery\n").expect("written");
    // Nobody reads what is written, so the limiter waits for it in vain.
    let made = Command::new("mkfifo").arg(&audit).status();
    assert!(made.expect("mkfifo").success());
    let mut stuck = File::options()
        .read(true)
        .write(true)
        .custom_flags(O_NONBLOCK)
        .open(&audit)
        .expect("opened");
    while stuck.write(&[b'\n'; 1_024]).is_ok() {}

    let mut redis = RedisServer::start().await.expect("Redis");
    let policies = PolicyFile::of_spec(TWO_A_DAY).expect("a policy");
    let (salt, audit) = (salt.display().to_string(), audit.display().to_string());
    let store = redis.url();
    let arguments = [
        ["--store", &store],
        ["--store-timeout", "1m"],
        ["--drain-timeout", "500ms"],
        ["--audit-salt-file", &salt],
        ["--audit-to", &audit],
    ];
    let mut limiter = Limiter::start(&policies.path(), arguments.concat())
        .await
        .expect("a limiter");
    for decision in [Decision::Allowed, Decision::Allowed, Decision::Denied] {
        let answer = limiter.check(of_user("alice")).await.expect("decided");
        assert_eq!(answer.decision(), decision);
    }
    redis.signal(Signal::SIGSTOP).expect("stopped");
    let mut client = limiter.client().await.expect("a connection");
    let mut streams = limiter.client().await.expect("a connection");
    let check = CheckStreamRequest {
        check: Some(of_user("carol")),
        ..CheckStreamRequest::default()
    };
    let checks = futures::stream::iter([check]).chain(futures::stream::pending());
    let stream = streams.check_stream(checks).await.expect("a stream");
    let in_flight = tokio::spawn(async move {
        let call = client.check(of_user("bob")).await;
        (call.is_err(), Instant::now())
    });
    let of_stream = tokio::spawn(async move {
        let mut replies = stream.into_inner();
        let mut last = replies.next().await;
        while let Some(Ok(reply)) = &last {
            assert!(reply.leaving, "no decision: {reply:?}");
            last = replies.next().await;
        }
        Instant::now()
    });
    eventually("both are in flight", async || {
        let calls = limiter.metrics().await.ok()?;
        let calls = calls.counted("toolgate_calls_in_flight");
        (calls.values().sum::<u64>() >= 2).then_some(())
    })
    .await;
    limiter.signal(Signal::SIGTERM).expect("told to stop");
    let (is_error, call_ended) = in_flight.await.expect("no panic");
    assert!(is_error, "Redis stands still");
    let stream_ended = of_stream.await.expect("no panic");
    limiter.wait().await.expect("ended");
    let log = limiter.log().expect("a log");
    assert!(log.contains("the last lines of the audit stream are not written yet"));
    // The lines were waited for, for a second.
    for ended in [call_ended, stream_ended] {
        assert!(ended.elapsed() > Duration::from_millis(500), "{ended:?}");
    }
}

/// SIGHUP killed it without a drain.
#[tokio::test]
async fn sighup_ends_nothing_and_a_changed_policy_needs_none() {
    let policies = PolicyFile::of_spec(TWO_A_DAY).expect("a policy");
    let mut limiter = Limiter::start(&policies.path(), [""; 0])
        .await
        .expect("a limiter");
    let mut client = limiter.client().await.expect("a connection");
    client.check(of_user("alice")).await.expect("a decision");
    for _ in 0..3 {
        limiter.signal(Signal::SIGHUP).expect("told");
        client
            .check(of_user("bob"))
            .await
            .expect("on the same connection");
    }
    eventually("it is logged", async || {
        limiter
            .log()
            .expect("a log")
            .contains("SIGHUP")
            .then_some(())
    })
    .await;
    limiter.signal(Signal::SIGTERM).expect("told to stop");
    assert!(limiter.wait().await.expect("ended").success());
}
