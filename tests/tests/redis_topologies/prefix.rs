//! Environments that share a Redis and, by their key prefixes, no bucket.

use toolgate_limit::BucketStore as _;
use toolgate_proto::pb::{CheckRequest, Decision};
use toolgate_redis::RedisStore;
use toolgate_tests::{Limiter, RedisCluster, RedisServer, connect, eventually};

use crate::{
    access::{OF_CLUSTER, RULE, everything, login, set_user},
    load::limiter,
    store::{decides, open, plan, refused, take_of},
};

/// How many of `checks` to `test/server` a limiter allows.
async fn allowed(limiter: &Limiter, checks: usize) -> usize {
    let mut client = limiter.client().await.expect("a connection");
    let mut allowed = 0;
    for _ in 0..checks {
        let check = CheckRequest {
            server: "test/server".to_owned(),
            ..CheckRequest::default()
        };
        let reply = client.check(check).await.expect("decided").into_inner();
        assert!(!reply.degraded);
        allowed += usize::from(reply.decision() == Decision::Allowed);
    }
    allowed
}

/// Two environments had policies of one name: that with the small limit was denied what the other
/// had used, and got what the other's fast limit had filled: 381 of 5.
#[tokio::test(flavor = "multi_thread")]
async fn two_environments_on_one_redis_each_admit_their_own_limit() {
    let redis = RedisServer::start().await.expect("Redis");
    for (small, large) in [
        (
            "{maxTokens: 10, refillPeriod: 24h}",
            "{maxTokens: 1000, refillPeriod: 24h}",
        ),
        (
            "{maxTokens: 5, refillPeriod: 1h}",
            "{maxTokens: 100, refillPeriod: 1s}",
        ),
    ] {
        let mut flush = redis.connection().await.expect("a connection");
        let flushed = redis::cmd("FLUSHALL").exec_async(&mut flush).await;
        flushed.expect("an empty Redis");
        let of = async |limit: &str, prefix: &str| {
            let arguments = ["--key-prefix", prefix, "--store-timeout", "20s"];
            limiter(&redis.url(), &format!("global: {limit}"), &arguments).await
        };
        let (production, staging) = (of(large, "production").await, of(small, "staging").await);
        let mut passed = 0;
        for _ in 0..4 {
            assert_eq!(allowed(&production, 12).await, 12, "{large}");
            passed += allowed(&staging, 12).await;
        }
        let limit = if small.contains("10") { 10 } else { 5 };
        assert_eq!(passed, limit, "{small}");
    }
}

async fn remaining(store: &RedisStore) -> u32 {
    let answer = store.peek(plan("server")).await.expect("decided");
    answer.buckets[1].remaining
}

/// A user of Redis who may touch the keys of one prefix alone: checks, peeks, resets and probes are
/// all on those keys.
#[tokio::test(flavor = "multi_thread")]
async fn all_keys_of_an_environment_begin_with_its_prefix() {
    let redis = RedisServer::start().await.expect("Redis");
    let cluster = RedisCluster::start().await.expect("a cluster");
    let rule = RULE.replace("~tg:*", "~staging:*");
    let mut admin = connect(&redis.url()).await.expect("a connection");
    set_user(&mut admin, &format!("on >hunter2 {rule}")).await;
    for node in 0..cluster.len() {
        let mut admin = cluster.connection(node).await.expect("a connection");
        set_user(&mut admin, &format!("on >hunter2 {rule} {OF_CLUSTER}")).await;
    }
    for url in [redis.url(), cluster.url()] {
        let staging = login(&url, "staging");
        eventually("all is allowed", async || everything(&staging).await.ok()).await;
        let default = login(&url, "tg");
        refused(&default, "noperm").await;
        let longer = login(&url, "staging-2");
        refused(&longer, "noperm").await;

        // A reset is of its own buckets too.
        let other = open(&url, |config| {
            config.key_prefix = "production".parse().expect("valid");
        });
        decides(&other).await;
        take_of(&staging, plan("server")).await.expect("decided");
        let (before, of_other) = (remaining(&staging).await, remaining(&other).await);
        other.reset(plan("server")).await.expect("reset");
        assert!(of_other < 100_000);
        assert_eq!(remaining(&other).await, 100_000);
        assert_eq!(remaining(&staging).await, before);
    }
}
