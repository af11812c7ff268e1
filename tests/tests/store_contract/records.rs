//! What lies in Redis, bit for bit.

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use toolgate_limit::{Bucket, Quota, Timestamp};

use crate::fixture::{Call, Fixture, START, per_user, quota};

/// The record of `bucket`, written here a second time from its description.
fn record(bucket: &Bucket) -> Vec<u8> {
    [
        &bucket.quota().capacity().to_le_bytes()[..],
        &bucket.quota().period_micros().to_le_bytes()[..6],
        &bucket.tokens().to_le_bytes()[..],
        &bucket.fraction().to_le_bytes()[..6],
        &bucket.as_of().as_micros().to_le_bytes()[..7],
    ]
    .concat()
}

fn any_quota() -> impl Strategy<Value = Quota> {
    let max = u64::try_from(Quota::MAX_PERIOD.as_micros()).expect("fits");
    let micros = prop_oneof![1_000..=max, (max - 1_000)..=max, 1_000..2_000_u64];
    let capacity = prop_oneof![
        1..=Quota::MAX_CAPACITY,
        (Quota::MAX_CAPACITY - 9)..=Quota::MAX_CAPACITY,
        1..10_u32,
    ];
    (capacity, micros).prop_map(|(capacity, micros)| quota(capacity, Duration::from_micros(micros)))
}

/// What Redis itself replies to `command`.
fn ask<T: redis::FromRedisValue>(fixture: &Fixture, command: &redis::Cmd) -> T {
    let redis = fixture.redis.as_ref().expect("a Redis fixture");
    let reply = async {
        let mut connection = redis.connection().await?;
        anyhow::Ok(command.query_async(&mut connection).await?)
    };
    fixture.runtime().block_on(reply).expect("a reply")
}

/// Any state that a bucket of `quota` can be in, up to a period old.
fn any_bucket(quota: Quota) -> impl Strategy<Value = Bucket> {
    let state = (
        0..quota.capacity(),
        0..quota.period_micros(),
        0..=quota.period_micros(),
    );
    state.prop_map(move |(tokens, fraction, age)| {
        let as_of = Timestamp::from_micros(START.as_micros() - age);
        Bucket::restore(quota, tokens, fraction, as_of).expect("possible")
    })
}

/// Lua and Rust do the same arithmetic: from any state, under the same or another quota, the script
/// stores exactly the bits that the pure function arrives at.
#[test]
fn the_script_stores_the_bits_that_the_pure_function_finds() {
    let fixture = Fixture::redis();
    let case = (any_quota(), prop::option::of(any_quota()))
        .prop_flat_map(|(old, new)| (any_bucket(old), Just(new.unwrap_or(old))));
    let mut runner = TestRunner::new(Config {
        cases: 6_000,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&case, |(stored, quota)| {
        let policy = per_user(
            fixture.new_server(),
            quota.capacity(),
            quota.refill_period(),
        );
        let key = format!("tg:{{{}}}:user:alice", policy.server());
        let mut seed = redis::cmd("HSET");
        seed.arg(&key).arg("server").arg(record(&stored));
        ask::<()>(&fixture, &seed);

        let mut expected = stored.at(quota, START);
        let holds = expected.take(1);
        let answer = fixture.take(&policy, &Call::ALICE);
        prop_assert_eq!(answer.decision.is_allowed(), holds);

        let after: Vec<u8> = ask(&fixture, redis::cmd("HGET").arg(&key).arg("server"));
        // A denial writes nothing, unless the limit has changed.
        let written = holds || quota != stored.quota();
        prop_assert_eq!(after, record(if written { &expected } else { &stored }));
        Ok(())
    });
    assert_eq!(outcome, Ok(()));
}

/// A key lives until its last bucket is full and a second longer, and then not much longer.
#[test]
fn a_key_expires_when_its_buckets_are_full() {
    let fixture = Fixture::redis();
    let policy = per_user(fixture.new_server(), 10, Duration::from_secs(10));
    let key = format!("tg:{{{}}}:user:alice", policy.server());
    let remaining_life = || ask::<i64>(&fixture, redis::cmd("PTTL").arg(&key));
    let mut full_after = 0;
    for _ in 0..10 {
        fixture.take(&policy, &Call::ALICE);
        full_after += 1_000;
        let life = remaining_life();
        let longest = (full_after + 1_002) * 5 / 4;
        assert!(
            (full_after + 1_000..=longest).contains(&life),
            "{life} after {full_after}"
        );
    }
    fixture.advance(Duration::from_secs(11));
    assert!(remaining_life() > 0);
    fixture.advance(Duration::from_secs(3));
    assert_eq!(remaining_life(), -2, "the key is gone");
    assert_eq!(fixture.peek(&policy, &Call::ALICE).buckets[0].remaining, 10);
}
