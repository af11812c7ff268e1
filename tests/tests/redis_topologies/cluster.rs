//! A cluster of three masters.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt as _, future::join_all, stream};
use nix::sys::signal::Signal;
use redis::cmd;
use toolgate_limit::{BucketStore as _, Plan, StoreError};
use toolgate_proto::pb::{
    CheckRequest, CheckStreamRequest, Decision, PeekRequest,
    check_stream_response::Result as Outcome,
};
use toolgate_tests::{RedisCluster, eventually, manifest, of_user};

use crate::{
    load::{PERIOD, limiter_with},
    store::{open, plan, refused, take_of},
};

const SERVERS: usize = 60;

fn policies(spec: &str) -> String {
    let manifests = (0..SERVERS).map(|number| manifest(&format!("server-{number}"), spec));
    manifests.collect::<Vec<_>>().join("---\n")
}

fn of_server(number: usize) -> CheckRequest {
    CheckRequest {
        server: format!("test/server-{number}"),
        ..of_user("alice")
    }
}

/// All at once and over one stream, so that they gather: each bucket admits its capacity to the
/// check, and all nodes have had their share.
#[tokio::test(flavor = "multi_thread")]
async fn checks_of_many_servers_land_on_all_nodes_and_are_exact() {
    let cluster = RedisCluster::start().await.expect("a cluster");
    let spec = format!(
        "global: {{maxTokens: 30, refillPeriod: {PERIOD}}}, perUser: {{maxTokens: 20, refillPeriod: {PERIOD}}}"
    );
    let arguments = ["--store-timeout", "50s"];
    let (_policies, limiter) = limiter_with(&cluster.url(), &policies(&spec), &arguments).await;
    let mut client = limiter.client().await.expect("a connection");
    // The connections are being made.
    for number in 0..SERVERS {
        eventually("the server is decided on", async || {
            let check = Some(of_server(number));
            client.clone().peek(PeekRequest { check }).await.ok()
        })
        .await;
    }

    let requests = (0..50 * SERVERS).map(|id| CheckStreamRequest {
        id: id as u64,
        check: Some(of_server(id % SERVERS)),
        timeout: None,
        ..CheckStreamRequest::default()
    });
    let requests: Vec<_> = requests.collect();
    let replies = client.check_stream(stream::iter(requests)).await;
    let replies: Vec<_> = replies.expect("a stream").into_inner().collect().await;
    let mut allowed: HashMap<u64, usize> = HashMap::new();
    for reply in replies {
        let reply = reply.expect("the stream goes on");
        let Some(Outcome::Response(response)) = reply.result else {
            panic!("{reply:?}");
        };
        assert!(!response.degraded);
        if response.decision() == Decision::Allowed {
            *allowed.entry(reply.id % SERVERS as u64).or_default() += 1;
        }
    }
    for number in 0..SERVERS as u64 {
        assert_eq!(allowed.get(&number), Some(&20), "server-{number}");
    }
    for node in 0..cluster.len() {
        let mut connection = cluster.connection(node).await.expect("a connection");
        let keys: usize = cmd("DBSIZE")
            .query_async(&mut connection)
            .await
            .expect("a size");
        assert!(keys >= 10, "node {node} has {keys} keys");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_one_call_go_to_many_nodes_and_each_has_its_own_answer() {
    let cluster = RedisCluster::start().await.expect("a cluster");
    let store = open(&cluster.url(), |_| {});
    crate::store::decides(&store).await;
    let servers = (0..SERVERS).map(|number| plan(&format!("server-{number}")));
    let servers: Vec<_> = servers.collect();
    // Each server several times, and never next to itself.
    let plans: Vec<_> = (0..5).flat_map(|_| servers.clone()).collect();
    let answers = store.take(plans.clone()).await;
    assert_eq!(answers.len(), plans.len());
    for (at, (plan, answer)) in plans.iter().zip(answers).enumerate() {
        let answer = answer.expect("decided");
        for (limit, bucket) in plan.limits().zip(&answer.buckets) {
            assert!(Arc::ptr_eq(limit, &bucket.limit), "check {at}");
            let taken = u32::try_from(at / SERVERS).expect("few") + 1;
            assert_eq!(
                bucket.remaining,
                limit.quota().capacity() - taken,
                "check {at}"
            );
        }
    }
}

/// What an operator does to one node, the others do not suffer from, nor the checks of this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_one_node_has_lost_is_loaded_there_again() {
    let cluster = RedisCluster::start().await.expect("a cluster");
    let store = open(&cluster.url(), |_| {});
    eventually("the cluster decides", async || {
        take_of(&store, plan("server-0")).await.ok()
    })
    .await;
    for round in 0..3 {
        let mut connection = cluster.connection(round).await.expect("a connection");
        let mut flush = cmd("SCRIPT");
        let flushed = flush.arg("FLUSH").exec_async(&mut connection).await;
        flushed.expect("flushed");
        for number in 0..SERVERS {
            let answer = take_of(&store, plan(&format!("server-{number}"))).await;
            assert!(answer.expect("decided").decision.is_allowed());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peek_and_reset_find_the_node_too() {
    let cluster = RedisCluster::start().await.expect("a cluster");
    let store = open(&cluster.url(), |_| {});
    eventually("the cluster decides", async || {
        take_of(&store, plan("server-0")).await.ok()
    })
    .await;
    for number in 1..20 {
        let plan = plan(&format!("server-{number}"));
        let left = async || {
            let peeked = store.peek(plan.clone()).await.expect("peeked");
            peeked
                .buckets
                .iter()
                .map(|bucket| bucket.remaining)
                .collect::<Vec<_>>()
        };
        let full = left().await;
        take_of(&store, plan.clone()).await.expect("decided");
        assert!(left().await < full);
        store.reset(plan.clone()).await.expect("reset");
        assert_eq!(left().await, full);
    }
}

/// A stopped node accepts bytes and answers nothing. Whoever asks it waits for the deadline; checks
/// of servers on the other nodes, which come at the same time, do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stalls_holds_up_no_other() {
    let mut cluster = RedisCluster::start().await.expect("a cluster");
    serve_what_there_is(&cluster).await;
    let store = open(&cluster.url(), |_| {});
    let mut on_nodes = vec![Vec::new(); cluster.len()];
    for number in 0..SERVERS {
        let plan = plan(&format!("server-{number}"));
        let key = format!("tg:{{test/server-{number}}}:global");
        let slot = cluster.slot(&key).await.expect("a slot");
        let node = cluster.owner(slot).await.expect("a node");
        eventually("the server is decided on", async || {
            take_of(&store, plan.clone()).await.ok()
        })
        .await;
        on_nodes[node].push(plan);
    }
    cluster.server(1).signal(Signal::SIGSTOP).expect("stopped");
    let ask_all = async |plans: &[Plan]| {
        let asked = plans.iter().map(|plan| take_of(&store, plan.clone()));
        join_all(asked).await
    };
    let (stalled, others) = tokio::join!(ask_all(&on_nodes[1]), async {
        let mut others = Vec::new();
        for _round in 0..20 {
            others.extend(ask_all(&on_nodes[0]).await);
            others.extend(ask_all(&on_nodes[2]).await);
        }
        others
    });
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    for error in stalled {
        let error = error.expect_err("it is stopped");
        assert!(matches!(error, StoreError::Partial { .. }), "{error}");
    }
    cluster
        .server(1)
        .signal(Signal::SIGCONT)
        .expect("continued");
    for plan in &on_nodes[1] {
        eventually("it decides again", async || {
            take_of(&store, plan.clone()).await.ok()
        })
        .await;
    }
}

/// A node that is gone concerns its own slots alone.
async fn serve_what_there_is(cluster: &RedisCluster) {
    for node in 0..cluster.len() {
        let mut connection = cluster.connection(node).await.expect("a connection");
        let mut config = cmd("CONFIG");
        config
            .arg("SET")
            .arg("cluster-require-full-coverage")
            .arg("no");
        config.exec_async(&mut connection).await.expect("set");
    }
}

/// Without a replica nobody takes over: all slots go down with one node, as Redis has it by default,
/// and come back with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_lost_a_node_is_down_by_name_and_comes_back() {
    let mut cluster = RedisCluster::start().await.expect("a cluster");
    let slot = cluster
        .slot("tg:{test/server}:global")
        .await
        .expect("a slot");
    let owner = cluster.owner(slot).await.expect("a node");
    let other = (owner + 1) % cluster.len();
    let store = open(&cluster.url(), |_| {});
    crate::store::decides(&store).await;

    cluster.server(other).kill().await.expect("killed");
    let error = refused(&store, "clusterdown").await;
    assert!(error.contains("CLUSTERDOWN"), "{error}");
    eventually("no node decides", async || {
        let error = store.ping().await.err()?;
        (error.kind() == "clusterdown" && error.is_outage()).then_some(())
    })
    .await;
    cluster.server(other).restart().await.expect("restarted");
    crate::store::decides(&store).await;

    // And when it is the node itself, with the others serving what they have.
    serve_what_there_is(&cluster).await;
    cluster.server(owner).kill().await.expect("killed");
    refused(&store, "unreachable").await;
    // They find out that they may go on without it.
    eventually("two nodes decide", async || {
        matches!(store.ping().await, Err(StoreError::Partial { .. })).then_some(())
    })
    .await;
    cluster.server(owner).restart().await.expect("restarted");
    crate::store::decides(&store).await;
}
