//! What becomes of a bucket when its limit changes.

use std::time::Duration;

use toolgate_limit::Policy;

use crate::{
    fixture::{Call, on_every_store, per_user},
    rules::{DAY, HOUR, retry_after},
};

#[test]
fn a_changed_limit_keeps_the_tokens_and_hands_out_no_fresh_burst() {
    on_every_store(|store| {
        let server = store.new_server();
        let slow = per_user(server.clone(), 10, HOUR);
        let all = Call {
            cost: 10,
            ..Call::ALICE
        };
        assert!(store.take(&slow, &all).decision.is_allowed());
        store.advance(HOUR / 2);

        // Half an hour of the old limit is 5 tokens; under the new one it would have been 18,000.
        let fast = per_user(server.clone(), 10, Duration::from_secs(1));
        assert_eq!(store.peek(&fast, &Call::ALICE).buckets[0].remaining, 5);
        let small = per_user(server.clone(), 3, HOUR);
        assert_eq!(store.peek(&small, &Call::ALICE).buckets[0].remaining, 3);
        let large = per_user(server, 1_000, HOUR);
        let answer = store.take(&large, &Call::ALICE);
        assert_eq!(answer.buckets[0].remaining, 4);
        store.advance(HOUR / 1_000);
        assert_eq!(store.peek(&large, &Call::ALICE).buckets[0].remaining, 5);
    });
}

#[test]
fn a_changed_limit_keeps_what_is_filled_of_the_next_token() {
    on_every_store(|store| {
        let server = store.new_server();
        let monthly = per_user(server.clone(), 1, 30 * DAY);
        assert!(store.take(&monthly, &Call::ALICE).decision.is_allowed());
        store.advance(29 * DAY);
        let of_ten_days = per_user(server, 1, 10 * DAY);
        let denied = store.take(&of_ten_days, &Call::ALICE).decision;
        assert_eq!(retry_after(&denied), Some(DAY / 3));
    });
}

/// A denial pays nothing, but from the first check on under a new limit the bucket fills at the new
/// rate. It once went on at the old one until that had filled a whole token, and the announced wait
/// was wrong all the while.
#[test]
fn a_raised_limit_reaches_a_user_whose_bucket_is_empty() {
    on_every_store(|store| {
        let server = store.new_server();
        let yearly = per_user(server.clone(), 1, 366 * DAY);
        assert!(store.take(&yearly, &Call::ALICE).decision.is_allowed());
        store.advance(HOUR);
        let fast = per_user(server, 1_000, Duration::from_secs(1));
        let denied = store.take(&fast, &Call::ALICE).decision;
        let wait = retry_after(&denied).expect("it can pass");
        assert!(wait <= Duration::from_millis(1), "{wait:?}");
        store.set_clock(store.now() + wait - Duration::from_micros(1));
        assert!(!store.take(&fast, &Call::ALICE).decision.is_allowed());
        store.advance(Duration::from_micros(1));
        assert!(store.take(&fast, &Call::ALICE).decision.is_allowed());
    });
}

/// The other way round: under a lowered limit an empty bucket does not go on at the old rate.
#[test]
fn a_lowered_limit_reaches_a_user_whose_bucket_is_empty() {
    on_every_store(|store| {
        let server = store.new_server();
        let fast = per_user(server.clone(), 1, Duration::from_secs(1));
        assert!(store.take(&fast, &Call::ALICE).decision.is_allowed());
        let daily = per_user(server, 1, DAY);
        let denied = store.take(&daily, &Call::ALICE).decision;
        assert_eq!(retry_after(&denied), Some(DAY));
        store.set_clock(store.now() + DAY - Duration::from_micros(1));
        assert!(!store.take(&daily, &Call::ALICE).decision.is_allowed());
        store.advance(Duration::from_micros(1));
        assert!(store.take(&daily, &Call::ALICE).decision.is_allowed());
    });
}

#[test]
fn plans_of_two_snapshots_in_one_batch_each_follow_their_own_quota() {
    on_every_store(|store| {
        let server = store.new_server();
        let (old, new) = (per_user(server.clone(), 5, HOUR), per_user(server, 2, HOUR));
        let plan = |policy: &Policy| policy.plan(&Call::ALICE.check(policy));
        let (old, new) = (plan(&old), plan(&new));
        let calls = [vec![&old], vec![&new, &new], vec![&new], vec![&old]];
        let answers = store.take_all(calls.map(|plans| plans.into_iter().cloned().collect()));
        let remaining = answers.iter().map(|answer| answer.buckets[0].remaining);
        // 5 - 1 = 4, cut to 2; 1; 0; then nothing is left under either.
        assert_eq!(remaining.collect::<Vec<_>>(), [4, 1, 0, 0, 0]);
    });
}
