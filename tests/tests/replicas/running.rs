//! On a clock that runs, for two seconds as fast as checks are answered and denials remembered:
//! no more passes than the store's own time allows, and no less than demand could have had.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::{join_all, try_join_all};
use tokio::time::Instant;
use toolgate_client::{Client, ClientConfig};
use toolgate_limit::{Check, Identity, Limiter as _};
use toolgate_proto::pb::CheckRequest;
use toolgate_tests::{Limiter, PolicyFile, RedisServer, client_config, manifest};

use crate::{flood::Connection, sum::Rate};

const SPAN: Duration = Duration::from_secs(2);

/// As the store sees it, in microseconds.
enum Clock {
    Redis(redis::aio::MultiplexedConnection),
    /// That of this machine, which a store in memory sees.
    Monotonic(Instant),
}

impl Clock {
    async fn of(redis: &RedisServer) -> Self {
        Self::Redis(redis.connection().await.expect("a connection"))
    }

    async fn now(&mut self) -> u64 {
        match self {
            Self::Redis(connection) => {
                let time = redis::cmd("TIME").query_async(connection).await;
                let (seconds, micros): (u64, u64) = time.expect("a time");
                seconds * 1_000_000 + micros
            }
            Self::Monotonic(began) => u64::try_from(began.elapsed().as_micros()).expect("fits"),
        }
    }
}

/// Times without a denial for so long that a bucket which fills in a second may have been full: a
/// machine that is so busy that fewer checks come than would pass.
struct Lulls(Mutex<(Instant, Duration)>);

impl Lulls {
    /// Far less than that second: answers may come late, and so further apart than decisions or
    /// closer together.
    const SHORTEST: Duration = Duration::from_millis(500);

    fn new() -> Self {
        Self(Mutex::new((Instant::now(), Duration::ZERO)))
    }

    /// The bucket was empty just now.
    fn interrupt(&self) {
        let now = Instant::now();
        let mut lulls = self.0.lock().expect("not poisoned");
        let (since, in_all) = *lulls;
        let lull = now - since;
        *lulls = if lull > Self::SHORTEST {
            (now, in_all + lull)
        } else {
            (now, in_all)
        };
    }

    /// All of them, in microseconds.
    fn in_all(&self) -> u64 {
        self.interrupt();
        let (_, in_all) = *self.0.lock().expect("not poisoned");
        u64::try_from(in_all.as_micros()).expect("fits")
    }
}

/// When, by the store's clock, and how many tokens passed.
struct Passed {
    /// Before the first check.
    began: u64,
    /// After the first was allowed.
    first: u64,
    /// Before the last, which was denied.
    last: u64,
    /// After its answer.
    ended: u64,
    tokens: u64,
    lulls: u64,
}

impl Passed {
    fn is_within(&self, rate: Rate) {
        // A clock that counts whole microseconds can be one short.
        let most = rate.most(self.ended - self.began + 1);
        assert!(self.tokens <= most, "{} of {most} by {rate}", self.tokens);
    }

    /// When the last check was denied, less than `cost` was left: all else has passed that had come
    /// since the first, but for what came when the bucket was full.
    fn is_no_less_than(&self, rate: Rate, cost: u64) {
        let all = rate.most(self.last - self.first) - cost;
        let least = all.saturating_sub(self.lulls * rate.capacity / rate.period);
        assert!(self.tokens >= least, "{} of {least} by {rate}", self.tokens);
    }
}

/// Asks over all connections for the span, and then until one is denied that is asked alone.
async fn flood(connections: &mut [Connection], cost: u64, clock: &mut Clock) -> Passed {
    let began = clock.now().await;
    let mut allowed = connections[0].flood(|_| false).await;
    assert!(allowed > 0, "the bucket is full");
    let first = clock.now().await;
    let (until, lulls) = (Instant::now() + SPAN, Lulls::new());
    let floods = connections.iter_mut().map(|one| {
        one.flood(|allowed| {
            if !allowed {
                lulls.interrupt();
            }
            Instant::now() < until
        })
    });
    allowed += join_all(floods).await.iter().sum::<u64>();
    let last = clock.now().await;
    allowed += connections[0].flood(|allowed| allowed).await;
    Passed {
        began,
        first,
        last,
        ended: clock.now().await,
        tokens: allowed * cost,
        lulls: lulls.in_all(),
    }
}

fn costing(cost: u64, server: &str) -> CheckRequest {
    CheckRequest {
        server: format!("test/{server}"),
        cost: u32::try_from(cost).expect("fits"),
        ..CheckRequest::default()
    }
}

/// A capacity that fills in 10 ms, and one that fills in a second. The first is often full while
/// nobody is let on the processor, so only the second shows that nothing is lost.
fn rates(tokens_a_second: u64) -> [Rate; 2] {
    [10, 1_000].map(|millis| Rate::of(tokens_a_second, Duration::from_millis(millis)))
}

/// 100 checks a second get all of the rate, which nearly any machine can ask.
const CHECKS_A_SECOND: u64 = 100;

fn policies(rates: [Rate; 2]) -> PolicyFile {
    let [small, large] = rates.map(|rate| format!("global: {rate}"));
    let documents = [manifest("small", &small), manifest("large", &large)];
    PolicyFile::new(&documents.join("---\n")).expect("a policy")
}

/// Floods both buckets at once.
async fn keeps_to(tokens_a_second: u64, limiters: &[Limiter], clocks: [Clock; 2]) {
    let cost = tokens_a_second / CHECKS_A_SECOND;
    let one = async |server, mut clock| {
        let check = costing(cost, server);
        let mut connections = Vec::new();
        for limiter in limiters.iter().chain(limiters) {
            connections.push(Connection::open(limiter, check.clone()).await);
        }
        flood(&mut connections, cost, &mut clock).await
    };
    let [first, second] = clocks;
    let (small, large) = tokio::join!(one("small", first), one("large", second));
    let [rate_of_small, rate_of_large] = rates(tokens_a_second);
    small.is_within(rate_of_small);
    assert!(small.tokens > rate_of_small.capacity, "it refills");
    large.is_within(rate_of_large);
    large.is_no_less_than(rate_of_large, cost);
}

async fn replicas_keep_to(tokens_a_second: u64) {
    let redis = RedisServer::start().await.expect("Redis");
    let policies = policies(rates(tokens_a_second));
    let mut limiters = Vec::new();
    for _ in 0..3 {
        let arguments = ["--store", &redis.url(), "--store-timeout", "50s"];
        let limiter = Limiter::start(&policies.path(), arguments).await;
        limiters.push(limiter.expect("a limiter"));
    }
    let clocks = [Clock::of(&redis).await, Clock::of(&redis).await];
    keeps_to(tokens_a_second, &limiters, clocks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_keep_to_ten_thousand_a_second() {
    replicas_keep_to(10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_keep_to_a_hundred_thousand_a_second() {
    replicas_keep_to(100_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_keep_to_a_million_a_second() {
    replicas_keep_to(1_000_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_workers_of_one_process_keep_to_each_rate_in_memory() {
    for tokens_a_second in [10_000, 100_000, 1_000_000] {
        let policies = policies(rates(tokens_a_second));
        let limiter = Limiter::start(&policies.path(), ["--workers", "3"]).await;
        let limiters = [limiter.expect("a limiter")];
        let clocks = [Instant::now(), Instant::now()].map(Clock::Monotonic);
        keeps_to(tokens_a_second, &limiters, clocks).await;
    }
}

/// As gateways ask: each with a deny cache of its own, in front of that of its limiter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_remember_denials_get_all_that_a_limit_allows_and_no_more() {
    const RATE: u64 = 100_000;
    // 200 ms between those that pass, so that there is something to remember when an answer is late.
    const COST: u32 = 20_000;
    let redis = RedisServer::start().await.expect("Redis");
    let [_, rate] = rates(RATE);
    let policies = PolicyFile::of_spec(&format!("global: {rate}")).expect("a policy");
    let mut gateways = Vec::new();
    let mut limiters = Vec::new();
    for _ in 0..3 {
        let arguments = ["--store", &redis.url(), "--store-timeout", "50s"];
        let limiter = Limiter::start(&policies.path(), arguments).await;
        let limiter = limiter.expect("a limiter");
        let settings = ClientConfig {
            remember_denials: Duration::from_secs(1),
            ..client_config(limiter.endpoint())
        };
        gateways.push(Arc::new(Client::new(settings).expect("valid settings")));
        limiters.push(limiter);
    }
    let mut clock = Clock::of(&redis).await;

    let began = clock.now().await;
    assert!(ask(&gateways[0], COST).await, "the bucket is full");
    let first = clock.now().await;
    let (until, lulls) = (Instant::now() + SPAN, Arc::new(Lulls::new()));
    let callers = gateways
        .iter()
        .flat_map(|gateway| (0..8).map(|_| Arc::clone(gateway)));
    let callers = callers.map(|gateway| {
        let lulls = Arc::clone(&lulls);
        tokio::spawn(async move {
            let mut allowed = 0;
            while Instant::now() < until {
                if ask(&gateway, COST).await {
                    allowed += 1;
                } else {
                    lulls.interrupt();
                }
                // What is remembered is answered without a wait.
                tokio::task::yield_now().await;
            }
            allowed
        })
    });
    let allowed = try_join_all(callers).await.expect("no task panics");
    let mut allowed = 1 + allowed.iter().sum::<u64>();
    let last = clock.now().await;
    while ask(&gateways[0], COST).await {
        allowed += 1;
    }
    let passed = Passed {
        began,
        first,
        last,
        ended: clock.now().await,
        tokens: allowed * u64::from(COST),
        lulls: lulls.in_all(),
    };
    passed.is_within(rate);
    passed.is_no_less_than(rate, COST.into());
    let remembered = gateways.iter().map(|gateway| gateway.deny_cache_hits());
    assert!(remembered.sum::<u64>() > 0, "nothing was remembered");
}

async fn ask(gateway: &Client, cost: u32) -> bool {
    let check = Check {
        server: "test/server".parse().expect("valid"),
        identity: Identity::anonymous(),
        operation: None,
        cost: cost.try_into().expect("not zero"),
        trace: None,
    };
    let answer = gateway.check(check).await.expect("a decision");
    answer.decision.is_allowed()
}
