//! Redis: what is asked of it, what it does not decide, and who decides then.

use toolgate_tests::{Exposition, Limiter, RedisServer, eventually, of_tool, of_user};

use crate::{asks::stream, assert_counted, scrape};

const DEGRADED: &str = "toolgate_degraded_checks_total";
const ERRORS: &str = "toolgate_check_errors_total";
const STORE_ERRORS: &str = "toolgate_store_errors_total";

async fn limiter_on(redis: &RedisServer, spec: &str, outage: &str) -> Limiter {
    let store = redis.url();
    let arguments = [
        "--store",
        &store,
        "--store-timeout",
        "10s",
        "--outage",
        outage,
    ];
    let limiter = Limiter::of_spec(spec, arguments).await.expect("a limiter");
    until(&limiter, "it is ready", |exposition| {
        exposition.value("toolgate_store_breaker_open") == 0
    })
    .await;
    limiter
}

async fn until(limiter: &Limiter, what: &str, is_so: impl Fn(&Exposition) -> bool) {
    eventually(what, async || is_so(&scrape(limiter).await).then_some(())).await;
}

#[tokio::test]
async fn calls_of_redis_are_counted_with_their_checks_and_remembered_denials_are_none() {
    let redis = RedisServer::start().await.expect("Redis");
    let spec = "perUser: {maxTokens: 3, refillPeriod: 24h}";
    let store = redis.url();
    // Longer than any test: then each denial but the first is remembered.
    let arguments = ["--store", &store, "--store-timeout", "10s"];
    let arguments = [&arguments[..], &["--remember-denials", "10m"]].concat();
    let limiter = Limiter::of_spec(spec, arguments).await.expect("a limiter");
    for _ in 0..4 {
        limiter.check(of_user("alice")).await.expect("an answer");
    }
    stream(&limiter, (0..7).map(|_| of_user("alice"))).await;

    let exposition = scrape(&limiter).await;
    assert_counted(&exposition, "toolgate_deny_cache_hits_total", &[("", 7)]);
    assert_counted(&exposition, "toolgate_batch_size_sum", &[("", 4)]);
    assert_counted(&exposition, "toolgate_batch_size_count", &[("", 4)]);
    assert_counted(
        &exposition,
        "toolgate_store_duration_seconds_count",
        &[("", 4)],
    );
    let of = |decision: &str, scope: &str| {
        format!(
            "{{server=\"test/server\",decision=\"{decision}\",scope=\"{scope}\",operation=\"server\"}}"
        )
    };
    let (allowed, denied) = (of("allowed", ""), of("denied", "per_user"));
    let expected = [(allowed.as_str(), 3), (denied.as_str(), 8)];
    assert_counted(&exposition, "toolgate_checks_total", &expected);
    assert_counted(&exposition, STORE_ERRORS, &[]);

    // Those that come together travel together, and none is lost between.
    stream(
        &limiter,
        (0..500).map(|user| of_user(&format!("user-{user}"))),
    )
    .await;
    let exposition = scrape(&limiter).await;
    assert_counted(&exposition, "toolgate_batch_size_sum", &[("", 504)]);
    let batches = exposition.value("toolgate_batch_size_count");
    assert!(batches < 504, "{batches} batches");
    let durations = exposition.value("toolgate_store_duration_seconds_count");
    assert_eq!(durations, batches, "one duration a batch");
}

/// A value that is no bucket concerns the checks that touch it, and the breaker stays closed.
#[tokio::test]
async fn checks_of_a_value_that_cannot_be_read_are_counted_by_what_becomes_of_them() {
    let spec = "tools: [{name: broken, global: {maxTokens: 3, refillPeriod: 24h}}]";
    for outage in ["local", "unavailable"] {
        let redis = RedisServer::start().await.expect("Redis");
        let limiter = limiter_on(&redis, spec, outage).await;
        let mut operator = redis.connection().await.expect("a connection");
        let set: Result<(), _> = redis::cmd("HSET")
            .arg("tg:{test/server}:global")
            .arg("tool:broken")
            .arg("garbage")
            .query_async(&mut operator)
            .await;
        set.expect("written");
        stream(&limiter, (0..5).map(|_| of_tool("alice", "broken"))).await;

        let exposition = scrape(&limiter).await;
        assert_counted(&exposition, STORE_ERRORS, &[("{kind=\"corrupt\"}", 5)]);
        assert_counted(&exposition, "toolgate_degraded", &[]);
        assert_counted(&exposition, "toolgate_store_breaker_open", &[]);
        let of = |decision: &str, scope: &str| {
            format!(
                "{{server=\"test/server\",decision=\"{decision}\",scope=\"{scope}\",operation=\"tool:broken\"}}"
            )
        };
        if outage == "local" {
            let (allowed, denied) = (of("allowed", ""), of("denied", "global"));
            let expected = [(allowed.as_str(), 3), (denied.as_str(), 2)];
            assert_counted(&exposition, "toolgate_checks_total", &expected);
            let alone = [("{decision=\"allowed\"}", 3), ("{decision=\"denied\"}", 2)];
            assert_counted(&exposition, DEGRADED, &alone);
            assert_counted(&exposition, ERRORS, &[]);
        } else {
            assert_counted(&exposition, "toolgate_checks_total", &[]);
            assert_counted(&exposition, DEGRADED, &[]);
            assert_counted(&exposition, ERRORS, &[("{code=\"INTERNAL\"}", 5)]);
        }
    }
}

#[tokio::test]
async fn an_outage_shows_with_its_checks_and_its_end() {
    for (outage, degraded) in [("local", 1), ("unavailable", 0)] {
        let mut redis = RedisServer::start().await.expect("Redis");
        let spec = "perUser: {maxTokens: 1000, refillPeriod: 24h}";
        let limiter = limiter_on(&redis, spec, outage).await;
        let ask = async |checks: usize| {
            let checks = (0..checks).map(|_| of_user("alice"));
            stream(&limiter, checks).await
        };
        assert_eq!(
            ask(3).await.iter().filter(|answer| answer.is_ok()).count(),
            3
        );
        redis.kill().await.expect("killed");
        ask(20).await;
        let exposition = scrape(&limiter).await;
        let open = [("", 1)];
        assert_counted(&exposition, "toolgate_store_breaker_open", &open);
        assert_eq!(exposition.value("toolgate_degraded"), degraded);
        let allowed =
            "{server=\"test/server\",decision=\"allowed\",scope=\"\",operation=\"server\"}";
        if outage == "local" {
            assert_counted(&exposition, "toolgate_checks_total", &[(allowed, 23)]);
            assert_counted(&exposition, DEGRADED, &[("{decision=\"allowed\"}", 20)]);
            assert_counted(&exposition, ERRORS, &[]);
        } else {
            assert_counted(&exposition, "toolgate_checks_total", &[(allowed, 3)]);
            assert_counted(&exposition, DEGRADED, &[]);
            assert_counted(&exposition, ERRORS, &[("{code=\"UNAVAILABLE\"}", 20)]);
        }
        // How many had asked when the breaker opened is chance; a probe may have opened it.
        let store_errors = exposition.counted(STORE_ERRORS);
        assert!(store_errors.values().sum::<u64>() <= 20, "{store_errors:?}");
        let of_connection = ["{kind=\"connection_lost\"}", "{kind=\"unreachable\"}"];
        let others = store_errors
            .keys()
            .find(|kind| !of_connection.contains(kind));
        assert_eq!(others, None);

        redis.restart().await.expect("restarted");
        until(&limiter, "it is over", |exposition| {
            exposition.value("toolgate_store_breaker_open") == 0
                && exposition.value("toolgate_degraded") == 0
        })
        .await;
        let before = scrape(&limiter).await;
        ask(2).await;
        let after = scrape(&limiter).await;
        assert_eq!(
            after.counted(DEGRADED),
            before.counted(DEGRADED),
            "the store decides"
        );
    }
}
