use toolgate_limit::{Identity, Operation, OperationKind};

use super::*;

fn check() -> Check {
    Check {
        server: "default/research".parse().expect("valid"),
        identity: Identity::anonymous(),
        operation: Some(Operation::new(OperationKind::Tool, "search").expect("valid")),
        cost: Check::COST_OF_ONE,
        trace: None,
    }
}

/// The denial's wait in seconds, which may be out of range.
fn wait(reply: &mut pb::CheckResponse) -> &mut i64 {
    let denial = reply.denial.as_mut().expect("denied");
    &mut denial.retry_after.as_mut().expect("set").seconds
}

/// Ten calls a minute per user of the tool, of which none is left.
fn reply(decision: pb::Decision) -> pb::CheckResponse {
    let seconds = |seconds| Some(Duration::from_secs(seconds).try_into().expect("short"));
    let limit = Some(pb::Limit {
        scope: pb::Scope::PerUser.into(),
        operation: Some(pb::limit::Operation::Tool("search".to_owned())),
    });
    let denial = pb::Denial {
        limit: limit.clone(),
        retry_after: seconds(6),
        message: String::new(),
    };
    pb::CheckResponse {
        decision: decision.into(),
        denial: (decision == pb::Decision::Denied).then_some(denial),
        buckets: vec![pb::BucketStatus {
            limit,
            capacity: 10,
            refill_period: seconds(60),
            remaining: 0,
            full_after: seconds(60),
        }],
        degraded: true,
        ..pb::CheckResponse::default()
    }
}

fn spoilt(decision: pb::Decision, spoil: impl Fn(&mut pb::CheckResponse)) -> Answer {
    let mut reply = reply(decision);
    spoil(&mut reply);
    let answer = answer(reply, &check()).expect("the decision can be read");
    assert!(answer.degraded);
    answer
}

/// A limiter that is newer than its client once opened the gate: its denials could not be read.
#[test]
fn a_denial_blocks_whatever_is_wrong_with_its_reasons() {
    let denied = |spoil: fn(&mut pb::CheckResponse)| {
        let answer = spoilt(pb::Decision::Denied, spoil);
        let Decision::Denied(denial) = answer.decision else {
            panic!("{answer:?}");
        };
        denial.to_string()
    };
    let whole = "10 calls per 1m per user of tool search; retry in 6s";
    assert_eq!(denied(|_| {}), whole);
    assert_eq!(denied(|reply| reply.buckets[0].full_after = None), whole);
    let another = |reply: &mut pb::CheckResponse| {
        let mut another = reply.buckets[0].clone();
        another.limit = None;
        reply.buckets.push(another);
    };
    assert_eq!(denied(another), whole);

    let of_another_scope = |reply: &mut pb::CheckResponse| {
        for limit in [
            &mut reply.buckets[0].limit,
            &mut reply.denial.as_mut().expect("denied").limit,
        ] {
            limit.as_mut().expect("set").scope = 99;
        }
    };
    let global = "10 calls per 1m of tool search; retry in 6s";
    assert_eq!(denied(of_another_scope), global);
    let one = "1 call per 6s per user of tool search; retry in 6s";
    assert_eq!(denied(|reply| reply.buckets[0].capacity = 0), one);
    assert_eq!(denied(|reply| reply.buckets.clear()), one);
    assert_eq!(
        denied(|reply| reply.denial = None),
        "1 call per 1s of server default/research; retry in 1s"
    );
    let later = "10 calls per 1m per user of tool search; retry in 1s";
    assert_eq!(denied(|reply| *wait(reply) = -1), later);
    let wait_for_ever = |reply: &mut pb::CheckResponse| {
        *wait(reply) = i64::MAX;
        reply.buckets.clear();
    };
    assert!(denied(wait_for_ever).starts_with("1 call per 8784h"));
}

#[test]
fn an_allowed_call_was_decided_whatever_is_wrong_with_its_statuses() {
    let whole = spoilt(pb::Decision::Allowed, |_| {});
    assert_eq!(
        (whole.decision, whole.buckets.len()),
        (Decision::Allowed, 1)
    );
    let spoilt = spoilt(pb::Decision::Allowed, |reply| {
        reply.buckets[0].refill_period = None;
    });
    assert_eq!(
        (spoilt.decision, spoilt.buckets.len()),
        (Decision::Allowed, 0)
    );
}

#[test]
fn a_reply_without_a_decision_is_malformed() {
    for decision in [0, 99] {
        let mut reply = reply(pb::Decision::Denied);
        reply.decision = decision;
        assert_eq!(answer(reply, &check()).expect_err("none").field, "decision");
    }
}
