//! What lies in Redis, bit for bit.

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use toolgate_limit::{Bucket, Mode, Policy, Quota, Quotas, Timestamp};

use crate::fixture::{Call, Fixture, START, per_user, quota, tool};

/// The record of `bucket`, written here a second time from its description.
fn record(bucket: &Bucket) -> Vec<u8> {
    Writer::ThisRelease.record(bucket)
}

/// Who has written a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    ThisRelease,
    /// A build from before records had a version.
    Unnumbered,
    /// A release whose version this one does not know, with so many bytes more.
    Later(u8, usize),
}

const WRITERS: [Writer; 5] = [
    Writer::ThisRelease,
    Writer::Unnumbered,
    Writer::Later(2, 0),
    Writer::Later(3, 13),
    Writer::Later(254, 100),
];

impl Writer {
    fn record(self, bucket: &Bucket) -> Vec<u8> {
        let state = state(bucket);
        match self {
            Self::ThisRelease => [&[1], &state[..]].concat(),
            Self::Unnumbered => state,
            Self::Later(version, more) => [&[version], &state[..], &vec![0x5a; more]].concat(),
        }
    }
}

fn state(bucket: &Bucket) -> Vec<u8> {
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
    (capacity, micros).prop_map(|(capacity, micros)| quota_of(capacity, micros))
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

/// Any state that a bucket of `quota` can be in: up to a period old, or from a clock that was ahead.
fn any_bucket(quota: Quota) -> impl Strategy<Value = Bucket> {
    let period = i64::try_from(quota.period_micros()).expect("fits");
    let ahead = prop_oneof![
        6 => -period..=0,
        1 => 0..=period,
        1 => period - 1..=period + 1,
        1 => 0..=3 * period,
    ];
    let state = (0..quota.capacity(), 0..quota.period_micros(), ahead);
    state.prop_map(move |(tokens, fraction, ahead)| {
        let as_of = Timestamp::from_micros(START.as_micros().saturating_add_signed(ahead));
        Bucket::restore(quota, tokens, fraction, as_of).expect("possible")
    })
}

/// Lua and Rust do the same arithmetic: from any state, under the same or another quota, the script
/// stores exactly the bits that the pure function arrives at, whichever release wrote the state.
#[test]
fn the_script_stores_the_bits_that_the_pure_function_finds() {
    let fixture = Fixture::redis();
    let case = (any_quota(), prop::option::of(any_quota()))
        .prop_flat_map(|(old, new)| (any_bucket(old), Just(new.unwrap_or(old))));
    let case = (case, prop::sample::select(&WRITERS[..]));
    let mut runner = TestRunner::new(Config {
        cases: 6_000,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&case, |((stored, quota), writer)| {
        let policy = per_user(
            fixture.new_server(),
            quota.capacity(),
            quota.refill_period(),
        );
        let key = format!("tg:{{{}}}:user:alice", policy.server());
        let mut seed = redis::cmd("HSET");
        seed.arg(&key).arg("server").arg(writer.record(&stored));
        ask::<()>(&fixture, &seed);

        let mut expected = stored.at(quota, START);
        let holds = expected.take(1);
        let answer = fixture.take(&policy, &Call::ALICE);
        prop_assert_eq!(answer.decision.is_allowed(), holds);

        let after: Vec<u8> = ask(&fixture, redis::cmd("HGET").arg(&key).arg("server"));
        // A denial writes nothing, unless the limit has changed or the state was from far ahead.
        let written = holds || quota != stored.quota() || expected.is_rewound(&stored);
        let expected = if written {
            record(&expected)
        } else {
            writer.record(&stored)
        };
        prop_assert_eq!(after, expected);
        Ok(())
    });
    assert_eq!(outcome, Ok(()));
}

/// The same along any walk of the clock, check by check: what Redis holds is what the pure function
/// has made of what it held before, or the key has expired as its bucket was full.
#[test]
fn along_any_walk_of_the_clock_the_script_and_the_pure_function_stay_together() {
    let fixture = Fixture::redis();
    let walk = |quota: Quota| {
        let period = i64::try_from(quota.period_micros()).expect("fits");
        let turn = prop_oneof![
            3 => 0..=period / 4,
            1 => -1_000..=1_000_i64,
            1 => -period - 1..=period + 1,
            1 => -3 * period..=3 * period,
        ];
        let cost = prop_oneof![3 => Just(1), 1 => 1..=quota.capacity()];
        (Just(quota), prop::collection::vec((turn, cost), 1..25))
    };
    // Not of years: a walk stays between the years 1970 and 2255.
    let quota = (1..=Quota::MAX_CAPACITY, 1_000..100_000_000_000_u64);
    let quota = prop_oneof![quota, (1..10_u32, 1_000..20_000_000_u64)];
    let quota = quota.prop_map(|(capacity, micros)| quota_of(capacity, micros));
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&quota.prop_flat_map(walk), |(quota, walk)| {
        fixture.set_clock(START);
        let policy = per_user(
            fixture.new_server(),
            quota.capacity(),
            quota.refill_period(),
        );
        let key = format!("tg:{{{}}}:user:alice", policy.server());
        let stored =
            || -> Option<Vec<u8>> { ask(&fixture, redis::cmd("HGET").arg(&key).arg("server")) };
        let (mut model, mut latest) = (None::<Bucket>, START);
        for (turn, cost) in walk {
            let now = fixture.now().as_micros().saturating_add_signed(turn);
            fixture.set_clock(Timestamp::from_micros(now));
            latest = latest.max(fixture.now());
            let before = stored();
            if before.is_none()
                && let Some(forgotten) = model.take()
            {
                let then = forgotten.at(quota, latest);
                prop_assert_eq!(then.tokens(), quota.capacity(), "it expired too soon");
            }
            prop_assert_eq!(before, model.as_ref().map(record));

            let mut bucket = model.unwrap_or(Bucket::full(quota, fixture.now()));
            bucket = bucket.at(quota, fixture.now());
            let holds = bucket.take(cost);
            let call = Call {
                cost,
                ..Call::ALICE
            };
            let answer = fixture.take(&policy, &call);
            prop_assert_eq!(answer.decision.is_allowed(), holds);
            if holds || model.is_some_and(|before| bucket.is_rewound(&before)) {
                model = Some(bucket);
            }
            prop_assert_eq!(stored(), model.as_ref().map(record));
        }
        Ok(())
    });
    assert_eq!(outcome, Ok(()));
}

/// Two releases share a Redis while one replaces the other. After each check of ours the record is
/// rewritten as the other would: the limit holds to the token, for checks and for whoever looks.
#[test]
fn two_releases_that_write_in_turns_keep_one_limit() {
    let fixture = Fixture::redis();
    for other in WRITERS {
        let quota = quota(100, Duration::from_hours(1));
        let policy = per_user(fixture.new_server(), 100, Duration::from_hours(1));
        let key = format!("tg:{{{}}}:user:alice", policy.server());
        let mut model = Bucket::full(quota, fixture.now());
        for check in 0..150 {
            model = model.at(quota, fixture.now());
            let holds = model.take(1);
            let answer = fixture.take(&policy, &Call::ALICE);
            assert_eq!(answer.decision.is_allowed(), holds, "{other:?}, {check}");
            let mut write = redis::cmd("HSET");
            write.arg(&key).arg("server").arg(other.record(&model));
            ask::<()>(&fixture, &write);
            let seen = fixture.peek(&policy, &Call::ALICE);
            assert_eq!(
                seen.buckets[0].remaining,
                model.tokens(),
                "{other:?}, {check}"
            );
            fixture.advance(Duration::from_secs(check % 37));
        }
    }
}

/// What another release's record says of its hash's life is not known, so the expiry is looked at: a
/// hash that is about to vanish lives on until its buckets are full.
#[test]
fn a_hash_whose_values_are_of_a_later_release_does_not_vanish_before_its_buckets_are_full() {
    let fixture = Fixture::redis();
    for other in [Writer::Later(2, 0), Writer::Later(9, 20)] {
        let quota = quota(100, Duration::from_hours(1));
        let policy = per_user(fixture.new_server(), 100, Duration::from_hours(1));
        let key = format!("tg:{{{}}}:user:alice", policy.server());
        let mut spent = Bucket::full(quota, fixture.now());
        spent.take(50);
        let mut write = redis::cmd("HSET");
        write.arg(&key).arg("server").arg(other.record(&spent));
        ask::<()>(&fixture, &write);
        ask::<()>(&fixture, redis::cmd("PEXPIRE").arg(&key).arg(1_000));
        assert!(fixture.take(&policy, &Call::ALICE).decision.is_allowed());
        fixture.advance(Duration::from_mins(29));
        let left = fixture.peek(&policy, &Call::ALICE).buckets[0].remaining;
        assert_eq!(left, 49 + 48, "{other:?}");
    }
}

fn quota_of(capacity: u32, micros: u64) -> Quota {
    quota(capacity, Duration::from_micros(micros))
}

/// The most that a key lives on after its buckets are full and one second has passed: the distance
/// of the marks to which these times are rounded up.
fn distance_of_marks(period: Duration) -> Duration {
    Duration::from_secs(10).max(period / 64)
}

#[test]
fn a_key_expires_soon_after_its_last_bucket_is_full() {
    let fixture = Fixture::redis();
    let period = Duration::from_secs(10);
    let policy = per_user(fixture.new_server(), 10, period);
    let key = format!("tg:{{{}}}:user:alice", policy.server());
    let remaining_life = || ask::<i64>(&fixture, redis::cmd("PTTL").arg(&key));
    for _ in 0..10 {
        fixture.take(&policy, &Call::ALICE);
    }
    fixture.advance(Duration::from_secs(11));
    assert!(remaining_life() > 0, "a second longer than to full");
    fixture.advance(distance_of_marks(period));
    assert_eq!(remaining_life(), -2, "the key is gone");
    assert_eq!(fixture.peek(&policy, &Call::ALICE).buckets[0].remaining, 10);
}

/// A check that moves no bucket past a mark leaves the key's expiry as it is, so this walks through
/// many checks of two buckets, at all distances, and looks at the key after each.
#[test]
fn a_key_outlives_its_fullest_time_by_a_second_whatever_came_before() {
    let fixture = Fixture::redis();
    for (capacity, period) in [
        (10, Duration::from_secs(10)),
        (3, Duration::from_hours(24 * 30)),
        (1_000, Duration::from_hours(1)),
        (1_000_000, Duration::from_secs(1)),
    ] {
        let quotas = |capacity, period| Quotas {
            global: None,
            per_user: Some(quota(capacity, period)),
        };
        let search = (tool("search"), quotas(5, Duration::from_mins(1)));
        let own = quotas(capacity, period);
        let policy =
            Policy::new(fixture.new_server(), Mode::Enforce, own, [search]).expect("valid");
        let key = format!("tg:{{{}}}:user:alice", policy.server());
        let every = Call {
            tool: Some("search"),
            ..Call::ALICE
        };
        for step in 0..150_u64 {
            let call = if step % 3 == 0 { every } else { Call::ALICE };
            fixture.take(&policy, &call);
            let buckets = fixture.peek(&policy, &every).buckets;
            let full_after = buckets.iter().map(|bucket| bucket.full_after).max();
            let full_after = full_after.expect("two buckets");
            let life = ask::<i64>(&fixture, redis::cmd("PTTL").arg(&key));
            if full_after > Duration::ZERO {
                let life = Duration::from_millis(u64::try_from(life).expect("the key is there"));
                let shortest = full_after + Duration::from_secs(1);
                let longest = shortest + distance_of_marks(period) + Duration::from_millis(2);
                // Two buckets: the other's mark may lie further away.
                let longest = longest + distance_of_marks(Duration::from_mins(1));
                assert!(
                    (shortest..=longest).contains(&life),
                    "{capacity} per {period:?}, step {step}: {life:?}, full after {full_after:?}"
                );
            }
            // From far below a mark's distance to beyond it.
            fixture.advance(Duration::from_millis(37 * (step % 29) * (step % 29)));
        }
    }
}
