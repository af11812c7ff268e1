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
}
