//! Replicas that decide alone while their store is away: none denies what the shared bucket would
//! have allowed, and together they admit no more than their bound.
//!
//! The shared bucket is a model that pays for every call that runs, whoever let it through, and may
//! so owe tokens: the truth, which a store in an outage does not hear of.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use futures::executor::block_on;
use proptest::prelude::*;
use toolgate_limit::{
    BucketStore as _, Check, Decision, Identity, ManualClock, MemoryStore, Mode, Operation,
    OperationKind, Plan, Policy, Quota, Quotas, Timestamp,
};

const EPOCH: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
const REPLICAS: usize = 3;

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Wait(Duration),
    Call {
        replica: usize,
        user: u8,
        tool: bool,
        cost: u32,
    },
    /// The store goes away, for one replica.
    Lose(usize),
    /// It is back, and the replica keeps its buckets or drops them.
    Recover {
        replica: usize,
        drops: bool,
    },
    /// The store loses its buckets.
    Flush,
}

fn event() -> impl Strategy<Value = Event> {
    let call =
        (0..REPLICAS, 0_u8..2, any::<bool>(), 1_u32..4).prop_map(|(replica, user, tool, cost)| {
            Event::Call {
                replica,
                user,
                tool,
                cost,
            }
        });
    prop_oneof![
        20 => call,
        4 => (1_u64..3_000_000).prop_map(|micros| Event::Wait(Duration::from_micros(micros))),
        1 => (0..REPLICAS).prop_map(Event::Lose),
        1 => (0..REPLICAS, any::<bool>())
            .prop_map(|(replica, drops)| Event::Recover { replica, drops }),
        1 => Just(Event::Flush),
    ]
}

fn quotas() -> impl Strategy<Value = Quotas> {
    let quota = || (1_u32..12, 1_u64..30_000_000);
    let quota = move || {
        quota().prop_map(|(capacity, period)| {
            let period = Duration::from_micros(period.max(1_000));
            Quota::new(capacity, period).expect("valid")
        })
    };
    (prop::option::of(quota()), quota()).prop_map(|(global, per_user)| Quotas {
        global,
        per_user: Some(per_user),
    })
}

fn policy(own: Quotas, of_tool: Quotas) -> Policy {
    let tool = Operation::new(OperationKind::Tool, "search").expect("valid");
    let server = "test/server".parse().expect("valid");
    Policy::new(server, Mode::Enforce, own, [(tool, of_tool)]).expect("valid")
}

fn plan(policy: &Policy, user: u8, tool: bool, cost: u32) -> Plan {
    policy.plan(&Check {
        server: policy.server().clone(),
        identity: Identity::new(format!("user-{user}")).expect("valid"),
        operation: tool.then(|| Operation::new(OperationKind::Tool, "search").expect("valid")),
        cost: NonZeroU32::new(cost).expect("positive"),
        trace: None,
    })
}

/// A bucket that has paid for all that ran. In parts of a token: one is the period in microseconds,
/// and a microsecond fills as many as the capacity.
#[derive(Clone, Copy)]
struct True {
    quota: Quota,
    parts: i128,
    at: Timestamp,
    /// All it has paid, in tokens.
    paid: u64,
}

impl True {
    const fn full(quota: Quota) -> Self {
        Self {
            quota,
            parts: quota.capacity() as i128 * quota.period_micros() as i128,
            at: EPOCH,
            paid: 0,
        }
    }

    fn refill(&mut self, now: Timestamp) {
        let full = Self::full(self.quota).parts;
        let micros = i128::try_from(now.since(self.at).as_micros()).expect("short");
        self.parts = full.min(self.parts + micros * i128::from(self.quota.capacity()));
        self.at = now;
    }

    fn parts_of(&self, cost: u32) -> i128 {
        i128::from(cost) * i128::from(self.quota.period_micros())
    }

    fn holds(&self, cost: u32) -> bool {
        self.parts >= self.parts_of(cost)
    }

    fn pay(&mut self, cost: u32) {
        self.parts -= self.parts_of(cost);
        self.paid += u64::from(cost);
    }

    /// The most that one bucket may admit from the beginning to `now`.
    fn bound(&self, now: Timestamp) -> u128 {
        let refill = now.since(EPOCH).as_micros() * u128::from(self.quota.capacity())
            / u128::from(self.quota.period_micros());
        u128::from(self.quota.capacity()) + refill
    }
}

/// The true bucket of each field of each group.
type Truth = HashMap<(String, String), True>;

fn names(plan: &Plan) -> Vec<((String, String), Quota)> {
    let of_group = plan.groups().iter().flat_map(|planned| {
        let named = |limit: &std::sync::Arc<toolgate_limit::Limit>| {
            let group = format!("{:?}", planned.group);
            ((group, limit.field().to_string()), limit.quota())
        };
        planned.limits.iter().map(named)
    });
    of_group.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whether local buckets are kept from outage to outage or dropped in between, and whatever the
    /// store has forgotten: a local denial names a bucket that truly lacks the tokens.
    #[test]
    fn alone_a_replica_denies_only_what_is_truly_above_a_limit(
        own in quotas(), of_tool in quotas(),
        events in prop::collection::vec(event(), 1..200),
    ) {
        let policy = policy(own, of_tool);
        let clock = ManualClock::new(EPOCH);
        let mut now = EPOCH;
        let new = || MemoryStore::with_clock(1_000, clock.clone());
        let mut store = new();
        let local = [new(), new(), new()];
        let mut alone = [false; REPLICAS];
        // How often somebody was given a full bucket: the store, and each replica that decided alone.
        let mut bursts = 1;
        let mut is_fresh = [true; REPLICAS];
        let mut truth = Truth::new();
        for event in events {
            match event {
                Event::Wait(span) => {
                    clock.advance(span);
                    now = now + span;
                }
                Event::Lose(replica) => alone[replica] = true,
                Event::Recover { replica, drops } => {
                    alone[replica] = false;
                    if drops {
                        local[replica].clear();
                        is_fresh[replica] = true;
                    }
                }
                Event::Flush => {
                    store = new();
                    bursts += 1;
                }
                Event::Call { replica, user, tool, cost } => {
                    let plan = plan(&policy, user, tool, cost);
                    let names = names(&plan);
                    for (name, quota) in &names {
                        let bucket = truth.entry(name.clone());
                        bucket.or_insert_with(|| True::full(*quota)).refill(now);
                    }
                    let decider = if alone[replica] { &local[replica] } else { &store };
                    bursts += usize::from(alone[replica] && is_fresh[replica]);
                    is_fresh[replica] &= !alone[replica];
                    let answer = block_on(decider.take(vec![plan])).remove(0).expect("decided");
                    match answer.decision {
                        Decision::Allowed => {
                            for (name, _) in &names {
                                truth.get_mut(name).expect("known").pay(cost);
                            }
                        }
                        Decision::Denied(denial) if alone[replica] => {
                            let refused = names.iter().filter(|((_, field), quota)| {
                                field == denial.limit.field() && *quota == denial.limit.quota()
                            });
                            let lacks = |(name, _): &(_, _)| !truth[name].holds(cost);
                            prop_assert!(refused.into_iter().any(lacks), "{denial}");
                        }
                        Decision::Denied(_) => {}
                    }
                }
            }
        }
        // Each full bucket that was handed out admits its own capacity and refill, and no more.
        for bucket in truth.values() {
            prop_assert!(u128::from(bucket.paid) <= bucket.bound(now) * bursts as u128);
        }
    }

    /// Calls of one cost under one limit: at no time have fewer passed than the store would have let
    /// through, wherever its bucket stood when it went away.
    #[test]
    fn alone_a_replica_lets_as_many_through_as_the_store_would_have(
        capacity in 1_u32..10, period in 1_000_u64..20_000_000, used_before in 0_u32..20,
        waits in prop::collection::vec(0_u64..3_000_000, 1..150),
    ) {
        let quota = Quota::new(capacity, Duration::from_micros(period)).expect("valid");
        let own = Quotas { global: None, per_user: Some(quota) };
        let policy = policy(own, Quotas { global: Some(quota), per_user: None });
        let clock = ManualClock::new(EPOCH);
        let [store, local] = [0; 2].map(|_| MemoryStore::with_clock(10, clock.clone()));
        let ask = |of: &MemoryStore<_>| {
            let answer = block_on(of.take(vec![plan(&policy, 0, false, 1)])).remove(0).expect("decided");
            u32::from(answer.decision.is_allowed())
        };
        for _ in 0..used_before {
            ask(&store);
        }
        let (mut by_store, mut by_replica) = (0, 0);
        for micros in waits {
            clock.advance(Duration::from_micros(micros));
            by_store += ask(&store);
            by_replica += ask(&local);
            prop_assert!(by_replica >= by_store);
        }
    }
}

#[test]
fn three_replicas_alone_admit_three_times_the_limit_and_no_more() {
    let quota = Quota::new(100, Duration::from_hours(24)).expect("valid");
    let own = Quotas {
        global: Some(quota),
        per_user: None,
    };
    let policy = policy(own, own);
    let clock = ManualClock::new(EPOCH);
    let mut admitted = 0;
    for _replica in 0..REPLICAS {
        let local = MemoryStore::with_clock(10, clock.clone());
        for _ in 0..500 {
            let answer = block_on(local.take(vec![plan(&policy, 0, false, 1)]))
                .remove(0)
                .expect("decided");
            admitted += u32::from(answer.decision.is_allowed());
        }
    }
    assert_eq!(admitted, 300);
}
