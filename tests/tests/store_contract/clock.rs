//! What a clock that steps may cost: within a refill period a bucket stands still, so that no span
//! refills it twice; from further ahead its state counts as of now (docs/adr/018).

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use toolgate_limit::{Mode, Policy, Quotas, Timestamp};

use crate::{
    fixture::{Call, Fixture, START, on_every_store, per_user, quota},
    rules::{DAY, HOUR, MINUTE, retry_after},
};

const SECOND: Duration = Duration::from_secs(1);

/// How many of 100 calls pass.
fn passed(store: &Fixture, policy: &Policy, call: &Call) -> usize {
    let answers = (0..100).map(|_| store.take(policy, call));
    let allowed = answers.filter(|answer| answer.decision.is_allowed());
    allowed.count()
}

#[test]
fn a_small_step_back_refills_nothing_and_never_twice() {
    on_every_store(|store| {
        let policy = per_user(store.new_server(), 2, MINUTE);
        assert_eq!(passed(store, &policy, &Call::ALICE), 2);
        let emptied_at = store.now();

        for step in [Duration::from_millis(3), 20 * SECOND, MINUTE] {
            store.set_clock(emptied_at - step);
            let denied = store.take(&policy, &Call::ALICE).decision;
            // The clock has to come back to where it was, and then a token has to fill.
            assert_eq!(retry_after(&denied), Some(step + MINUTE / 2));
        }
        store.set_clock(emptied_at);
        assert_eq!(passed(store, &policy, &Call::ALICE), 0);
        store.advance(MINUTE / 2);
        assert_eq!(passed(store, &policy, &Call::ALICE), 1);
    });
}

/// Redis's clock went an hour ahead for a moment. All who were active then were denied for that hour:
/// "retry in 59m57s" under a limit of 10 per 10 s.
#[test]
fn a_clock_that_is_ahead_for_a_moment_costs_one_capacity_and_locks_nobody_out() {
    for moment in [Duration::ZERO, Duration::from_millis(20)] {
        on_every_store(|store| {
            let policy = per_user(store.new_server(), 10, 10 * SECOND);
            assert_eq!(passed(store, &policy, &Call::ALICE), 10);
            let began = store.now();
            store.advance(HOUR);
            assert_eq!(passed(store, &policy, &Call::ALICE), 10, "the step's price");
            store.set_clock(began + moment);

            let told = store.take(&policy, &Call::ALICE).decision;
            assert_eq!(retry_after(&told), Some(SECOND));
            let peeked = store.peek(&policy, &Call::ALICE);
            assert_eq!(peeked.buckets[0].full_after, 10 * SECOND);
            for _ in 0..30 {
                assert_eq!(passed(store, &policy, &Call::ALICE), 0);
                store.advance(SECOND);
                assert_eq!(passed(store, &policy, &Call::ALICE), 1);
            }
        });
    }
}

/// The clock was an hour ahead all along, and is corrected.
#[test]
fn a_clock_that_is_set_back_denies_nobody_for_longer_than_the_refill_period() {
    on_every_store(|store| {
        let policy = per_user(store.new_server(), 10, 10 * SECOND);
        assert_eq!(passed(store, &policy, &Call::ALICE), 10);
        store.set_clock(store.now() - HOUR);
        let told = store.take(&policy, &Call::ALICE).decision;
        assert_eq!(retry_after(&told), Some(SECOND));
        store.advance(10 * SECOND);
        assert_eq!(passed(store, &policy, &Call::ALICE), 10);
    });
}

/// What one bucket takes as a far step is a small one to another. Where they are in one check, those
/// with the longer period go on standing still.
#[test]
fn each_bucket_of_a_check_stands_still_for_its_own_period() {
    on_every_store(|store| {
        let own = Quotas {
            global: Some(quota(100, DAY)),
            per_user: Some(quota(10, 10 * SECOND)),
        };
        let policy = Policy::new(store.new_server(), Mode::Enforce, own, []).expect("valid");
        assert_eq!(passed(store, &policy, &Call::ALICE), 10);
        store.set_clock(store.now() - HOUR);
        assert_eq!(passed(store, &policy, &Call::ALICE), 0);
        store.advance(10 * SECOND);
        assert_eq!(passed(store, &policy, &Call::ALICE), 10);
        let answer = store.peek(&policy, &Call::ALICE);
        // 20 of 100 are missing, and the hour, less the 10 s, has to pass again before they fill.
        assert_eq!(answer.buckets[0].remaining, 80);
        let full_after = answer.buckets[0].full_after;
        assert_eq!(full_after + 10 * SECOND, HOUR + DAY / 5);
    });
}

/// A denial writes nothing, unless the state was from too far ahead: otherwise the bucket of a caller
/// who asks again and again would begin to fill at each check.
#[test]
fn a_caller_who_asks_all_the_while_is_served_as_soon() {
    on_every_store(|store| {
        let policy = per_user(store.new_server(), 1, 10 * SECOND);
        assert_eq!(passed(store, &policy, &Call::ALICE), 1);
        store.set_clock(store.now() - HOUR);
        for _ in 0..10 {
            assert_eq!(passed(store, &policy, &Call::ALICE), 0);
            store.advance(SECOND);
        }
        assert_eq!(passed(store, &policy, &Call::ALICE), 1);
    });
}

/// One stretch of true time, by how much the clock then errs more than before, and what is asked.
type Step = (u64, i64, u32);

/// Clocks that mostly run well, and sometimes are a little off or far off.
fn any_walk(period: u64) -> impl Strategy<Value = Vec<Step>> {
    let far = 4 * i64::try_from(period).expect("fits");
    let error = prop_oneof![4 => Just(0), 3 => -500_000..=500_000_i64, 1 => -far..=far];
    prop::collection::vec((0..=period / 3, error, 1_u32..4), 1..40)
}

#[test]
fn the_admission_bound_holds_whatever_the_clock_does() {
    on_every_store(|store| {
        let case = (1_u32..6, 1_000_u64..5_000_000)
            .prop_flat_map(|(capacity, period)| (Just(capacity), Just(period), any_walk(period)));
        let mut runner = TestRunner::new(Config {
            cases: 200,
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&case, |(capacity, period, walk)| {
            // Nothing that an earlier case has left is from after this one's beginning.
            store.set_clock(store.latest().max(START));
            let policy = per_user(store.new_server(), capacity, Duration::from_micros(period));
            let began = store.now().as_micros();
            let (mut truth, mut error, mut taken, mut ahead) = (began, 0_i64, 0_u128, 0_u128);
            for (step, change, cost) in walk {
                truth += step;
                error += change;
                // A step forward refills what its span does, and at most one capacity.
                ahead += u128::try_from(change.max(0))
                    .expect("positive")
                    .min(period.into());
                store.set_clock(Timestamp::from_micros(truth.saturating_add_signed(error)));
                let call = Call {
                    cost,
                    ..Call::ALICE
                };
                if store.take(&policy, &call).decision.is_allowed() {
                    taken += u128::from(cost);
                }
                let span = u128::from(period) + u128::from(truth - began) + ahead;
                prop_assert!(taken * u128::from(period) <= u128::from(capacity) * span);
            }
            // Whatever it did: from now on it runs well, and a wait is short and exact.
            let all = Call {
                cost: capacity,
                ..Call::ALICE
            };
            let answer = store.take(&policy, &all).decision;
            if !answer.is_allowed() {
                let wait = retry_after(&answer).expect("it can pass");
                prop_assert!(wait <= Duration::from_micros(2 * period), "{:?}", wait);
                let asked_at = store.now();
                store.set_clock(asked_at + wait - Duration::from_micros(1));
                prop_assert!(!store.take(&policy, &all).decision.is_allowed());
                store.set_clock(asked_at + wait);
                prop_assert!(store.take(&policy, &all).decision.is_allowed());
            }
            Ok(())
        });
        assert_eq!(outcome, Ok(()));
    });
}
