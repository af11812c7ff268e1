//! Faults that concern checks alone: a server that answers pings, and decides nothing.

use toolgate_tests::{Fault, FaultProxy, Limiter, RedisServer, eventually, of_user};

use crate::stage::{GENEROUS, get};

/// All that a user needs, as docs/redis.md says.
const RIGHTS: [&str; 9] = [
    "+evalsha", "+eval", "+time", "+hmget", "+hset", "+hdel", "+pttl", "+pexpire", "+multi",
];

/// The limiter at `store` says by itself that it decides alone, and why.
async fn is_told(store: &str, why: &str) {
    let limiter = Limiter::of_spec(GENEROUS, ["--store", store]).await;
    let limiter = limiter.expect("a limiter");
    told_by(&limiter, why).await;
}

async fn told_by(limiter: &Limiter, why: &str) {
    let said = eventually("it is told", async || {
        let (_, said) = get(limiter, "/readyz").await;
        said.contains("degraded: ").then_some(said)
    })
    .await;
    assert!(said.contains(why), "{said}");
    let log = limiter.log().expect("a log");
    assert!(log.contains("this replica decides alone"), "{log}");
    let answer = limiter.check(of_user("alice")).await.expect("an answer");
    assert!(answer.degraded);
    let metrics = limiter.metrics().await.expect("metrics");
    assert_eq!(metrics.value("toolgate_degraded"), 1);
}

/// Three replicas admitted 9 of 3, and readyz said `ok`.
#[tokio::test]
async fn a_right_that_is_missing_is_told() {
    for missing in ["+hset", "+hmget", "+pttl", "+pexpire"] {
        let rights = RIGHTS.iter().filter(|right| **right != missing);
        let mut user = vec!["--user", "toolgate", "on", ">pass", "~tg:*", "+exec"];
        user.extend(rights);
        let redis = RedisServer::start_with(&user, None).await.expect("Redis");
        let proxy = FaultProxy::start(redis.socket()).await.expect("a proxy");
        let store = format!("redis://toolgate:pass@{}", proxy.address());
        is_told(&store, "docs/redis.md").await;
    }
}

#[tokio::test]
async fn a_command_that_is_renamed_is_told_by_its_name() {
    for (renamed, said) in [
        ("EVALSHA", "unknown command 'EVALSHA'"),
        ("HSET", "Unknown Redis command called from script"),
        ("PEXPIRE", "Unknown Redis command called from script"),
    ] {
        let redis = RedisServer::start_with(&["--rename-command", renamed, ""], None).await;
        let redis = redis.expect("Redis");
        is_told(&redis.url(), said).await;
    }
}

/// The probe has a key of its own. With rights on that alone, or on all keys but those of some users, it
/// passes where checks fail.
#[tokio::test]
async fn checks_that_fail_are_told_though_probes_pass() {
    for keys in ["~tg:{ping:*", "~tg:*:global"] {
        let mut user = vec!["--user", "toolgate", "on", ">pass", keys, "~tg:{ping:*"];
        user.extend(RIGHTS);
        user.push("+exec");
        let redis = RedisServer::start_with(&user, None).await.expect("Redis");
        let proxy = FaultProxy::start(redis.socket()).await.expect("a proxy");
        let store = format!("redis://toolgate:pass@{}", proxy.address());
        let limiter = Limiter::of_spec(GENEROUS, ["--store", &store]).await;
        let limiter = limiter.expect("a limiter");
        let said = eventually("it is told", async || {
            let _ = limiter.check(of_user("alice")).await;
            let (_, said) = get(&limiter, "/readyz").await;
            said.contains("degraded: ").then_some(said)
        })
        .await;
        assert!(said.contains("no permissions"), "{said}");
        let log = limiter.log().expect("a log");
        assert!(log.contains("this replica decides alone"), "{log}");
        let metrics = limiter.metrics().await.expect("metrics");
        assert_eq!(metrics.value("toolgate_degraded"), 1);
        let mut operator = redis.connection().await.expect("a connection");
        let mut granted = redis::cmd("ACL");
        granted.arg("SETUSER").arg("toolgate").arg("~tg:*");
        granted
            .query_async::<()>(&mut operator)
            .await
            .expect("granted");
        eventually("all is well", async || {
            let _ = limiter.check(of_user("alice")).await;
            let (_, said) = get(&limiter, "/readyz").await;
            said.contains("ok").then_some(())
        })
        .await;
    }
}

/// 99.5 % of the checks were decided alone, readyz said `ok`, and the log that all had recovered.
#[tokio::test]
async fn a_path_that_loses_large_requests_is_told() {
    let redis = RedisServer::start().await.expect("Redis");
    let proxy = FaultProxy::start(redis.socket()).await.expect("a proxy");
    let store = format!("redis://{}", proxy.address());
    let limiter = Limiter::of_spec(GENEROUS, ["--store", &store]);
    let limiter = limiter.await.expect("a limiter");
    eventually("Redis decides", async || {
        let answer = limiter.check(of_user("alice")).await.ok()?;
        (!answer.degraded).then_some(())
    })
    .await;
    proxy.inject(Fault::LargeRequests(1_000));
    told_by(&limiter, "within").await;
    proxy.inject(Fault::None);
    eventually("Redis decides again", async || {
        let (_, said) = get(&limiter, "/readyz").await;
        said.contains("ok").then_some(())
    })
    .await;
}
