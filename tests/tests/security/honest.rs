//! What honest callers feel of those that do not mean it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::AsyncWriteExt as _,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, transport::Channel};
use toolgate_proto::pb::{
    CheckRequest, CheckStreamRequest, Identity, limiter_service_client::LimiterServiceClient,
};
use toolgate_tests::{Limiter, eventually, of_user};

use crate::{
    frames::{PREFACE, closed, connect, trickle},
    stage::check,
};

const GENEROUS: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

/// How long a gateway waits.
const DEADLINE: Duration = Duration::from_millis(50);

/// Between one deed of an attacker and the next. Without it they would show how two cores are
/// shared, not what the limiter makes of them.
const PAUSE: Duration = Duration::from_millis(10);

/// Of each kind of attacker but the last.
const CONNECTIONS: usize = 10;

/// Median and 99th percentile of checks that go one after the other.
struct Latency {
    median: Duration,
    p99: Duration,
}

impl Latency {
    async fn of(client: &LimiterServiceClient<Channel>) -> Self {
        let mut times = Vec::new();
        for _ in 0..500 {
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
        // All come from one address, and one caller may have half of the calls.
        "--connections-max-calls",
        "24000",
        "--connections-handshake-timeout",
        "500ms",
    ];
    let limiter = Limiter::of_spec(GENEROUS, arguments).await;
    let limiter = Arc::new(limiter.expect("a limiter"));
    let honest = limiter.client().await.expect("a connection");
    check(&honest, of_user("alice")).await.expect("an answer");
    let alone = Latency::of(&honest).await;

    let (deeds, mut attackers) = (Arc::new(Deeds::default()), JoinSet::new());
    let with = || (Arc::clone(&limiter), Arc::clone(&deeds));
    for _ in 0..CONNECTIONS {
        let ((one, of_one), (two, of_two), (three, of_three)) = (with(), with(), with());
        attackers.spawn(async move { half_open_streams(&one, &of_one.streams).await });
        attackers.spawn(async move { silence_and_noise(&two, &of_two.noise).await });
        attackers.spawn(async move { slow_prefaces(&three, &of_three.slow).await });
    }
    let (one, of_one) = with();
    attackers.spawn(async move { oversized_messages(&one, &of_one.oversized).await });
    eventually("all attackers are at it", async || {
        let all_are = deeds.counts().iter().all(|count| *count >= CONNECTIONS);
        all_are.then_some(())
    })
    .await;
    let before = deeds.counts();
    let among_them = Latency::of(&honest).await;
    let after = deeds.counts();
    // One that panics has not got what it says that attackers get.
    if let Some(ended) = attackers.try_join_next() {
        panic!("an attacker has ended: {ended:?}");
    }
    attackers.shutdown().await;

    println!("streams, noise, slow prefaces and oversized messages: {before:?}, then {after:?}");
    assert!(after[0] >= CONNECTIONS * 90, "streams: {after:?}");
    for kind in 1..before.len() {
        assert!(after[kind] > before[kind], "{kind}: {before:?} {after:?}");
    }
    let ratio = |of: fn(&Latency) -> Duration| of(&among_them).div_duration_f64(of(&alone));
    let (median, p99) = (ratio(|of| of.median), ratio(|of| of.p99));
    println!(
        "a check among attackers: median {:?}, {median:.2} of alone; p99 {:?}, {p99:.2} of alone",
        among_them.median, among_them.p99,
    );
    assert!(among_them.median < DEADLINE, "{:?}", among_them.median);
}

/// How often attackers of each kind have got what they get.
#[derive(Default)]
struct Deeds {
    streams: AtomicUsize,
    noise: AtomicUsize,
    slow: AtomicUsize,
    oversized: AtomicUsize,
}

impl Deeds {
    fn counts(&self) -> [usize; 4] {
        [&self.streams, &self.noise, &self.slow, &self.oversized]
            .map(|count| count.load(Ordering::SeqCst))
    }
}

/// Streams that say nothing, as many as a connection takes. None of them is ended: a gateway that has
/// nothing to ask looks the same.
async fn half_open_streams(limiter: &Limiter, opened: &AtomicUsize) {
    let client = limiter.client().await.expect("a connection");
    let mut streams = FuturesUnordered::new();
    for _ in 0..1_000 {
        let silent = futures::stream::pending::<CheckStreamRequest>();
        let mut client = client.clone();
        // The client itself keeps a stream back that the connection may not have.
        match timeout(Duration::from_secs(1), client.check_stream(silent)).await {
            Ok(Ok(stream)) => {
                streams.push(async move { stream.into_inner().message().await });
                opened.fetch_add(1, Ordering::SeqCst);
            }
            Ok(Err(refused)) => {
                assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
                break;
            }
            Err(_) => break,
        }
    }
    let ended = streams.next().await;
    panic!("a silent stream has ended: {ended:?}");
}

/// Connections that are silent until they are closed, and ones that send what is no HTTP/2, which are
/// closed at once.
async fn silence_and_noise(limiter: &Limiter, closed_at_once: &AtomicUsize) {
    let mut silent = Vec::new();
    loop {
        silent.push(connect(limiter).await);
        if silent.len() > 50 {
            closed(&mut silent.remove(0)).await;
        }
        let mut noise = connect(limiter).await;
        // It may be closed at the first bytes.
        let _ = noise.write_all(&[0x5a; 4_096]).await;
        closed(&mut noise).await;
        closed_at_once.fetch_add(1, Ordering::SeqCst);
        sleep(PAUSE).await;
    }
}

/// Connections that begin with a byte now and then, until they are closed.
async fn slow_prefaces(limiter: &Limiter, closed: &AtomicUsize) {
    loop {
        trickle(&mut connect(limiter).await, PREFACE).await;
        closed.fetch_add(1, Ordering::SeqCst);
    }
}

/// Checks of more than a megabyte.
async fn oversized_messages(limiter: &Limiter, refused: &AtomicUsize) {
    let client = limiter.client().await.expect("a connection");
    let oversized = CheckRequest {
        identity: Some(Identity {
            subject: "x".repeat(1 << 20),
            ..Identity::default()
        }),
        ..of_user("mallory")
    };
    loop {
        let error = check(&client, oversized.clone()).await;
        let error = error.expect_err("too large");
        assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
        refused.fetch_add(1, Ordering::SeqCst);
        sleep(PAUSE).await;
    }
}
