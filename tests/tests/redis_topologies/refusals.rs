//! Each error that a server answers with, by its name, and what comes after it.

use redis::{aio::MultiplexedConnection, cmd};
use toolgate_limit::BucketStore as _;
use toolgate_tests::{RedisCluster, RedisServer, connect, eventually};

use crate::store::{decides, open, refused};

async fn tell(connection: &mut MultiplexedConnection, words: &[&str]) {
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    let told = command.exec_async(connection).await;
    told.unwrap_or_else(|error| panic!("{words:?}: {error}"));
}

/// Connections that a server has taken since it started.
async fn taken(connection: &mut MultiplexedConnection) -> u64 {
    let stats: String = cmd("INFO")
        .arg("stats")
        .query_async(connection)
        .await
        .expect("stats");
    let mut lines = stats.lines();
    let line = lines.find_map(|line| line.strip_prefix("total_connections_received:"));
    line.expect("a count").parse().expect("a number")
}

/// What is told to a server, what it then answers checks with, and what mends it. A connection on
/// which a passing error comes is kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_redis_refuses_is_named_and_passes() {
    let redis = RedisServer::start().await.expect("Redis");
    let mut admin = connect(&redis.url()).await.expect("a connection");
    let store = open(&redis.url(), |_| {});
    for (break_it, kind, says, mend_it, keeps) in [
        (
            &[&["CONFIG", "SET", "maxmemory", "1"][..]][..],
            "oom",
            "maxmemory",
            &[&["CONFIG", "SET", "maxmemory", "0"][..]][..],
            true,
        ),
        (
            &[&["CONFIG", "SET", "min-replicas-to-write", "1"]],
            "noreplicas",
            "NOREPLICAS",
            &[&["CONFIG", "SET", "min-replicas-to-write", "0"]],
            true,
        ),
        (
            &[&["REPLICAOF", "127.0.0.1", "1"]],
            "readonly",
            "replica",
            &[&["REPLICAOF", "NO", "ONE"]],
            false,
        ),
        (
            &[
                &["CONFIG", "SET", "replica-serve-stale-data", "no"],
                &["REPLICAOF", "127.0.0.1", "1"],
            ],
            "masterdown",
            "MASTERDOWN",
            &[
                &["REPLICAOF", "NO", "ONE"],
                &["CONFIG", "SET", "replica-serve-stale-data", "yes"],
            ],
            false,
        ),
        (
            &[
                &["CONFIG", "SET", "requirepass", "hunter2"],
                &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
            ],
            "noauth",
            "passwordFile",
            &[&["CONFIG", "SET", "requirepass", ""]],
            false,
        ),
    ] {
        decides(&store).await;
        let before = taken(&mut admin).await;
        for words in break_it {
            tell(&mut admin, words).await;
        }
        let error = refused(&store, kind).await;
        assert!(error.contains(says), "{error}");
        let ping = store.ping().await.expect_err("it does not decide");
        assert_eq!(ping.kind(), kind, "{ping}");
        for words in mend_it {
            tell(&mut admin, words).await;
        }
        decides(&store).await;
        if keeps {
            assert_eq!(
                taken(&mut admin).await,
                before,
                "{kind} keeps the connection"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_runs_for_too_long_is_waited_for() {
    let redis = RedisServer::start().await.expect("Redis");
    let mut admin = connect(&redis.url()).await.expect("a connection");
    let store = open(&redis.url(), |_| {});
    decides(&store).await;
    tell(&mut admin, &["CONFIG", "SET", "busy-reply-threshold", "10"]).await;
    let mut busy = connect(&redis.url()).await.expect("a connection");
    let script = tokio::spawn(async move {
        let mut eval = cmd("EVAL");
        eval.arg("while true do end").arg(0);
        let _killed = eval.exec_async(&mut busy).await;
    });
    refused(&store, "busy").await;
    tell(&mut admin, &["SCRIPT", "KILL"]).await;
    decides(&store).await;
    script.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_persist_refuses_writes() {
    let may_move = ["--enable-protected-configs", "yes"];
    let redis = RedisServer::start_with(&may_move, None)
        .await
        .expect("Redis");
    let mut admin = connect(&redis.url()).await.expect("a connection");
    let store = open(&redis.url(), |_| {});
    decides(&store).await;
    // Its folder is gone, so a snapshot fails.
    let gone = tempfile::tempdir().expect("a folder");
    let path = gone.path().display().to_string();
    tell(&mut admin, &["CONFIG", "SET", "dir", &path]).await;
    gone.close().expect("removed");
    tell(&mut admin, &["CONFIG", "SET", "save", "3600 1"]).await;
    tell(&mut admin, &["BGSAVE"]).await;
    refused(&store, "misconf").await;
    tell(
        &mut admin,
        &["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"],
    )
    .await;
    decides(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loads_is_waited_for() {
    let slow = [
        "--key-load-delay",
        "2000",
        "--loading-process-events-interval-bytes",
        "1024",
        // What a restart of the harness does not remove.
        "--dbfilename",
        "kept.rdb",
    ];
    let mut redis = RedisServer::start_with(&slow, None).await.expect("Redis");
    let mut admin = connect(&redis.url()).await.expect("a connection");
    let fill = "for i = 1, 20000 do redis.call('SET', 'key-' .. i, string.rep('x', 100)) end";
    tell(&mut admin, &["EVAL", fill, "0"]).await;
    tell(&mut admin, &["SAVE"]).await;
    let store = open(&redis.url(), |_| {});
    decides(&store).await;
    redis.restart().await.expect("restarted");
    refused(&store, "loading").await;
    let mut admin = connect(&redis.url()).await.expect("a connection");
    tell(&mut admin, &["CONFIG", "SET", "key-load-delay", "0"]).await;
    decides(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_from_none() {
    let redis = RedisServer::start().await.expect("Redis");
    let mut admin = connect(&redis.url()).await.expect("a connection");
    tell(&mut admin, &["CONFIG", "SET", "requirepass", "hunter2"]).await;
    let store = open(&redis.url(), |config| {
        config.login.password = Some("hunter3".to_owned());
    });
    let error = refused(&store, "wrongpass").await;
    assert!(!error.contains("hunter3"), "{error}");
    tell(&mut admin, &["CONFIG", "SET", "requirepass", "hunter3"]).await;
    decides(&store).await;
}

/// A cluster by the URL of one server: the servers of other nodes cannot be decided on.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_taken_for_one_server_says_what_it_is() {
    let cluster = RedisCluster::start().await.expect("a cluster");
    let slot = cluster
        .slot("tg:{test/server}:global")
        .await
        .expect("a slot");
    let owner = cluster.owner(slot).await.expect("a node");
    let other = (owner + 1) % cluster.len();
    let store = open(&cluster.url_of_node(other), |_| {});
    let error = refused(&store, "moved").await;
    assert!(error.contains("redis+cluster://"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_address_is_unreachable() {
    let mut redis = RedisServer::start().await.expect("Redis");
    redis.kill().await.expect("killed");
    let store = open(&redis.url(), |_| {});
    refused(&store, "unreachable").await;
    redis.restart().await.expect("restarted");
    decides(&store).await;
    // One that dies breaks the connection first, if a check is on its way, and is then not there.
    redis.kill().await.expect("killed");
    eventually("the store notices", async || {
        let error = crate::store::take(&store).await.err()?;
        assert!(
            ["connection_lost", "unreachable"].contains(&error.kind()),
            "{error}"
        );
        (error.kind() == "unreachable").then_some(())
    })
    .await;
}
