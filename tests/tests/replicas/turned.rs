//! On a clock that is turned by hand, in steps down to a microsecond, what passes at any rate is
//! the exact sum: no token more, and none less.

use std::{collections::HashMap, time::Duration};

use toolgate_limit::Timestamp;
use toolgate_proto::pb::{CheckRequest, ListBucketsRequest};
use toolgate_tests::{Limiter, PolicyFile, RedisServer, TurnedClock, manifest, of_tool};

use crate::{
    flood::{Connection, until_denied},
    sum::{Level, Rate},
};

/// In microseconds: below a token, at it and above, at each of the rates. Each comes often, so that
/// what is left of a token adds up.
const STEPS: [u64; 12] = [1, 7, 1, 99, 100, 101, 1, 333, 10, 1_000, 3, 999];

/// A Redis on a clock of the test's own, and limiters that share it.
struct Stage {
    clock: TurnedClock,
    now: Timestamp,
    replicas: Vec<Limiter>,
    _redis: RedisServer,
    _policies: PolicyFile,
}

impl Stage {
    async fn start(replicas: usize, policies: &str) -> Self {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let clock = TurnedClock::new(now).expect("a clock");
        let redis = RedisServer::start_on(&clock).await.expect("Redis");
        let policies = PolicyFile::new(policies).expect("a policy");
        // Denials are remembered on the limiter's own clock, which no test turns.
        let store = ["--store", &redis.url(), "--store-timeout", "50s"];
        let arguments = [&store[..], &["--remember-denials", "0s"]].concat();
        let mut limiters = Vec::new();
        for _ in 0..replicas {
            let limiter = Limiter::start(&policies.path(), &arguments).await;
            limiters.push(limiter.expect("a limiter"));
        }
        Self {
            clock,
            now,
            replicas: limiters,
            _redis: redis,
            _policies: policies,
        }
    }

    fn advance(&mut self, micros: u64) {
        self.now = Timestamp::from_micros(self.now.as_micros() + micros);
        self.clock.set(self.now).expect("the clock turns");
    }

    fn turn_back(&mut self, micros: u64) {
        self.now = Timestamp::from_micros(self.now.as_micros() - micros);
        self.clock.set(self.now).expect("the clock turns");
    }

    /// One to each replica for each of the checks.
    async fn connections(&self, checks: &[CheckRequest]) -> Vec<Connection> {
        let mut connections = Vec::new();
        for check in checks {
            for replica in &self.replicas {
                connections.push(Connection::open(replica, check.clone()).await);
            }
        }
        connections
    }
}

fn of_server(server: &str) -> CheckRequest {
    CheckRequest {
        server: format!("test/{server}"),
        ..CheckRequest::default()
    }
}

/// With a capacity that is small against the rate, and one that is equal to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_three_replicas_what_passes_is_the_exact_sum_at_each_rate() {
    let rates = [10_000, 100_000, 1_000_000].map(|tokens_a_second| {
        [2, 1_000].map(|millis| Rate::of(tokens_a_second, Duration::from_millis(millis)))
    });
    let rates: Vec<_> = (0..).zip(rates.into_iter().flatten()).collect();
    let server = |number: u32| format!("server-{number}");
    let documents = rates
        .iter()
        .map(|(number, rate)| manifest(&server(*number), &format!("global: {rate}")));
    let mut stage = Stage::start(3, &documents.collect::<Vec<_>>().join("---\n")).await;
    for (number, rate) in rates {
        let check = of_server(&server(number));
        let all = CheckRequest {
            cost: u32::try_from(rate.capacity).expect("fits"),
            ..check.clone()
        };
        let mut level = Level::full(rate);
        let drained = until_denied(&mut stage.connections(&[all]).await).await;
        assert_eq!(drained.iter().sum::<u64>(), 1, "{rate}");
        level.pay(rate.capacity);

        let mut connections = stage.connections(&[check.clone(), check]).await;
        for micros in STEPS.iter().cycle().take(3 * STEPS.len()) {
            stage.advance(*micros);
            level.refill(*micros);
            let passed = until_denied(&mut connections).await.iter().sum();
            assert_eq!(passed, level.tokens(), "{rate}, {micros} us later");
            level.pay(passed);
        }
    }
}

/// Each check touches four buckets, whose rates differ, so that now this and now that one refuses.
/// What a refused check paid anywhere would be missing there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_four_buckets_at_such_rates_all_pay_or_none_does() {
    let of_2_ms = |tokens_a_second| Rate::of(tokens_a_second, Duration::from_millis(2));
    let (global, tool_global) = (of_2_ms(1_000_000), of_2_ms(500_000));
    let (per_user, tool_per_user) = (of_2_ms(300_000), of_2_ms(100_000));
    let limits_of =
        |name| format!("{{name: {name}, global: {tool_global}, perUser: {tool_per_user}}}");
    let spec = format!(
        "global: {global}, perUser: {per_user}, tools: [{}, {}]",
        limits_of("fetch"),
        limits_of("search")
    );
    let mut stage = Stage::start(2, &manifest("server", &spec)).await;
    let calls = ["alice", "bob", "carol"].map(|user| ["fetch", "search"].map(|tool| (user, tool)));
    let calls: Vec<_> = calls.into_iter().flatten().collect();
    let checks: Vec<_> = calls
        .iter()
        .map(|(user, tool)| of_tool(user, tool))
        .collect();
    let mut connections = stage.connections(&checks).await;

    let mut levels = HashMap::from([((None, None), Level::full(global))]);
    for (user, tool) in &calls {
        levels.insert((None, Some(*tool)), Level::full(tool_global));
        levels.insert((Some(*user), None), Level::full(per_user));
        levels.insert((Some(*user), Some(*tool)), Level::full(tool_per_user));
    }
    for micros in STEPS.iter().cycle().take(2 * STEPS.len()) {
        let passed = until_denied(&mut connections).await;
        let of_call = calls.iter().zip(passed.chunks(stage.replicas.len()));
        for (&(user, tool), passed) in of_call {
            let touched = [
                (None, None),
                (None, Some(tool)),
                (Some(user), None),
                (Some(user), Some(tool)),
            ];
            for bucket in touched {
                let level = levels.get_mut(&bucket).expect("one of them");
                level.pay(passed.iter().sum());
            }
        }
        for &(user, tool) in &calls {
            let refuses = |bucket| levels[&bucket].tokens() == 0;
            let touched = [(None, None), (None, Some(tool)), (Some(user), None)];
            let one_refuses = touched.into_iter().any(refuses) || refuses((Some(user), Some(tool)));
            assert!(one_refuses, "{user} was refused {tool} by none: {levels:?}");
        }
        for user in [None, Some("alice"), Some("bob"), Some("carol")] {
            let expected = [None, Some("fetch"), Some("search")].map(|tool| levels[&(user, tool)]);
            let left = remaining(&stage.replicas[0], user).await;
            assert_eq!(left, expected.map(|level| level.tokens()), "{user:?}");
        }
        stage.advance(*micros);
        for level in levels.values_mut() {
            level.refill(*micros);
        }
    }
}

/// A clock showed an hour too much for a moment, and who was active then was told to retry in 59m57s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_an_hour_ahead_for_a_moment_locks_no_caller_out() {
    const SECOND: u64 = 1_000_000;
    let spec = "perUser: {maxTokens: 10, refillPeriod: 10s}";
    let mut stage = Stage::start(2, &manifest("server", spec)).await;
    let check = of_tool("alice", "search");
    let mut connections = stage.connections(std::slice::from_ref(&check)).await;
    for expected in [10, 10] {
        let passed = until_denied(&mut connections).await;
        assert_eq!(passed.iter().sum::<u64>(), expected);
        stage.advance(3_600 * SECOND);
    }
    stage.turn_back(2 * 3_600 * SECOND);

    let mut client = stage.replicas[0].client().await.expect("a connection");
    let denied = client.check(check).await.expect("decided").into_inner();
    let retry_after = denied.denial.and_then(|denial| denial.retry_after);
    assert_eq!(
        retry_after.map(|wait| (wait.seconds, wait.nanos)),
        Some((1, 0))
    );
    let full_after = denied.buckets[0].full_after;
    assert_eq!(
        full_after.map(|wait| (wait.seconds, wait.nanos)),
        Some((10, 0))
    );
    for _ in 0..12 {
        stage.advance(SECOND);
        let passed = until_denied(&mut connections).await;
        assert_eq!(passed.iter().sum::<u64>(), 1);
    }
}

/// What is left in the buckets of `user`, or in those that all share: the server's own, then those
/// of its tools by name.
async fn remaining(replica: &Limiter, user: Option<&str>) -> Vec<u64> {
    let request = ListBucketsRequest {
        server: "test/server".to_owned(),
        identity: user.and_then(|user| of_tool(user, "search").identity),
    };
    let mut admin = replica.admin().await.expect("a connection");
    let reply = admin.list_buckets(request).await.expect("buckets");
    let buckets = reply.into_inner().buckets;
    buckets
        .iter()
        .map(|bucket| bucket.remaining.into())
        .collect()
}
