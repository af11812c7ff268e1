//! Ten thousand checks at once of which a thousand may pass.

use std::time::Instant;

use futures::{StreamExt, future::try_join_all, stream};
use tonic::transport::Channel;
use toolgate_limit::Timestamp;
use toolgate_proto::pb::{
    CheckRequest, CheckStreamRequest, Decision, ListBucketsRequest,
    check_stream_response::Result as Outcome, limiter_service_client::LimiterServiceClient,
};
use toolgate_tests::{Limiter, RedisServer, TurnedClock, of_tool};

const CHECKS: usize = 10_000;

/// A thousand an hour for each user of the tool; nothing else comes near its limit.
const SPEC: &str = "
    global: {maxTokens: 100000, refillPeriod: 1h},
    perUser: {maxTokens: 50000, refillPeriod: 1h},
    tools: [{name: search, global: {maxTokens: 20000, refillPeriod: 1h}, perUser: {maxTokens: 1000, refillPeriod: 1h}}]";

/// A Redis on `clock`, and two limiters that share it.
async fn two_replicas(clock: Option<&TurnedClock>) -> (RedisServer, [Limiter; 2]) {
    let redis = RedisServer::start_with(&[], clock).await.expect("Redis");
    let replica = async || {
        // A debug build on a busy machine takes its time for ten thousand checks at once.
        let arguments = ["--store", &redis.url(), "--store-timeout", "50s"];
        let limiter = Limiter::of_spec(SPEC, arguments).await;
        limiter.expect("a limiter")
    };
    let replicas = [replica().await, replica().await];
    (redis, replicas)
}

/// Asks half of all checks of each replica, all at once, by `Check`; returns how many passed.
async fn by_check(replicas: &[Limiter; 2]) -> usize {
    let mut asked = Vec::new();
    for replica in replicas {
        for _connection in 0..4 {
            let client = replica.client().await.expect("a connection");
            let checks = (0..CHECKS / 8).map(|_| check(client.clone(), of_tool("alice", "search")));
            asked.extend(checks.map(tokio::spawn));
        }
    }
    let answers = try_join_all(asked).await.expect("no task panics");
    answers.into_iter().filter(|allowed| *allowed).count()
}

async fn check(mut client: LimiterServiceClient<Channel>, request: CheckRequest) -> bool {
    let reply = client.check(request).await.expect("a decision");
    reply.into_inner().decision() == Decision::Allowed
}

/// The same by one `CheckStream` to each replica.
async fn by_stream(replicas: &[Limiter; 2]) -> usize {
    let streams = replicas.iter().map(async |replica| {
        let mut client = replica.client().await.expect("a connection");
        let requests = (0..CHECKS / 2).map(|id| CheckStreamRequest {
            id: u64::try_from(id).expect("fits"),
            check: Some(of_tool("alice", "search")),
            timeout: None,
            ..CheckStreamRequest::default()
        });
        let replies = client.check_stream(stream::iter(requests)).await;
        let replies: Vec<_> = replies.expect("a stream").into_inner().collect().await;
        let mut ids = Vec::new();
        let mut allowed = 0;
        for reply in replies {
            let reply = reply.expect("the stream goes on");
            ids.push(reply.id);
            match reply.result.expect("a result") {
                Outcome::Response(response) => {
                    allowed += usize::from(response.decision() == Decision::Allowed);
                }
                Outcome::Error(error) => panic!("{error:?}"),
            }
        }
        ids.sort_unstable();
        let every_id: Vec<_> = (0..CHECKS / 2)
            .map(|id| u64::try_from(id).expect("fits"))
            .collect();
        assert_eq!(ids, every_id, "each check is answered once");
        allowed
    });
    futures::future::join_all(streams).await.into_iter().sum()
}

/// What is left in each bucket, as one replica sees it: first those of the server, then alice's.
async fn remaining(replica: &Limiter) -> Vec<u32> {
    let mut admin = replica.admin().await.expect("a connection");
    let mut remaining = Vec::new();
    for identity in [None, of_tool("alice", "search").identity] {
        let request = ListBucketsRequest {
            server: "test/server".to_owned(),
            identity,
        };
        let reply = admin.list_buckets(request).await.expect("buckets");
        remaining.extend(reply.into_inner().buckets.iter().map(|b| b.remaining));
    }
    remaining
}

/// No time passes in this Redis, so the thousand is a thousand.
#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_concurrent_checks_exactly_a_thousand_pass() {
    let clock = TurnedClock::new(Timestamp::from_micros(1_800_000_000_000_000)).expect("a clock");
    let (_redis, replicas) = two_replicas(Some(&clock)).await;
    assert_eq!(by_check(&replicas).await, 1_000);
    for replica in &replicas {
        // The server's, the tool's; alice's, alice's of the tool: each has paid for what passed.
        assert_eq!(remaining(replica).await, [99_000, 19_000, 49_000, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_checks_on_streams_exactly_a_thousand_pass() {
    let clock = TurnedClock::new(Timestamp::from_micros(1_800_000_000_000_000)).expect("a clock");
    let (_redis, replicas) = two_replicas(Some(&clock)).await;
    assert_eq!(by_stream(&replicas).await, 1_000);
    for replica in &replicas {
        assert_eq!(remaining(replica).await, [99_000, 19_000, 49_000, 0]);
    }
}

/// The same on a clock that runs: a thousand, and one for each 3.6 seconds that have passed.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_running_clock_the_refill_is_all_that_comes_on_top() {
    let (_redis, replicas) = two_replicas(None).await;
    #[allow(clippy::disallowed_methods, reason = "real time is what is measured")]
    let began = Instant::now();
    let allowed = by_check(&replicas).await + by_stream(&replicas).await;
    let most = 1_000 + began.elapsed().as_millis() / 3_600;
    assert!(allowed >= 1_000, "{allowed} passed");
    assert!(
        allowed as u128 <= most,
        "{allowed} passed, at most {most} may"
    );
}
