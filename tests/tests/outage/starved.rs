//! Two replicas on a machine that has no processor to spare: what they admit is the limit, and what
//! each says that it has let pass alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{JoinHandle, available_parallelism, spawn},
};

use toolgate_proto::pb::{Decision, limiter_service_client::LimiterServiceClient};
use toolgate_tests::{Limiter, Load, RedisServer, eventually, of_user};

use crate::{admission::is_empty, stage::get};

const CAPACITY: u64 = 1_000;

const SPEC: &str = "global: {maxTokens: 1000, refillPeriod: 24h}";

/// The refill of a minute.
const REFILL: u64 = 1;

const REPLICAS: usize = 2;
const CALLERS: usize = 64;

/// Threads that compute for nothing, two for each processor, until they are dropped.
struct Burners {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Burners {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let burn = |stop: Arc<AtomicBool>| {
            let mut rounds = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                rounds = std::hint::black_box(rounds + 1);
            }
            rounds
        };
        let threads = 2 * available_parallelism().expect("a number").get();
        Self {
            threads: (0..threads)
                .map(|_| Arc::clone(&stop))
                .map(|stop| spawn(move || burn(stop)))
                .collect(),
            stop,
        }
    }

    fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().expect("no panic") > 0, "it has burned");
        }
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What callers were told.
#[derive(Clone, Copy, Debug)]
struct Told {
    passed: bool,
    alone: bool,
}

async fn replicas(redis: &RedisServer, arguments: &[&str]) -> Vec<Limiter> {
    let store = redis.url();
    let arguments = [&["--store", &store][..], arguments].concat();
    let mut limiters = Vec::new();
    for _ in 0..REPLICAS {
        let limiter = Limiter::of_spec(SPEC, &arguments).await;
        let limiter = limiter.expect("a limiter");
        eventually("the limiter is ready", async || {
            let (status, said) = get(&limiter, "/readyz").await;
            (status == 200 && !said.starts_with("degraded")).then_some(())
        })
        .await;
        limiters.push(limiter);
    }
    limiters
}

fn load(limiters: &[Limiter]) -> Load<Told> {
    let channels: Arc<[_]> = limiters
        .iter()
        .map(|limiter| tonic::transport::Endpoint::from_shared(limiter.endpoint().to_owned()))
        .map(|endpoint| endpoint.expect("an endpoint").connect_lazy())
        .collect();
    let next = Arc::new(AtomicUsize::new(0));
    Load::start(CALLERS, move || {
        let turn = next.fetch_add(1, Ordering::SeqCst);
        let mut client = LimiterServiceClient::new(channels[turn % channels.len()].clone());
        async move {
            let answer = client.check(of_user("alice")).await;
            let answer = answer.expect("a decision").into_inner();
            Told {
                passed: answer.decision() == Decision::Allowed,
                alone: answer.degraded,
            }
        }
    })
}

/// Of all replicas.
#[derive(Debug, Default)]
struct Counted {
    allowed_alone: u64,
    decided_alone: u64,
    /// Checks that Redis was asked for and did not decide in time.
    late: u64,
    /// Batches of them.
    late_replies: u64,
}

async fn counted(limiters: &[Limiter]) -> Counted {
    let mut all = Counted::default();
    for limiter in limiters {
        let metrics = limiter.metrics().await.expect("metrics");
        let alone = metrics.counted("toolgate_degraded_checks_total");
        all.allowed_alone += alone.get("{decision=\"allowed\"}").unwrap_or(&0);
        all.decided_alone += alone.values().sum::<u64>();
        let late = metrics.counted("toolgate_store_errors_total");
        let overloaded = late.get("{kind=\"overloaded\"}").unwrap_or(&0);
        assert_eq!(
            *overloaded, 0,
            "no more callers than one batch has room for"
        );
        all.late += late.values().sum::<u64>();
        let replies = metrics.counted("toolgate_store_late_replies_total");
        all.late_replies += replies.values().sum::<u64>();
    }
    all
}

/// All that passed is the limit and what was allowed alone, which callers and metrics count alike.
fn assert_exact(what: &str, told: &[Told], counted: &Counted) {
    let count = |is_one: &dyn Fn(&Told) -> bool| {
        let count = told.iter().filter(|told| is_one(told)).count();
        u64::try_from(count).expect("fits")
    };
    let admitted = count(&|told| told.passed);
    let alone = count(&|told| told.passed && told.alone);
    println!("{what}: {admitted} admitted of {CAPACITY}, {counted:?}");
    assert_eq!(alone, counted.allowed_alone);
    assert_eq!(count(&|told| told.alone), counted.decided_alone);
    assert!(admitted <= CAPACITY + REFILL + counted.allowed_alone);
    // No breaker opens, so a late reply costs its own batch, in which each caller has a check at most.
    assert_eq!(counted.decided_alone, counted.late);
    let callers = u64::try_from(CALLERS / REPLICAS).expect("fits");
    assert!(counted.decided_alone <= callers * counted.late_replies);
    // A late reply may have paid for a check that was then decided alone.
    assert!(admitted - alone + counted.late >= CAPACITY);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_defaults_two_starved_replicas_admit_the_limit_and_what_they_count_as_their_own() {
    let redis = RedisServer::start().await.expect("Redis");
    let limiters = replicas(&redis, &[]).await;
    let burners = Burners::start();
    let load = load(&limiters);
    is_empty(&limiters[0]).await;
    let enough = load.answers() + 2_000;
    eventually("checks are answered", async || {
        (load.answers() >= enough).then_some(())
    })
    .await;
    let told = load.end().await;
    burners.end();
    assert_exact("starved", &told, &counted(&limiters).await);
}

/// A reply that is late is so for each caller of the replica, once, and for no check after them.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_reply_costs_a_starved_replica_one_batch() {
    let mut redis = RedisServer::start().await.expect("Redis");
    // Far above what a starved Redis needs.
    let limiters = replicas(&redis, &["--store-timeout", "2s"]).await;
    let burners = Burners::start();
    let load = load(&limiters);
    let goes_on = async |more: usize| {
        let enough = load.answers() + more;
        eventually("checks are answered", async || {
            (load.answers() >= enough).then_some(())
        })
        .await;
    };
    goes_on(100).await;
    redis.pause().expect("paused");
    eventually("a reply is late", async || {
        (counted(&limiters).await.late > 0).then_some(())
    })
    .await;
    redis.resume().expect("resumed");
    goes_on(1_000).await;
    is_empty(&limiters[0]).await;
    let told = load.end().await;
    burners.end();
    let counted = counted(&limiters).await;
    assert_exact("one late reply of each replica", &told, &counted);
    assert!(counted.late > 0);
    let callers = u64::try_from(CALLERS).expect("fits");
    // The pause may have begun with the next reply, and be noticed after the second.
    assert!(counted.late <= 2 * callers, "{counted:?}");
}
