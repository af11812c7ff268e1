//! The rules of the contract, one by one.

use std::time::Duration;

use toolgate_limit::{Decision, Identity, Mode, Policy, Quota, Quotas, Scope};

use crate::fixture::{Call, on_every_store, per_user, quota, tool};

pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);

pub(crate) fn retry_after(decision: &Decision) -> Option<Duration> {
    match decision {
        Decision::Allowed => panic!("allowed"),
        Decision::Denied(denial) => denial.retry_after,
    }
}

#[test]
fn a_bucket_admits_its_capacity_and_then_one_call_per_token_refilled() {
    on_every_store(|store| {
        let policy = per_user(store.new_server(), 3, MINUTE);
        for remaining in [2, 1, 0] {
            let answer = store.take(&policy, &Call::ALICE);
            assert!(answer.decision.is_allowed());
            assert_eq!(answer.buckets[0].remaining, remaining);
        }
        let denied = store.take(&policy, &Call::ALICE).decision;
        assert_eq!(retry_after(&denied), Some(Duration::from_secs(20)));
        store.advance(Duration::from_secs(20));
        assert!(store.take(&policy, &Call::ALICE).decision.is_allowed());
        assert!(!store.take(&policy, &Call::ALICE).decision.is_allowed());
    });
}

#[test]
fn when_one_bucket_refuses_none_pays() {
    on_every_store(|store| {
        let own = Quotas {
            global: Some(quota(100, HOUR)),
            per_user: Some(quota(50, HOUR)),
        };
        let of_tool = Quotas {
            global: Some(quota(20, HOUR)),
            per_user: Some(quota(2, HOUR)),
        };
        let policy = Policy::new(
            store.new_server(),
            Mode::Enforce,
            own,
            [(tool("search"), of_tool)],
        )
        .expect("valid");
        let call = Call {
            tool: Some("search"),
            ..Call::ALICE
        };
        let answers: Vec<_> = (0..10).map(|_| store.take(&policy, &call)).collect();
        let allowed = answers.iter().filter(|a| a.decision.is_allowed()).count();
        assert_eq!(allowed, 2);

        let Decision::Denied(denial) = &answers[9].decision else {
            panic!("allowed");
        };
        assert_eq!(denial.limit.scope(), Scope::PerUser);
        assert_eq!(denial.limit.operation(), Some(&tool("search")));
        let order = answers[9].buckets.iter().map(|status| {
            let of_tool = status.limit.operation().is_some();
            (status.limit.scope(), of_tool, status.remaining)
        });
        assert_eq!(
            order.collect::<Vec<_>>(),
            [
                (Scope::Global, false, 98),
                (Scope::Global, true, 18),
                (Scope::PerUser, false, 48),
                (Scope::PerUser, true, 0),
            ]
        );
    });
}

#[test]
fn a_denial_and_a_peek_change_nothing() {
    on_every_store(|store| {
        let policy = per_user(store.new_server(), 5, HOUR);
        let two = Call {
            cost: 2,
            ..Call::ALICE
        };
        store.take(&policy, &two);
        store.advance(Duration::from_micros(77));
        let before = store.peek(&policy, &Call::ALICE);
        assert!(before.decision.is_allowed());
        let four = Call {
            cost: 4,
            ..Call::ALICE
        };
        for _ in 0..3 {
            assert!(!store.take(&policy, &four).decision.is_allowed());
            assert_eq!(store.peek(&policy, &Call::ALICE), before);
        }
        assert_eq!(store.take(&policy, &Call::ALICE).buckets[0].remaining, 2);
    });
}

#[test]
fn a_cost_above_the_capacity_is_denied_for_ever_and_named_before_any_wait() {
    on_every_store(|store| {
        let own = Quotas {
            global: Some(quota(5, DAY)),
            per_user: Some(quota(4, MINUTE)),
        };
        let policy = Policy::new(store.new_server(), Mode::Enforce, own, []).expect("valid");
        store.take(&policy, &Call::ALICE);
        let five = Call {
            cost: 5,
            ..Call::ALICE
        };
        let Decision::Denied(denial) = store.take(&policy, &five).decision else {
            panic!("allowed");
        };
        assert_eq!(denial.retry_after, None);
        assert_eq!(denial.limit.scope(), Scope::PerUser);
    });
}

#[test]
fn one_token_in_thirty_days_is_neither_early_nor_late() {
    on_every_store(|store| {
        let policy = per_user(store.new_server(), 1, 30 * DAY);
        assert!(store.take(&policy, &Call::ALICE).decision.is_allowed());
        // Asking all the while changes nothing.
        for _ in 0..1_000 {
            store.advance(Duration::from_secs(30 * 86_400 / 1_000) - Duration::from_micros(1));
            assert!(!store.take(&policy, &Call::ALICE).decision.is_allowed());
        }
        store.advance(Duration::from_micros(999));
        let last = store.take(&policy, &Call::ALICE).decision;
        assert_eq!(retry_after(&last), Some(Duration::from_micros(1)));
        store.advance(Duration::from_micros(1));
        assert!(store.take(&policy, &Call::ALICE).decision.is_allowed());
    });
}

#[test]
fn the_fastest_quota_is_exact_to_the_token() {
    on_every_store(|store| {
        let most = Quota::MAX_CAPACITY;
        let policy = per_user(store.new_server(), most, Duration::from_secs(1));
        let all = Call {
            cost: most,
            ..Call::ALICE
        };
        assert!(store.take(&policy, &all).decision.is_allowed());
        // 2,147 tokens and a fraction each microsecond; the fractions add up to whole tokens.
        let mut taken = 0_u64;
        for _ in 0..1_000 {
            store.advance(Duration::from_micros(1));
            let there = store.peek(&policy, &Call::ALICE).buckets[0].remaining;
            let rest = Call {
                cost: there,
                ..Call::ALICE
            };
            assert!(store.take(&policy, &rest).decision.is_allowed());
            taken += u64::from(there);
        }
        assert_eq!(taken, u64::from(most) * 1_000 / 1_000_000);
    });
}

#[test]
fn a_fast_rate_is_kept_to_the_token_over_uneven_steps() {
    for rate in [10_000_u32, 70_000, 100_000, 1_000_000] {
        on_every_store(|store| {
            let policy = per_user(store.new_server(), rate, Duration::from_secs(1));
            let began = store.now();
            let mut taken = 0_u64;
            for step in 0..1_000_u64 {
                store.advance(Duration::from_micros(1 + step * 7_919 % 7_000));
                let there = store.peek(&policy, &Call::ALICE).buckets[0].remaining;
                if there > 0 {
                    let all = Call {
                        cost: there,
                        ..Call::ALICE
                    };
                    assert!(store.take(&policy, &all).decision.is_allowed());
                    taken += u64::from(there);
                }
            }
            // The first take emptied a full bucket; from then on each microsecond counts.
            let first_step = Duration::from_micros(1);
            let span = store.now().since(began + first_step).as_micros();
            let refilled = u64::try_from(span).expect("fits") * u64::from(rate) / 1_000_000;
            assert_eq!(taken, u64::from(rate) + refilled);
        });
    }
}

#[test]
fn a_reset_makes_the_buckets_of_one_user_full_and_leaves_all_others() {
    on_every_store(|store| {
        let own = Quotas {
            global: Some(quota(10, HOUR)),
            per_user: Some(quota(2, HOUR)),
        };
        let policy = Policy::new(store.new_server(), Mode::Enforce, own, []).expect("valid");
        let bob = Call {
            user: "bob",
            ..Call::ALICE
        };
        store.take(&policy, &Call::ALICE);
        store.take(&policy, &bob);
        store.reset(&policy, Identity::new("alice").ok().as_ref());
        let remaining = |call| {
            let buckets = store.peek(&policy, call).buckets;
            [buckets[0].remaining, buckets[1].remaining]
        };
        assert_eq!(remaining(&Call::ALICE), [8, 2]);
        assert_eq!(remaining(&bob), [8, 1]);
        store.reset(&policy, None);
        assert_eq!(remaining(&bob), [10, 1]);
        assert!(store.take(&policy, &Call::ALICE).decision.is_allowed());
    });
}

#[test]
fn checks_of_one_batch_are_decided_in_order() {
    on_every_store(|store| {
        let policy = per_user(store.new_server(), 100, HOUR);
        let plan = policy.plan(&Call::ALICE.check(&policy));
        let answers = store.take_all([1, 2, 40, 130, 77].map(|count| vec![plan.clone(); count]));
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(answer.decision.is_allowed(), number < 100, "check {number}");
        }
    });
}

/// Subjects and names that separators, escapes, patterns and hash tags are made of.
const TRICKY: [&str; 18] = [
    "alice",
    "alice:",
    ":alice",
    "al:ice",
    "{alice}",
    "alice}",
    "%61lice",
    "%",
    "%25",
    "ali\nce",
    "ali\0ce",
    "alice ",
    "🦀",
    "a#b",
    "*",
    "anonymous",
    "user:alice",
    "server",
];

#[test]
fn no_two_subjects_or_operations_share_a_bucket() {
    on_every_store(|store| {
        let long = ["x".repeat(1_000), "x".repeat(1_001)];
        let names: Vec<&str> = TRICKY
            .iter()
            .copied()
            .chain(long.iter().map(String::as_str))
            .collect();
        let once = Quotas {
            global: None,
            per_user: Some(quota(1, DAY)),
        };
        let operations = names.iter().map(|name| (tool(name), once));
        let policy = Policy::new(
            store.new_server(),
            Mode::Enforce,
            Quotas::default(),
            operations,
        )
        .expect("valid");
        let users = names.iter().copied().chain([""]); // the empty subject is the anonymous one
        let pairs: Vec<_> = users
            .flat_map(|user| names.iter().map(move |name| (user, *name)))
            .collect();
        for expected in [true, false] {
            for (user, name) in &pairs {
                let call = Call {
                    user,
                    tool: Some(name),
                    cost: 1,
                };
                let decision = store.take(&policy, &call).decision;
                assert_eq!(decision.is_allowed(), expected, "{user:?} {name:?}");
            }
        }
    });
}
