//! `make bench`: what the limiter costs, as ratios to what is below it, measured in one run.
//!
//! Every comparison runs its sides in turn, several rounds long, and prints medians with their
//! spread. Nothing is asserted: machines differ and are noisy, ratios less so.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on ends")]

mod arithmetic;
mod grpc;
mod measure;
mod script;

use std::{num::NonZeroU32, time::Duration};

use toolgate_limit::{
    Check, Identity, Mode, Operation, OperationKind, Plan, Policy, Quota, Quotas,
};

fn main() {
    println!("four buckets a check, {USERS} users x {TOOLS} tools\n");
    arithmetic::run();
    script::run();
    grpc::run();
}

const USERS: usize = 10_000;
const TOOLS: usize = 100;

/// A policy under which every check touches four buckets, none of which ever runs dry.
fn policy() -> Policy {
    let ample = Quota::new(Quota::MAX_CAPACITY, Duration::from_secs(1)).expect("valid");
    let both = Quotas {
        global: Some(ample),
        per_user: Some(ample),
    };
    let server = "bench/server".parse().expect("valid");
    let tools = (0..TOOLS).map(|tool| (operation(tool), both));
    Policy::new(server, Mode::Enforce, both, tools).expect("valid")
}

fn operation(number: usize) -> Operation {
    Operation::new(OperationKind::Tool, &format!("tool-{number}")).expect("valid")
}

/// The same users and tools in every run, spread as by chance.
fn spread(number: usize) -> (usize, usize) {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    (mixed % USERS, mixed / USERS % TOOLS)
}

fn plans(policy: &Policy, count: usize) -> Vec<Plan> {
    let plan = |number| {
        let (user, tool) = spread(number);
        policy.plan(&Check {
            server: policy.server().clone(),
            identity: Identity::new(&format!("user-{user}")).expect("valid"),
            operation: Some(operation(tool)),
            cost: NonZeroU32::MIN,
        })
    };
    (0..count).map(plan).collect()
}
