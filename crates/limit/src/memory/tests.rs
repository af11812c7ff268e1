use std::time::Duration;

use futures::executor::block_on;

use super::*;
use crate::{Check, Identity, ManualClock, Mode, Policy, Quota, Quotas};

const EPOCH: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn policy(capacity: u32, period: Duration) -> Policy {
    let own = Quotas {
        global: None,
        per_user: Quota::new(capacity, period).ok(),
    };
    let server = "test/server".parse().expect("valid");
    Policy::new(server, Mode::Enforce, own, []).expect("valid")
}

fn take(store: &MemoryStore<ManualClock>, policy: &Policy, user: u32) -> Result<bool, StoreError> {
    let check = Check {
        server: policy.server().clone(),
        identity: Identity::new(format!("user-{user}")).expect("valid"),
        operation: None,
        cost: Check::COST_OF_ONE,
        trace: None,
    };
    let answer = block_on(store.take(vec![policy.plan(&check)])).remove(0)?;
    Ok(answer.decision.is_allowed())
}

#[test]
fn users_whose_buckets_are_full_again_are_forgotten() {
    let clock = ManualClock::new(EPOCH);
    let store = MemoryStore::with_clock(1_000_000, clock.clone());
    let policy = policy(10, Duration::from_secs(10));
    for user in 0..10_000 {
        assert!(take(&store, &policy, user).expect("room"));
    }
    assert_eq!(store.group_count(), 10_000);
    // A second later all are full; each check forgets a few of them.
    clock.advance(Duration::from_secs(1));
    for _ in 0..10_000 / IDLE_PER_CHECK {
        take(&store, &policy, 0).expect("room");
    }
    assert!(
        store.group_count() <= IDLE_PER_CHECK,
        "{}",
        store.group_count()
    );
}

#[test]
fn a_user_who_goes_on_calling_is_not_forgotten() {
    let clock = ManualClock::new(EPOCH);
    let store = MemoryStore::with_clock(1_000, clock.clone());
    let policy = policy(5, Duration::from_secs(5));
    let mut allowed = 0;
    for _ in 0..100 {
        allowed += u32::from(take(&store, &policy, 0).expect("room"));
        clock.advance(Duration::from_millis(500));
    }
    // 5 at first, and one each second for 49.5 seconds.
    assert_eq!(allowed, 5 + 49);
}

#[test]
fn a_full_store_refuses_new_users_and_goes_on_limiting_the_others() {
    let clock = ManualClock::new(EPOCH);
    let store = MemoryStore::with_clock(100, clock.clone());
    let policy = policy(2, Duration::from_mins(1));
    for user in 0..100 {
        assert!(take(&store, &policy, user).expect("room"));
    }
    let refused = take(&store, &policy, 100).expect_err("no room");
    assert!(
        matches!(refused, StoreError::Full { max: 100 }),
        "{refused}"
    );
    assert!(take(&store, &policy, 0).expect("known"));
    assert!(!take(&store, &policy, 0).expect("known"));
    assert_eq!(store.group_count(), 100);
    // Once buckets are full there is room again.
    clock.advance(Duration::from_secs(30));
    assert!(take(&store, &policy, 100).expect("room"));
}

#[test]
fn a_denial_takes_no_room() {
    let store = MemoryStore::with_clock(10, ManualClock::new(EPOCH));
    let policy = policy(1, Duration::from_mins(1));
    let plan = |cost: u32| {
        let check = Check {
            server: policy.server().clone(),
            identity: Identity::anonymous(),
            operation: None,
            cost: cost.try_into().expect("positive"),
            trace: None,
        };
        policy.plan(&check)
    };
    let answer = block_on(store.take(vec![plan(2)]))
        .remove(0)
        .expect("decided");
    assert!(!answer.decision.is_allowed());
    assert_eq!(store.group_count(), 0);
}

/// Both limits of one server.
fn both(global: (u32, Duration), per_user: (u32, Duration)) -> Policy {
    let quota = |(capacity, period)| Quota::new(capacity, period).ok();
    let own = Quotas {
        global: quota(global),
        per_user: quota(per_user),
    };
    let server = "test/server".parse().expect("valid");
    Policy::new(server, Mode::Enforce, own, []).expect("valid")
}

const HOUR: Duration = Duration::from_hours(1);

/// The server's own bucket is empty and was kept under another quota; the user is new, and there is
/// no room for a group. This was an error, which let the call run.
#[test]
fn a_denial_under_a_changed_quota_in_a_full_store_is_a_denial() {
    let clock = ManualClock::new(EPOCH);
    let store = MemoryStore::with_clock(2, clock.clone());
    let old = both((1, HOUR), (1, HOUR));
    assert!(take(&store, &old, 0).expect("room for two groups"));
    let changed = both((1, HOUR / 2), (1, HOUR));
    assert!(!take(&store, &changed, 1).expect("decided"));
    // The bucket fills at the new rate from then on.
    clock.advance(HOUR / 2);
    assert_eq!(store.group_count(), 2);
    take(&store, &changed, 1).expect_err("it may pass, and has no room");
    assert!(
        !take(&store, &changed, 0).expect("decided"),
        "the user's own"
    );
}

/// As above, but the clock has stepped back, so that the bucket's time is too far ahead.
#[test]
fn a_denial_after_a_step_back_in_a_full_store_is_a_denial() {
    let clock = ManualClock::new(EPOCH + 24 * HOUR);
    let store = MemoryStore::with_clock(2, clock.clone());
    let policy = both((1, HOUR), (1, HOUR));
    assert!(take(&store, &policy, 0).expect("room for two groups"));
    clock.set(EPOCH);
    assert!(!take(&store, &policy, 1).expect("decided"));
    clock.advance(HOUR);
    take(&store, &policy, 1).expect_err("it may pass, and has no room");
    assert!(!take(&store, &policy, 0).expect("rewound only now"));
    clock.advance(HOUR);
    assert!(take(&store, &policy, 0).expect("decided"));
}

/// The server's own bucket is full and forgotten; that of the user is kept, and changed.
#[test]
fn a_denial_keeps_the_changed_buckets_that_are_there_and_no_others() {
    let clock = ManualClock::new(EPOCH);
    let store = MemoryStore::with_clock(100, clock.clone());
    let second = Duration::from_secs(1);
    assert!(take(&store, &both((100, second), (1, HOUR)), 0).expect("room"));
    clock.advance(2 * second);
    let changed = both((100, second), (2, HOUR));
    assert!(!take(&store, &changed, 0).expect("decided"));
    assert_eq!(store.group_count(), 1);
    // 2 s of the old rate have filled as much of a token as 1 s of the new one does.
    clock.advance(Duration::from_secs(1_798));
    assert!(!take(&store, &changed, 0).expect("decided"));
    clock.advance(second);
    assert!(take(&store, &changed, 0).expect("decided"));
    assert!(!take(&store, &changed, 0).expect("decided"));
}

/// After a step back of an hour nothing was forgotten for that hour.
#[test]
fn a_clock_that_steps_back_far_does_not_stop_the_forgetting() {
    let clock = ManualClock::new(EPOCH + 24 * HOUR);
    let store = MemoryStore::with_clock(10, clock.clone());
    let policy = policy(1, Duration::from_secs(10));
    assert!(take(&store, &policy, 0).expect("room"));
    clock.set(EPOCH);
    for round in 1..=10 {
        for user in 1..=9 {
            assert!(take(&store, &policy, user).expect("room"), "{round}");
        }
        clock.advance(Duration::from_secs(10));
    }
}

/// What is forgotten as full refills no span twice when the clock steps back a little.
#[test]
fn a_small_step_back_refills_no_forgotten_bucket_twice() {
    let clock = ManualClock::new(EPOCH);
    let store = MemoryStore::with_clock(1, clock.clone());
    let policy = policy(1, Duration::from_secs(10));
    assert!(take(&store, &policy, 0).expect("room"));
    clock.advance(Duration::from_secs(10));
    // Another user makes the store forget the first.
    assert!(take(&store, &policy, 1).expect("room"));
    clock.advance(Duration::from_secs(10));
    clock.set(EPOCH + Duration::from_millis(19_500));
    assert!(!take(&store, &policy, 1).expect("decided"));
}

#[test]
fn a_reset_makes_room_at_once() {
    let store = MemoryStore::with_clock(3, ManualClock::new(EPOCH));
    let policy = policy(1, Duration::from_hours(24));
    for user in 0..3 {
        assert!(take(&store, &policy, user).expect("room"));
    }
    take(&store, &policy, 3).expect_err("no room");
    let user = Identity::new("user-1").expect("valid");
    block_on(store.reset(policy.plan_of(Some(&user), None))).expect("reset");
    assert!(take(&store, &policy, 3).expect("room"));
    assert!(!take(&store, &policy, 0).expect("known"));
    assert_eq!(store.group_count(), 3);
}

#[test]
fn a_user_who_comes_and_goes_leaves_nothing_behind() {
    let clock = ManualClock::new(EPOCH);
    let store = MemoryStore::with_clock(100, clock.clone());
    let policy = policy(10, Duration::from_secs(10));
    for _ in 0..1_000 {
        take(&store, &policy, 7).expect("room");
        block_on(store.reset(policy.plan_of(Identity::new("user-7").ok().as_ref(), None)))
            .expect("reset");
        clock.advance(Duration::from_secs(20));
    }
    take(&store, &policy, 8).expect("room");
    let queued = store.lock().idle_queue.len();
    assert!(queued <= IDLE_PER_CHECK, "{queued} places for two users");
}

#[test]
fn a_cleared_store_is_one_that_has_seen_nobody_and_keeps_its_bound() {
    let store = MemoryStore::with_clock(2, ManualClock::new(EPOCH));
    let policy = policy(1, Duration::from_hours(24));
    for _ in 0..2 {
        for user in 0..2 {
            assert!(take(&store, &policy, user).expect("room"));
            assert!(!take(&store, &policy, user).expect("known"));
        }
        take(&store, &policy, 2).expect_err("no room");
        store.clear();
        assert_eq!(store.group_count(), 0);
    }
}
