//! What honest callers feel of those that do not mean it.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::transport::Channel;
use toolgate_proto::pb::{
    CheckRequest, CheckStreamRequest, Identity, limiter_service_client::LimiterServiceClient,
};
use toolgate_tests::{Limiter, of_user};

use crate::{
    frames::{PREFACE, connect, trickle},
    stage::check,
};

const GENEROUS: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

/// How long a gateway waits.
const DEADLINE: Duration = Duration::from_millis(50);

/// Between one deed of an attacker and the next. Without it they would show how two cores are
/// shared, not what the limiter makes of them.
const PAUSE: Duration = Duration::from_millis(10);

/// Median and 99th percentile of checks that go one after the other.
struct Latency {
    median: Duration,
    p99: Duration,
}

impl Latency {
    async fn of(client: &LimiterServiceClient<Channel>) -> Self {
        let mut times = Vec::new();
        for _ in 0..1_000 {
            let began = Instant::now();
            check(client, of_user("alice")).await.expect("an answer");
            times.push(began.elapsed());
            sleep(Duration::from_millis(1)).await;
        }
        times.sort_unstable();
        Self {
            median: times[times.len() / 2],
            p99: times[times.len() * 99 / 100],
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_callers_are_served_in_time_among_attackers() {
    let arguments = [
        "--connections-max-calls",
        "12000",
        "--connections-handshake-timeout",
        "500ms",
    ];
    let limiter = Limiter::of_spec(GENEROUS, arguments).await;
    let limiter = Arc::new(limiter.expect("a limiter"));
    let honest = limiter.client().await.expect("a connection");
    check(&honest, of_user("alice")).await.expect("an answer");
    let alone = Latency::of(&honest).await;

    let mut attackers = JoinSet::new();
    for _ in 0..10 {
        attackers.spawn(half_open_streams(Arc::clone(&limiter)));
        attackers.spawn(silence_and_noise(Arc::clone(&limiter)));
        let limiter = Arc::clone(&limiter);
        attackers.spawn(async move { trickle(&mut connect(&limiter).await, PREFACE).await });
    }
    attackers.spawn(oversized_messages(Arc::clone(&limiter)));
    // All of them are at it.
    sleep(Duration::from_secs(1)).await;
    let among_them = Latency::of(&honest).await;
    attackers.shutdown().await;

    let ratio = |of: fn(&Latency) -> Duration| of(&among_them).div_duration_f64(of(&alone));
    let (median, p99) = (ratio(|of| of.median), ratio(|of| of.p99));
    println!(
        "a check among attackers: median {:?}, {median:.2} of alone; p99 {:?}, {p99:.2} of alone",
        among_them.median, among_them.p99,
    );
    assert!(among_them.median < DEADLINE, "{:?}", among_them.median);
}

/// Streams that say nothing, as many as a connection takes.
async fn half_open_streams(limiter: Arc<Limiter>) {
    let client = limiter.client().await.expect("a connection");
    let mut streams = Vec::new();
    for _ in 0..1_000 {
        let silent = futures::stream::pending::<CheckStreamRequest>();
        streams.extend(client.clone().check_stream(silent).await);
    }
    std::future::pending::<()>().await;
}

/// Connections that are silent until they are closed, and ones that send what is no HTTP/2.
async fn silence_and_noise(limiter: Arc<Limiter>) {
    let mut silent = Vec::new();
    loop {
        silent.push(connect(&limiter).await);
        if silent.len() > 50 {
            silent.remove(0);
        }
        let mut noise = connect(&limiter).await;
        // It may be closed at the first bytes.
        let _ = noise.write_all(&[0x5a; 4_096]).await;
        sleep(PAUSE).await;
    }
}

/// Checks of more than a megabyte.
async fn oversized_messages(limiter: Arc<Limiter>) {
    let client = limiter.client().await.expect("a connection");
    let oversized = CheckRequest {
        identity: Some(Identity {
            subject: "x".repeat(1 << 20),
            ..Identity::default()
        }),
        ..of_user("mallory")
    };
    loop {
        check(&client, oversized.clone())
            .await
            .expect_err("too large");
        sleep(PAUSE).await;
    }
}
