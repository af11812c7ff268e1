//! The script in a real Redis against a bare `EVALSHA`, by the clock and by Redis's own account.

use futures::future::try_join_all;
use redis::aio::MultiplexedConnection;
use tokio::runtime::{Builder, Runtime};
use toolgate_limit::{BucketStore, Plan};
use toolgate_redis::{RedisConfig, RedisStore};
use toolgate_tests::RedisServer;

use crate::{
    measure::{Side, compare},
    plans, policy,
};

const CHECKS: usize = 6_400;
const IN_FLIGHT: usize = 64;

pub(crate) fn run() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let server = runtime.block_on(RedisServer::start()).expect("Redis");
    let mut connection = runtime.block_on(server.connection()).expect("a connection");
    let bare = runtime.block_on(load_bare(&mut connection));
    let store = {
        let _inside = runtime.enter();
        RedisStore::open(&RedisConfig::new(server.url())).expect("a URL")
    };
    let plans = plans(&policy(), CHECKS);

    compare(
        "Redis, one call at a time: round trips",
        vec![
            Side {
                name: "bare EVALSHA",
                run: Box::new(|| evaluate(&runtime, &connection, &bare, 1)),
            },
            Side {
                name: "check",
                run: Box::new(|| check(&runtime, &store, &plans, 1)),
            },
        ],
    );
    compare(
        "Redis, 64 in flight",
        vec![
            Side {
                name: "bare EVALSHA",
                run: Box::new(|| evaluate(&runtime, &connection, &bare, IN_FLIGHT)),
            },
            Side {
                name: "check, coalesced",
                run: Box::new(|| check(&runtime, &store, &plans, IN_FLIGHT)),
            },
        ],
    );

    println!("Redis, its own account of the script alone");
    let other = connection.clone();
    let mut account = |name, run: &dyn Fn() -> usize| {
        runtime.block_on(reset(&mut connection));
        let operations = run();
        let (calls, micros) = runtime.block_on(evalsha_stats(&mut connection));
        #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
        let (per_operation, per_call) = (
            micros as f64 / operations as f64,
            operations as f64 / calls as f64,
        );
        println!("  {name:<44} {per_operation:>10.2} us each, {per_call:.1} a call");
    };
    account("bare EVALSHA", &|| evaluate(&runtime, &other, &bare, 1));
    account("check, alone", &|| check(&runtime, &store, &plans, 1));
    account("check, 64 in flight", &|| {
        check(&runtime, &store, &plans, IN_FLIGHT)
    });
    println!();
}

/// The least that a script can do on the keys of a check.
async fn load_bare(connection: &mut MultiplexedConnection) -> String {
    redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg("return 1")
        .query_async(connection)
        .await
        .expect("loaded")
}

fn evaluate(
    runtime: &Runtime,
    connection: &MultiplexedConnection,
    script: &str,
    in_flight: usize,
) -> usize {
    let one = |number: usize| {
        let mut connection = connection.clone();
        async move {
            redis::cmd("EVALSHA")
                .arg(script)
                .arg(2)
                .arg("tg:{bench/server}:global")
                .arg(format!("tg:{{bench/server}}:user:user-{number}"))
                .exec_async(&mut connection)
                .await
        }
    };
    runtime.block_on(async {
        for first in (0..CHECKS).step_by(in_flight) {
            let calls = (first..first + in_flight).map(one);
            try_join_all(calls).await.expect("replies");
        }
    });
    CHECKS
}

fn check(runtime: &Runtime, store: &RedisStore, plans: &[Plan], in_flight: usize) -> usize {
    runtime.block_on(async {
        for plans in plans.chunks(in_flight) {
            let checks = plans.iter().map(|plan| store.take(plan.clone()));
            try_join_all(checks).await.expect("decisions");
        }
    });
    plans.len()
}

async fn reset(connection: &mut MultiplexedConnection) {
    let mut command = redis::cmd("CONFIG");
    let reset = command.arg("RESETSTAT").exec_async(connection).await;
    reset.expect("reset");
}

/// Calls of `EVALSHA` since the reset, and the microseconds that Redis spent in them.
async fn evalsha_stats(connection: &mut MultiplexedConnection) -> (u64, u64) {
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(connection)
        .await
        .expect("statistics");
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
    let value = |name| {
        let mut pairs = line.expect("EVALSHA was called").split(',');
        let value = pairs
            .find_map(|pair| pair.strip_prefix(name))
            .expect("a statistic");
        value.parse().expect("a number")
    };
    (value("calls="), value("usec="))
}
