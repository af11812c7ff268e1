//! A store on a clock that the test turns.

use std::{
    cell::Cell,
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use tokio::runtime::{Builder, Runtime};
use toolgate_limit::{
    Answer, BucketStore, Check, Identity, ManualClock, MemoryStore, Mode, Operation, OperationKind,
    Plan, Policy, Quota, Quotas, ServerId, StoreError, Timestamp,
};
use toolgate_redis::{RedisConfig, RedisStore};
use toolgate_tests::{RedisCluster, RedisServer, TurnedClock};

/// Where each fixture's clock starts: a date like today's, so that numbers are as large as in life.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_800_000_000_123_457);

/// Runs `contract` on every store, and says on which of them it failed.
pub(crate) fn on_every_store(contract: impl Fn(&Fixture)) {
    for fixture in [Fixture::memory(), Fixture::redis(), Fixture::cluster()] {
        let run = catch_unwind(AssertUnwindSafe(|| contract(&fixture)));
        if let Err(panic) = run {
            eprintln!("the contract does not hold on {}", fixture.name);
            resume_unwind(panic);
        }
    }
}

pub(crate) struct Fixture {
    name: &'static str,
    runtime: Runtime,
    store: Arc<dyn BucketStore>,
    clock: TestClock,
    now: Cell<Timestamp>,
    latest: Cell<Timestamp>,
    servers: Cell<u32>,
    pub(crate) redis: Option<RedisServer>,
    _cluster: Option<RedisCluster>,
}

enum TestClock {
    Memory(ManualClock),
    Redis(TurnedClock),
}

impl Fixture {
    pub(crate) fn memory() -> Self {
        let clock = ManualClock::new(START);
        let store = MemoryStore::with_clock(1_000_000, clock.clone());
        Self::new(
            "memory",
            runtime(),
            Arc::new(store),
            TestClock::Memory(clock),
            None,
        )
    }

    pub(crate) fn redis() -> Self {
        let runtime = runtime();
        let clock = TurnedClock::new(START).expect("a clock");
        let (server, store) = runtime.block_on(async {
            let server = RedisServer::start_on(&clock).await.expect("a redis-server");
            let store = redis_store(server.url());
            (server, store)
        });
        Self::new(
            "redis",
            runtime,
            Arc::new(store),
            TestClock::Redis(clock),
            Some(server),
        )
    }

    /// One node that serves all slots; `redis_topologies` is about several.
    pub(crate) fn cluster() -> Self {
        let runtime = runtime();
        let clock = TurnedClock::new(START).expect("a clock");
        let (cluster, store) = runtime.block_on(async {
            let cluster = RedisCluster::of_one(&clock, START).await;
            let cluster = cluster.expect("a cluster");
            let store = redis_store(cluster.url());
            (cluster, store)
        });
        let clock = TestClock::Redis(clock);
        let fixture = Self::new("a Redis cluster", runtime, Arc::new(store), clock, None);
        Self {
            _cluster: Some(cluster),
            ..fixture
        }
    }

    fn new(
        name: &'static str,
        runtime: Runtime,
        store: Arc<dyn BucketStore>,
        clock: TestClock,
        redis: Option<RedisServer>,
    ) -> Self {
        Self {
            name,
            runtime,
            store,
            clock,
            now: Cell::new(START),
            latest: Cell::new(START),
            servers: Cell::new(0),
            redis,
            _cluster: None,
        }
    }

    /// A server that no test has used: all of its buckets are full.
    pub(crate) fn new_server(&self) -> ServerId {
        let number = self.servers.get();
        self.servers.set(number + 1);
        ServerId::new("test", &format!("server-{number}")).expect("valid")
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// The latest time that the clock has shown.
    pub(crate) fn latest(&self) -> Timestamp {
        self.latest.get()
    }

    pub(crate) fn set_clock(&self, now: Timestamp) {
        match &self.clock {
            TestClock::Memory(clock) => clock.set(now),
            TestClock::Redis(clock) => clock.set(now).expect("the clock's file"),
        }
        self.now.set(now);
        self.latest.set(self.latest().max(now));
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.set_clock(self.now() + span);
    }

    pub(crate) fn take(&self, policy: &Policy, call: &Call) -> Answer {
        let plans = vec![policy.plan(&call.check(policy))];
        self.block_on(async { self.store.take(plans).await.remove(0) })
    }

    /// Makes all `calls` at once; the store may decide them together.
    pub(crate) fn take_all(&self, calls: impl IntoIterator<Item = Vec<Plan>>) -> Vec<Answer> {
        let calls = calls.into_iter().map(|plans| self.store.take(plans));
        self.block_on(async { join_all(calls).await.into_iter().flatten().collect() })
    }

    pub(crate) fn peek(&self, policy: &Policy, call: &Call) -> Answer {
        self.block_on(self.store.peek(policy.plan(&call.check(policy))))
    }

    pub(crate) fn reset(&self, policy: &Policy, user: Option<&Identity>) {
        self.block_on(self.store.reset(policy.plan_of(user, None)));
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> T {
        self.runtime.block_on(work).expect("the store decides")
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

fn redis_store(url: String) -> RedisStore {
    let config = RedisConfig {
        // Far above what a busy test machine needs: these tests are not about deadlines.
        timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(20),
        // Denials are remembered on this process's clock, which no test turns.
        remember_denials: Duration::ZERO,
        ..RedisConfig::new(url)
    };
    RedisStore::open(&config).expect("a valid URL")
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// One call of a test: who runs which tool, and what it costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) user: &'a str,
    pub(crate) tool: Option<&'a str>,
    pub(crate) cost: u32,
}

impl Call<'_> {
    pub(crate) const ALICE: Self = Self {
        user: "alice",
        tool: None,
        cost: 1,
    };

    pub(crate) fn check(&self, policy: &Policy) -> Check {
        Check {
            server: policy.server().clone(),
            identity: Identity::new(self.user).expect("a valid subject"),
            operation: self.tool.map(tool),
            cost: NonZeroU32::new(self.cost).expect("a positive cost"),
            trace: None,
        }
    }
}

pub(crate) fn tool(name: &str) -> Operation {
    Operation::new(OperationKind::Tool, name).expect("a valid name")
}

pub(crate) fn quota(capacity: u32, period: Duration) -> Quota {
    Quota::new(capacity, period).expect("a valid quota")
}

/// A policy with one limit: so many calls per period for each user.
pub(crate) fn per_user(server: ServerId, capacity: u32, period: Duration) -> Policy {
    let own = Quotas {
        global: None,
        per_user: Some(quota(capacity, period)),
    };
    Policy::new(server, Mode::Enforce, own, []).expect("a valid policy")
}
