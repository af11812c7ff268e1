//! Connections that nobody uses for a while, and that Redis or a proxy closes.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;
use toolgate_proto::pb::Decision;
use toolgate_tests::{
    Limiter, PolicyFile, RedisCluster, RedisServer, SentinelOptions, SentinelTrio, eventually,
    manifest, of_user,
};

/// Twice as long as Redis bears with a silent connection in these tests.
const IDLE: Duration = Duration::from_secs(3);

const ROUNDS: u32 = 4;

/// Each replica decides one check after each idle span. With `--outage local` one that was decided
/// alone would pass a spent limit, and it says so.
async fn every_call_after_a_pause_is_decided_by(store: &str) {
    let policies = manifest("server", "perUser: {maxTokens: 3, refillPeriod: 8784h}");
    let policies = PolicyFile::new(&policies).expect("a file");
    let mut replicas = Vec::new();
    for _ in 0..3 {
        // Patient, so that a busy machine is no outage. A connection that is closed needs no patience.
        let arguments = ["--store", store, "--store-timeout", "5s"];
        let limiter = Limiter::start(&policies.path(), arguments).await;
        replicas.push(limiter.expect("a limiter"));
    }
    for limiter in &replicas {
        eventually("Redis decides", async || {
            let answer = limiter.check(of_user("warm-up")).await.ok()?;
            (!answer.degraded).then_some(())
        })
        .await;
    }
    let mut admitted = 0;
    for round in 0..ROUNDS {
        sleep(IDLE).await;
        let asked = replicas
            .iter()
            .map(|limiter| limiter.check(of_user("alice")));
        for answer in join_all(asked).await {
            let answer = answer.expect("an answer");
            assert!(!answer.degraded, "round {round} was decided alone");
            admitted += u32::from(answer.decision() == Decision::Allowed);
        }
    }
    assert_eq!(admitted, 3, "of {} calls", 3 * ROUNDS);
}

/// With `timeout 2` and one call each 65 s, 8 of 8 calls passed a spent limit.
#[tokio::test]
async fn a_redis_that_closes_idle_connections_decides_every_call() {
    let redis = RedisServer::start_with(&["--timeout", "1"], None).await;
    let redis = redis.expect("Redis");
    every_call_after_a_pause_is_decided_by(&redis.url()).await;
}

#[tokio::test]
async fn a_master_that_closes_idle_connections_decides_every_call() {
    let options = SentinelOptions {
        server_arguments: vec!["--timeout".to_owned(), "1".to_owned()],
        ..SentinelOptions::default()
    };
    let trio = SentinelTrio::start_with(&options).await.expect("sentinels");
    every_call_after_a_pause_is_decided_by(&trio.url()).await;
}

#[tokio::test]
async fn a_cluster_that_closes_idle_connections_decides_every_call() {
    let cluster = RedisCluster::start_with(&["--timeout", "1"]).await;
    let cluster = cluster.expect("a cluster");
    every_call_after_a_pause_is_decided_by(&cluster.url()).await;
}

/// A connection that is closed was noticed only by the next check, which was then decided alone.
#[tokio::test]
async fn a_connection_that_is_closed_is_made_anew_before_a_check_needs_it() {
    let redis = RedisServer::start().await.expect("Redis");
    let limiter = Limiter::of_spec(crate::stage::GENEROUS, ["--store", &redis.url()]).await;
    let limiter = limiter.expect("a limiter");
    let answer = limiter.check(of_user("alice")).await.expect("an answer");
    assert!(!answer.degraded);
    sleep(Duration::from_millis(500)).await;
    let up = clients(&redis).await;
    assert!(up > 0);
    for _ in 0..3 {
        // A connection that breaks within its first second is waited with.
        sleep(Duration::from_millis(1_200)).await;
        redis
            .command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await
            .expect("killed");
        eventually("all are connected again", async || {
            (clients(&redis).await >= up).then_some(())
        })
        .await;
        let answer = limiter.check(of_user("alice")).await.expect("an answer");
        assert!(!answer.degraded);
    }
}

/// Connections to `redis` beside the one that asks.
async fn clients(redis: &RedisServer) -> usize {
    let mut operator = redis.connection().await.expect("a connection");
    let mut list = redis::cmd("CLIENT");
    let list: String = list
        .arg("LIST")
        .query_async(&mut operator)
        .await
        .expect("a list");
    list.lines()
        .filter(|line| !line.contains("cmd=client"))
        .count()
}
