//! Looks at buckets go another way than checks.

use redis::{aio::MultiplexedConnection, cmd};
use toolgate_limit::BucketStore as _;
use toolgate_redis::RedisStore;
use toolgate_tests::{RedisCluster, RedisServer, SentinelTrio, eventually};

use crate::store::{decides, open, plan, take};

/// The ids of connections to a server whose last command was `name`.
async fn who_said(server: &mut MultiplexedConnection, name: &str) -> Vec<String> {
    let mut list = cmd("CLIENT");
    let list = list.arg("LIST").query_async::<String>(server).await;
    let list = list.expect("a list");
    let said = list
        .lines()
        .filter(|line| line.contains(&format!(" cmd={name} ")));
    let id = |line: &str| Some(line.strip_prefix("id=")?.split(' ').next()?.to_owned());
    said.filter_map(id).collect()
}

/// Looks at buckets, then cuts off the connection of that look. All checks that follow are decided,
/// over the connection that was there before.
async fn a_look_takes_its_own_way(store: &RedisStore, server: &mut MultiplexedConnection) {
    decides(store).await;
    eventually("it looks", async || store.peek(plan("server")).await.ok()).await;
    take(store).await.expect("decided");
    let (deciding, looking) = (
        who_said(server, "evalsha").await,
        who_said(server, "exec").await,
    );
    assert_eq!((deciding.len(), looking.len()), (1, 1));
    let mut kill = cmd("CLIENT");
    kill.arg("KILL").arg("ID").arg(&looking[0]);
    kill.exec_async(server).await.expect("killed");
    for _ in 0..10 {
        take(store).await.expect("decided");
    }
    assert_eq!(who_said(server, "evalsha").await, deciding);
    // It comes back by itself, and over one connection whoever looks.
    eventually("it looks again", async || {
        store.on_this_runtime().peek(plan("server")).await.ok()
    })
    .await;
    assert_eq!(who_said(server, "exec").await.len(), 1);
    take(store).await.expect("decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_server() {
    let redis = RedisServer::start().await.expect("Redis");
    let store = open(&redis.url(), |_| {});
    let mut server = redis.connection().await.expect("a connection");
    a_look_takes_its_own_way(&store, &mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_master_that_sentinels_name() {
    let sentinels = SentinelTrio::start().await.expect("sentinels");
    let store = open(&sentinels.url(), |_| {});
    let master = sentinels.master().await.expect("a master");
    let mut server = master.connection().await.expect("a connection");
    a_look_takes_its_own_way(&store, &mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_node_of_a_cluster() {
    let cluster = RedisCluster::start().await.expect("a cluster");
    let store = open(&cluster.url(), |_| {});
    decides(&store).await;
    let key = format!("{{{}}}", plan("server").server());
    let slot = cluster.slot(&key).await.expect("a slot");
    let owner = cluster.owner(slot).await.expect("an owner");
    let mut server = cluster.connection(owner).await.expect("a connection");
    a_look_takes_its_own_way(&store, &mut server).await;
}
