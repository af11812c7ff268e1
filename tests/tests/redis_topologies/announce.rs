//! A node that a cluster announces under an address where it is not.

use redis::{Value, cmd};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use toolgate_proto::pb::{CheckRequest, GetActivityRequest};
use toolgate_tests::{Limiter, RedisCluster, eventually, manifest, of_user};

use crate::load::{PERIOD, limiter_with};

const SERVERS: usize = 30;

fn of_server(number: usize) -> CheckRequest {
    CheckRequest {
        server: format!("test/server-{number}"),
        ..of_user("alice")
    }
}

async fn readyz(limiter: &Limiter) -> String {
    let connection = TcpStream::connect(limiter.http_address()).await;
    let mut connection = connection.expect("HTTP is served");
    let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    connection.write_all(request).await.expect("sent");
    let mut answer = String::new();
    let read = connection.read_to_string(&mut answer).await;
    read.expect("a reply");
    answer
}

/// A cluster whose second node is announced with `setting`, as all nodes know by now.
async fn announcing(setting: (&str, &str)) -> RedisCluster {
    let arguments = [
        "--cluster-require-full-coverage",
        "no",
        // Nodes that lose each other by the wrong address are not given up within the test.
        "--cluster-node-timeout",
        "60000",
    ];
    let cluster = RedisCluster::start_with(&arguments).await;
    let cluster = cluster.expect("a cluster");
    let mut second = cluster.connection(1).await.expect("a connection");
    let mut config = cmd("CONFIG");
    config.arg("SET").arg(setting.0).arg(setting.1);
    config.exec_async(&mut second).await.expect("set");
    for node in [0, 2] {
        let connection = cluster.connection(node).await.expect("a connection");
        eventually("the nodes know the address", async || {
            let (mut slots, mut connection) = (cmd("CLUSTER"), connection.clone());
            let slots = slots.arg("SLOTS").query_async(&mut connection).await;
            let slots: Value = slots.expect("slots");
            let known = format!("{slots:?}");
            known.contains(setting.1).then_some(())
        })
        .await;
    }
    cluster
}

/// Three replicas admitted 9 of 3, `/readyz` said `ok`, and nothing was logged.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_announced_where_it_is_not_is_told_with_the_address() {
    for (setting, wrong, said) in [
        ("cluster-announce-ip", "127.0.0.93", "127.0.0.93:"),
        ("cluster-announce-port", "9", "127.0.0.1:9"),
    ] {
        let cluster = announcing((setting, wrong)).await;
        let spec = format!("perUser: {{maxTokens: 1000, refillPeriod: {PERIOD}}}");
        let policies = (0..SERVERS).map(|number| manifest(&format!("server-{number}"), &spec));
        let policies = policies.collect::<Vec<_>>().join("---\n");
        let (_policies, limiter) = limiter_with(&cluster.url(), &policies, &[]).await;
        let told = eventually("it is told", async || {
            for number in 0..SERVERS {
                let _ = limiter.check(of_server(number)).await;
            }
            let told = readyz(&limiter).await;
            told.contains("degraded: ").then_some(told)
        })
        .await;
        assert!(told.contains(said), "{told}");
        let log = limiter.log().expect("a log");
        let is_named = |line: &str| line.contains("a part of the store") && line.contains(said);
        assert!(log.lines().any(is_named), "{log}");
        let mut admin = limiter.admin().await.expect("a connection");
        let activity = admin.get_activity(GetActivityRequest::default()).await;
        let store = activity.expect("activity").into_inner().store;
        let store = store.expect("a status");
        assert!(store.degraded_since.is_some() && store.reason.contains(said));
        // The others decide.
        let mut decided = 0;
        for number in 0..SERVERS {
            decided += usize::from(limiter.check(of_server(number)).await.is_ok());
        }
        assert!((1..SERVERS).contains(&decided), "{decided}");
    }
}
