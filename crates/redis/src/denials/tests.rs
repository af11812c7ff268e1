use std::slice;

use toolgate_limit::{
    Check, Decision, Identity, Mode, Operation, OperationKind, Policy, Quota, Quotas, Timestamp,
    peek,
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    let quota = |tokens, seconds| {
        Some(Quota::new(tokens, Duration::from_secs(seconds)).expect("a valid quota"))
    };
    let own = Quotas {
        global: quota(10, 10),
        per_user: quota(2, 4),
    };
    let search = Operation::new(OperationKind::Tool, "search").expect("a valid name");
    let of_tool = Quotas {
        global: None,
        per_user: quota(1, 60),
    };
    let server = "default/research".parse().expect("a valid server");
    Policy::new(server, Mode::Enforce, own, [(search, of_tool)]).expect("a valid policy")
}

fn plan(policy: &Policy, user: &str, tool: Option<&str>, cost: u32) -> Plan {
    policy.plan(&Check {
        server: policy.server().clone(),
        identity: Identity::new(user).expect("a valid subject"),
        operation: tool.map(|name| Operation::new(OperationKind::Tool, name).expect("valid")),
        cost: cost.try_into().expect("not zero"),
        trace: None,
    })
}

/// What a store says of `plan` when the bucket of the plan's `empty`th limit is empty.
fn denied(plan: &Plan, empty: usize) -> Answer {
    let now = Timestamp::from_micros(1_000_000);
    let buckets: Vec<_> = (plan.limits().enumerate())
        .map(|(place, limit)| {
            let quota = limit.quota();
            let left = if place == empty { 0 } else { quota.capacity() };
            toolgate_limit::Bucket::restore(quota, left, 0, now).expect("possible")
        })
        .collect();
    peek(plan, &buckets, now)
}

fn first(denials: &Denials, plan: &Plan, now: Instant) -> Option<Answer> {
    let mut answers = denials.answers(slice::from_ref(plan), now);
    answers.pop().flatten()
}

/// A check that was answered when it came.
fn at_once(sent: Instant) -> (Instant, Instant) {
    (sent, sent)
}

fn wait(answer: &Answer) -> Duration {
    let Decision::Denied(denial) = &answer.decision else {
        panic!("allowed");
    };
    denial.retry_after.expect("it ends")
}

#[test]
fn a_denial_is_repeated_with_less_to_wait_and_no_longer_than_it_lasts_or_is_remembered() {
    let (policy, sent) = (policy(), Instant::now());
    for (longest, until) in [(SECOND, SECOND), (10 * SECOND, 2 * SECOND)] {
        let denials = Denials::new(longest);
        let alice = plan(&policy, "alice", None, 1);
        // Two tokens in four seconds: the next comes after two.
        denials.remember(&alice, &denied(&alice, 1), at_once(sent));
        let at = |passed| first(&denials, &alice, sent + passed);

        assert_eq!(wait(&at(Duration::ZERO).expect("denied")), 2 * SECOND);
        let almost = until.saturating_sub(Duration::from_nanos(1));
        let answer = at(almost).expect("still denied");
        assert_eq!(wait(&answer), (2 * SECOND).saturating_sub(almost));
        assert_eq!(answer.buckets.len(), 2, "all of the check's");
        assert_eq!(
            answer.buckets[1].full_after,
            (4 * SECOND).saturating_sub(almost)
        );
        assert_eq!(at(until), None);
    }
}

/// The wait once counted from the request, and whoever waited as told came back too early by as much
/// of the round trip as had passed before Redis decided.
#[test]
fn a_denial_lasts_from_the_request_on_and_what_is_left_to_wait_from_the_reply_on() {
    let (policy, sent) = (policy(), Instant::now());
    let (denials, trip) = (Denials::new(10 * SECOND), Duration::from_millis(30));
    let alice = plan(&policy, "alice", None, 1);
    denials.remember(&alice, &denied(&alice, 1), (sent, sent + trip));
    let at = |passed| first(&denials, &alice, sent + passed);

    let almost = (2 * SECOND).saturating_sub(Duration::from_nanos(1));
    let left = wait(&at(almost).expect("still denied"));
    assert_eq!(left, trip + Duration::from_nanos(1));
    assert_eq!(at(2 * SECOND), None);
}

#[test]
fn only_what_touches_the_bucket_at_that_cost_is_denied() {
    let (policy, sent) = (policy(), Instant::now());
    let denials = Denials::new(SECOND);
    let asks = |user, tool, cost| first(&denials, &plan(&policy, user, tool, cost), sent).is_some();

    let search = plan(&policy, "alice", Some("search"), 1);
    denials.remember(&search, &denied(&search, 2), at_once(sent));
    assert!(asks("alice", Some("search"), 1));
    assert!(!asks("alice", None, 1), "another bucket");
    assert!(!asks("alice", Some("search"), 2), "another wait");
    assert!(!asks("bob", Some("search"), 1), "another user");

    denials.remember(&search, &denied(&search, 1), at_once(sent));
    assert!(asks("alice", None, 1), "her bucket of the server");
    assert!(!asks("bob", None, 1), "another user");

    denials.remember(&search, &denied(&search, 0), at_once(sent));
    assert!(asks("alice", None, 1), "the bucket that all share");
    // Bob's own may have the longest wait, and nothing is known of it.
    assert!(!asks("bob", None, 1));
    let bob = plan(&policy, "bob", None, 1);
    denials.remember(&bob, &denied(&bob, 0), at_once(sent));
    assert!(asks("bob", None, 1));
}

#[test]
fn another_snapshot_and_a_reset_make_forget() {
    let (policy, sent) = (policy(), Instant::now());
    let denials = Denials::new(SECOND);
    let alice = plan(&policy, "alice", None, 1);
    denials.remember(&alice, &denied(&alice, 1), at_once(sent));
    let reloaded = self::policy();
    assert_eq!(
        first(&denials, &plan(&reloaded, "alice", None, 1), sent),
        None
    );

    denials.resetting().done();
    assert_eq!(first(&denials, &alice, sent), None);
}

/// It denied what was reset for a second more, if the caller of the reset had hung up.
#[tokio::test(start_paused = true)]
async fn a_reset_that_is_given_up_or_fails_forgets_and_distrusts_what_is_on_its_way() {
    let (policy, denials) = (policy(), Denials::new(SECOND));
    let alice = plan(&policy, "alice", None, 1);
    let is_remembered = |sent| {
        denials.remember(&alice, &denied(&alice, 1), (sent, Instant::now()));
        first(&denials, &alice, Instant::now()).is_some()
    };
    let before = Instant::now();
    assert!(is_remembered(before));
    let resetting = denials.resetting();
    tokio::time::advance(SECOND / 10).await;
    assert!(!is_remembered(Instant::now()), "it is on its way");
    drop(resetting);
    // The command may have been sent, and is carried out some time after nobody waits for it.
    assert!(!is_remembered(before) && !is_remembered(Instant::now()));
    tokio::time::advance(SECOND / 2).await;
    assert!(!is_remembered(Instant::now()));
    tokio::time::advance(SECOND).await;
    assert!(is_remembered(Instant::now()));

    let before = Instant::now();
    let resetting = denials.resetting();
    tokio::time::advance(SECOND / 10).await;
    resetting.done();
    assert!(!is_remembered(before), "it was on its way");
    tokio::time::advance(SECOND / 10).await;
    assert!(is_remembered(Instant::now()));
}

#[test]
fn what_is_allowed_never_ends_or_is_not_to_be_remembered_is_not() {
    let (policy, sent) = (policy(), Instant::now());
    let alice = plan(&policy, "alice", None, 1);
    let much = plan(&policy, "alice", None, 11);
    for (longest, plan, answer) in [
        (SECOND, &alice, denied(&alice, usize::MAX)),
        (SECOND, &much, denied(&much, 1)),
        (Duration::ZERO, &alice, denied(&alice, 1)),
    ] {
        let denials = Denials::new(longest);
        denials.remember(plan, &answer, at_once(sent));
        assert_eq!(first(&denials, plan, sent), None);
    }
}
