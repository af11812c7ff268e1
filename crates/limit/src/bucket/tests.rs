use proptest::prelude::*;

use super::*;

fn quota(capacity: u32, micros: u64) -> Quota {
    Quota::new(capacity, Duration::from_micros(micros)).expect("a valid quota")
}

const EPOCH: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn any_quota() -> impl Strategy<Value = Quota> {
    let longest = u64::try_from(Quota::MAX_PERIOD.as_micros()).expect("fits");
    (1..=Quota::MAX_CAPACITY, 1_000..=longest)
        .prop_map(|(capacity, micros)| quota(capacity, micros))
}

#[test]
fn a_bucket_fills_in_exactly_one_period() {
    let quota = quota(7, 1_000_003);
    let mut bucket = Bucket::full(quota, EPOCH);
    assert!(bucket.take(7));
    assert_eq!(bucket.full_after(EPOCH), quota.refill_period());
    let almost = EPOCH + quota.refill_period() - Duration::from_micros(1);
    assert_eq!(bucket.at(quota, almost).tokens(), 6);
    let period_later = EPOCH + quota.refill_period();
    assert_eq!(
        bucket.at(quota, period_later),
        Bucket::full(quota, period_later)
    );
}

#[test]
fn what_is_not_there_cannot_be_taken() {
    let mut bucket = Bucket::full(quota(2, 1_000_000), EPOCH);
    let before = bucket;
    assert!(!bucket.take(3));
    assert_eq!(bucket, before);
}

#[test]
fn a_state_that_no_bucket_can_have_is_not_restored() {
    let quota = quota(10, 1_000);
    assert!(Bucket::restore(quota, 9, 999, EPOCH).is_some());
    assert!(Bucket::restore(quota, 10, 0, EPOCH).is_some());
    assert!(Bucket::restore(quota, 9, 1_000, EPOCH).is_none());
    assert!(Bucket::restore(quota, 10, 1, EPOCH).is_none());
    assert!(Bucket::restore(quota, 11, 0, EPOCH).is_none());
}

/// A clock showed an hour too much for a moment. Whoever was active then was denied for that hour:
/// "retry in 59m57s" under a limit of 10 per 10 s.
#[test]
fn a_state_from_far_ahead_counts_as_of_now() {
    let quota = quota(10, 10_000_000);
    let mut bucket = Bucket::full(quota, EPOCH + Duration::from_hours(1));
    assert!(bucket.take(10));
    let back = bucket.at(quota, EPOCH);
    assert!(back.is_rewound(&bucket));
    assert_eq!((back.tokens(), back.as_of()), (0, EPOCH));
    assert_eq!(back.full_after(EPOCH), quota.refill_period());
}

#[test]
fn a_bucket_stands_still_for_one_period_and_no_longer() {
    let quota = quota(10, 10_000_000);
    let mut bucket = Bucket::full(quota, EPOCH);
    assert!(bucket.take(10));
    let period_before = EPOCH - quota.refill_period();
    let stands = bucket.at(quota, period_before);
    assert_eq!(stands, bucket);
    let first = quota.refill_period() + Duration::from_secs(1);
    assert_eq!(stands.wait(1, period_before), Some(first));
    let earlier = period_before - Duration::from_micros(1);
    let rewound = bucket.at(quota, earlier);
    assert!(rewound.is_rewound(&bucket));
    assert_eq!(rewound.wait(1, earlier), Some(Duration::from_secs(1)));
}

/// Neither the period that the bucket was written under nor that of a changed limit is outlasted.
#[test]
fn a_changed_limit_stands_still_for_the_shorter_of_both_periods() {
    let (slow, fast) = (quota(10, 3_600_000_000), quota(10, 1_000_000));
    let ahead = EPOCH + Duration::from_mins(1);
    for (old, new) in [(slow, fast), (fast, slow)] {
        let mut bucket = Bucket::full(old, ahead);
        assert!(bucket.take(10));
        assert_eq!(bucket.at(new, EPOCH).as_of(), EPOCH, "{old:?} {new:?}");
    }
    let mut bucket = Bucket::full(slow, ahead);
    assert!(bucket.take(10));
    assert_eq!(bucket.at(slow, EPOCH), bucket);
}

/// A clock that walks: to each step of time, the error that the clock makes in it.
fn any_walk(period: u64) -> impl Strategy<Value = Vec<(u64, i64, u32)>> {
    let far = 4 * i64::try_from(period).expect("fits");
    let near = i64::try_from(period / 50).expect("fits");
    let error = prop_oneof![4 => Just(0), 2 => -near..=near, 1 => -far..=far];
    let step = (0..=period / 3, error, 1_u32..4);
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Looking often refills no more and no less than looking once: nothing is lost to rounding.
    #[test]
    fn refill_does_not_depend_on_how_often_one_looks(
        quota in any_quota(),
        spent in 1..=Quota::MAX_CAPACITY,
        steps in prop::collection::vec(0_u64..10_000_000, 1..20),
    ) {
        let mut bucket = Bucket::full(quota, EPOCH);
        bucket.take(spent.min(quota.capacity()));
        let mut often = bucket;
        let mut now = EPOCH;
        for step in steps {
            now = now + Duration::from_micros(step);
            often = often.at(quota, now);
        }
        prop_assert_eq!(often, bucket.at(quota, now));
    }

    /// The wait is the first microsecond at which the tokens are there.
    #[test]
    fn a_wait_is_exact(quota in any_quota(), cost in 1..=Quota::MAX_CAPACITY) {
        let cost = cost.min(quota.capacity());
        let mut bucket = Bucket::full(quota, EPOCH);
        bucket.take(quota.capacity());
        let wait = bucket.wait(cost, EPOCH).expect("not above the capacity");
        let early = EPOCH + wait - Duration::from_micros(1);
        prop_assert!(!bucket.at(quota, early).take(cost));
        prop_assert!(bucket.at(quota, EPOCH + wait).take(cost));
    }

    /// A change of quota never adds a token, and one that changes nothing loses none.
    #[test]
    fn a_changed_quota_adds_nothing(
        old in any_quota(),
        new in any_quota(),
        spent in 0..=Quota::MAX_CAPACITY,
        age in 0_u64..100_000_000_000,
    ) {
        let mut bucket = Bucket::full(old, EPOCH);
        bucket.take(spent.min(old.capacity()));
        let now = EPOCH + Duration::from_micros(age);
        let (kept, changed) = (bucket.at(old, now), bucket.at(new, now));
        prop_assert_eq!(changed.tokens(), kept.tokens().min(new.capacity()));
        prop_assert_eq!(changed.quota(), new);
        let possible = Bucket::restore(new, changed.tokens(), changed.fraction(), now);
        prop_assert_eq!(Some(changed), possible);
    }

    /// Whatever the clock does, over true time a bucket admits its bound, and one capacity more for
    /// each time that the clock jumped ahead or was found too far back; small errors cost what
    /// refills in them, once.
    #[test]
    fn a_step_of_the_clock_costs_one_capacity_at_most(
        capacity in 1_u32..8,
        (period, walk) in (1_000_u64..5_000_000).prop_flat_map(|p| (Just(p), any_walk(p))),
    ) {
        let quota = quota(capacity, period);
        let mut bucket = Bucket::full(quota, EPOCH);
        let (mut truth, mut error, mut taken, mut ahead) = (EPOCH, 0_i64, 0_u128, 0_u128);
        for (step, change, cost) in walk {
            truth = truth + Duration::from_micros(step);
            error += change;
            // What a step forward refills at once: no more than a full bucket.
            ahead += u128::try_from(change.max(0)).expect("positive").min(period.into());
            let now = Timestamp::from_micros(truth.as_micros().saturating_add_signed(error));
            bucket = bucket.at(quota, now);
            if bucket.take(cost.min(capacity)) {
                taken += u128::from(cost.min(capacity));
            }
            let span = u128::from(period) + truth.since(EPOCH).as_micros() + ahead;
            prop_assert!(taken * u128::from(period) <= u128::from(capacity) * span);
        }
    }

    /// No clock makes anybody wait longer than the two periods: one that the bucket stands still, and
    /// one that it fills. Far ahead it does not stand still at all.
    #[test]
    fn no_clock_makes_a_wait_longer_than_two_periods(
        (old, new) in (any_quota(), any_quota()),
        same in any::<bool>(),
        ahead in 0_u64..40_000_000_000_000,
    ) {
        let new = if same { old } else { new };
        let mut bucket = Bucket::full(old, EPOCH + Duration::from_micros(ahead));
        bucket.take(old.capacity());
        let wait = bucket.at(new, EPOCH).full_after(EPOCH);
        let stands = Duration::from_micros(ahead);
        let longest = old.refill_period().min(new.refill_period());
        let stands = if stands > longest { Duration::ZERO } else { stands };
        prop_assert_eq!(wait, stands + new.refill_period());
    }
}
