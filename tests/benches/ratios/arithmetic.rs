//! The pure decision, and the memory store around it.

use std::hint::black_box;

use futures::executor::block_on;
use toolgate_limit::{Bucket, BucketStore, Clock, MemoryStore, SystemClock, take};

use crate::{
    measure::{Side, compare},
    plans, policy,
};

const CHECKS: usize = 100_000;

pub(crate) fn run() {
    let policy = policy();
    let plans = plans(&policy, CHECKS);
    let clock = SystemClock::new();
    let now = clock.now();
    let full: Vec<_> = plans[0]
        .limits()
        .map(|limit| Bucket::full(limit.quota(), now))
        .collect();
    let store = MemoryStore::new(1_000_000);

    let decision = || {
        for plan in &plans {
            let now = clock.now();
            let mut buckets: Vec<_> = full
                .iter()
                .map(|bucket| bucket.at(bucket.quota(), now))
                .collect();
            black_box(take(black_box(plan), &mut buckets, now));
        }
        CHECKS
    };
    let in_memory = || {
        for plan in &plans {
            let answer = block_on(store.take(plan.clone()));
            black_box(answer).expect("room");
        }
        CHECKS
    };
    compare(
        "the arithmetic, one thread",
        vec![
            Side {
                name: "pure decision",
                run: Box::new(decision),
            },
            Side {
                name: "memory store",
                run: Box::new(in_memory),
            },
        ],
    );
}
