//! Health, and a clean stop.

use std::time::Duration;

use futures::StreamExt as _;
use nix::sys::signal::Signal;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use toolgate_proto::pb::Decision;
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
