use std::time::Duration;

use toolgate_limit::{Check, Identity, Mode, Operation, OperationKind, Policy, Quotas};

use super::*;

/// Two limits for each of as many tools as there may be checks.
fn policy(capacity: u32) -> Policy {
    let quota = Some(Quota::new(capacity, Duration::from_mins(1)).expect("a valid quota"));
    let both = Quotas {
        global: quota,
        per_user: quota,
    };
    let operations = (0..MAX_CHECKS).map(|number| (tool(number), both));
    let own = Quotas::default();
    let server = "default/research".parse().expect("a valid server");
    Policy::new(server, Mode::Enforce, own, operations).expect("a valid policy")
}

fn tool(number: usize) -> Operation {
    Operation::new(OperationKind::Tool, &format!("tool-{number}")).expect("a valid name")
}

/// The check of user and tool `number`.
fn plan(policy: &Policy, number: usize) -> Plan {
    policy.plan(&Check {
        server: policy.server().clone(),
        identity: Identity::new(format!("user-{number}")).expect("a valid subject"),
        operation: Some(tool(number)),
        cost: Check::COST_OF_ONE,
        trace: None,
    })
}

#[test]
fn a_batch_takes_as_many_checks_as_it_may_whatever_they_touch() {
    let policy = policy(10);
    let mut batch = Batch::default();
    let plans = (0..MAX_CHECKS).map(|number| plan(&policy, number));
    batch.add(plans.collect()).expect("an empty batch has room");
    assert!(batch.add(vec![plan(&policy, 0)]).is_err());
    assert_eq!(batch.first_buckets().count, 2 * MAX_CHECKS);
    batch.command("EVALSHA", "", &KeyPrefix::default());
}

/// What a refused call had added on the way stayed in the batch, which could then hold more buckets
/// than can be counted.
#[test]
fn a_call_of_another_snapshot_leaves_nothing_behind() {
    let (old, new) = (policy(10), policy(20));
    let mut batch = Batch::default();
    batch.add(vec![plan(&old, 0)]).expect("room");
    // Only the last of these touches what is there.
    let call = (0..MAX_CHECKS - 1).rev().map(|number| plan(&new, number));
    let back = batch.add(call.collect()).expect_err("another quota");
    assert_eq!(back.len(), MAX_CHECKS - 1);
    assert_eq!(batch.first_buckets().count, 2);
    assert_eq!(batch.plans().count(), 1);
}
