//! A flood of calls that decide nothing, beside checks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::{task::JoinSet, time::sleep};
use tonic::{Code, Status, transport::Channel};
use toolgate_proto::pb::{
    Identity, ListBucketsRequest, PeekRequest, admin_service_client::AdminServiceClient,
    limiter_service_client::LimiterServiceClient,
};
use toolgate_tests::{Limiter, RedisServer, of_user};

use crate::stage::{Caller, GENEROUS};

/// Calls that each connection of a flood keeps in flight.
const IN_FLIGHT: usize = 64;

/// What came of a flood.
#[derive(Default)]
struct Flood {
    answered: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Flood {
    fn saw<T>(&self, reply: &Result<T, Status>) {
        let count = match reply {
            Ok(_) => &self.answered,
            Err(status) if status.code() == Code::ResourceExhausted => &self.refused,
            Err(_) => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn peeks(channel: Channel, flood: Arc<Flood>) {
    let client = LimiterServiceClient::new(channel);
    loop {
        let request = PeekRequest {
            check: Some(of_user("mallory")),
        };
        flood.saw(&client.clone().peek(request).await);
    }
}

async fn lists(channel: Channel, flood: Arc<Flood>) {
    let client = AdminServiceClient::new(channel);
    loop {
        let request = ListBucketsRequest {
            server: "test/server".to_owned(),
            identity: Some(Identity {
                subject: "mallory".to_owned(),
                ..Identity::default()
            }),
        };
        flood.saw(&client.clone().list_buckets(request).await);
    }
}

/// Honest checks, one after the other, while four connections ask without end.
async fn is_decided_by_redis_beside<F>(flood_of: fn(Channel, Arc<Flood>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let redis = RedisServer::start().await.expect("Redis");
    // Time for a busy machine.
    let arguments = ["--store", &redis.url(), "--store-timeout", "1s"];
    let limiter = Limiter::of_spec(GENEROUS, arguments)
        .await
        .expect("a limiter");
    let mut honest = Caller::of(&limiter).await;
    let (flood, mut attackers) = (Arc::new(Flood::default()), JoinSet::new());
    for _ in 0..4 {
        let channel = limiter.channel().await.expect("a connection");
        for _ in 0..IN_FLIGHT {
            attackers.spawn(flood_of(channel.clone(), Arc::clone(&flood)));
        }
    }
    while flood.answered.load(Ordering::Relaxed) == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    let (mut degraded, checks) = (0, 100);
    for _ in 0..checks {
        honest.send(of_user("alice")).await;
        let answer = honest.answer().await.expect("a decision");
        degraded += u64::from(answer.degraded);
        sleep(Duration::from_millis(3)).await;
    }
    attackers.shutdown().await;
    let [answered, refused, failed] =
        [&flood.answered, &flood.refused, &flood.failed].map(|count| count.load(Ordering::Relaxed));
    println!(
        "{degraded} of {checks} degraded; flood: {answered} answered, {refused} refused, {failed} failed"
    );
    assert_eq!(degraded, 0);
    assert!(answered > 100 && refused > 100, "the attackers were alive");
    let metrics = limiter.metrics().await.expect("metrics");
    assert_eq!(metrics.value("toolgate_store_breaker_open"), 0);
}

/// Peeks shared the connection with batches, and their time-outs opened the circuit breaker: 1,901 of
/// 2,500 checks were decided without Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_peeks_leaves_checks_to_redis() {
    is_decided_by_redis_beside(peeks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_administration_leaves_checks_to_redis() {
    is_decided_by_redis_beside(lists).await;
}

/// A connection has places for some calls, and what it asks beyond is refused, not queued.
#[tokio::test]
async fn a_connection_has_places_for_sixteen_queries() {
    let mut redis = RedisServer::start().await.expect("Redis");
    let arguments = ["--store", &redis.url(), "--store-timeout", "2s"];
    let limiter = Limiter::of_spec(GENEROUS, arguments)
        .await
        .expect("a limiter");
    let mut client = limiter.client().await.expect("a connection");
    let request = || PeekRequest {
        check: Some(of_user("alice")),
    };
    client.peek(request()).await.expect("an answer");
    redis.pause().expect("stalled");
    let calls = (0..40).map(|_| {
        let mut client = client.clone();
        async move { client.peek(request()).await }
    });
    let replies = join_all(calls).await;
    redis.resume().expect("resumed");
    let refused = |reply: &&Result<_, Status>| {
        reply
            .as_ref()
            .is_err_and(|status| status.code() == Code::ResourceExhausted)
    };
    assert_eq!(replies.iter().filter(refused).count(), 40 - 16);
    limiter.check(of_user("alice")).await.expect("a decision");
}
