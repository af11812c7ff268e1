use std::sync::Arc;

use tokio::time::advance;
use toolgate_limit::{Decision, Denial, Identity, Limit, OperationKind, Quota};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn tool(name: &str) -> Operation {
    Operation::new(OperationKind::Tool, name).expect("a valid name")
}

fn user(subject: &str) -> Identity {
    Identity::new(subject).expect("a valid subject")
}

fn check(identity: Identity, operation: Option<Operation>, cost: u32) -> Check {
    Check {
        server: "default/research".parse().expect("a valid server"),
        identity,
        operation,
        cost: cost.try_into().expect("not zero"),
        trace: None,
    }
}

/// What a limiter says when the bucket of that scope and operation lacks two tokens of ten in ten
/// seconds.
fn denied(check: &Check, scope: Scope, operation: Option<Operation>) -> Answer {
    let quota = Quota::new(10, 10 * SECOND).expect("a valid quota");
    let limit = |scope, operation| {
        let server = check.server.clone();
        Arc::new(Limit::new(server, operation, scope, quota))
    };
    let refusing = limit(scope, operation);
    let status = |limit: &Arc<Limit>, remaining, full_after| BucketStatus {
        limit: Arc::clone(limit),
        remaining,
        full_after,
    };
    Answer {
        decision: Decision::Denied(Denial {
            limit: Arc::clone(&refusing),
            retry_after: Some(2 * SECOND),
            cost: check.cost.get(),
        }),
        buckets: vec![
            status(
                &limit(Scope::Global, Some(tool("another"))),
                10,
                Duration::ZERO,
            ),
            status(&refusing, 3, 7 * SECOND),
        ],
        unlimited: false,
        ..Answer::unlimited()
    }
}

/// The server's own bucket of `check`'s user refuses.
fn denied_to_user(check: &Check) -> Answer {
    denied(check, Scope::PerUser, None)
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_repeated_with_less_to_wait_and_no_longer_than_it_lasts_or_is_remembered() {
    let wait = |answer: &Answer| match &answer.decision {
        Decision::Denied(denial) => denial.retry_after,
        Decision::Allowed => None,
    };
    for (longest, until) in [(SECOND, SECOND), (10 * SECOND, 2 * SECOND)] {
        let denials = Denials::new(longest);
        let (alice, sent) = (check(user("alice"), None, 5), Instant::now());
        let answer = denied_to_user(&alice);
        // When in this time the limiter has decided is not known.
        advance(SECOND / 4).await;
        denials.remember(&alice, &answer, sent);
        let again = denials.answer(&alice, Instant::now()).expect("denied");
        assert_eq!(wait(&again), Some(2 * SECOND));
        advance(SECOND / 4).await;
        let again = denials.answer(&alice, Instant::now()).expect("denied");
        assert_eq!(wait(&again), Some(SECOND * 7 / 4));
        assert_eq!(again.buckets.len(), 1, "the other one is not this check's");
        assert_eq!(again.buckets[0].remaining, 3);
        assert_eq!(again.buckets[0].full_after, SECOND * 27 / 4);

        let almost = until.saturating_sub(Duration::from_nanos(1));
        assert!(denials.answer(&alice, sent + almost).is_some());
        assert_eq!(denials.answer(&alice, sent + until), None);
        assert_eq!(denials.hits(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_touches_the_bucket_at_that_cost_is_denied() {
    let search = || Some(tool("search"));
    let of_alice = check(user("alice"), search(), 1);
    let after = |scope, operation| {
        let denials = Denials::new(SECOND);
        let answer = denied(&of_alice, scope, operation);
        denials.remember(&of_alice, &answer, Instant::now());
        move |subject, operation, cost| {
            let check = check(user(subject), operation, cost);
            denials.answer(&check, Instant::now()).is_some()
        }
    };

    let is_denied = after(Scope::PerUser, search());
    assert!(is_denied("alice", search(), 1));
    assert!(!is_denied("alice", search(), 2), "another wait");
    assert!(!is_denied("alice", Some(tool("fetch")), 1), "another tool");
    assert!(!is_denied("alice", None, 1), "the server alone");
    assert!(!is_denied("bob", search(), 1), "another user");
    let prompt = Operation::new(OperationKind::Prompt, "search").ok();
    assert!(!is_denied("alice", prompt, 1), "a prompt of that name");

    let is_denied = after(Scope::PerUser, None);
    assert!(is_denied("alice", None, 1), "all that she does here");
    // Buckets of that tool and of bob may have longer waits, and nothing is known of them.
    assert!(!is_denied("alice", Some(tool("fetch")), 1));
    assert!(!is_denied("bob", None, 1), "another user");

    let is_denied = after(Scope::Global, search());
    assert!(is_denied("alice", search(), 1), "the bucket that all share");
    assert!(!is_denied("alice", None, 1), "the server alone");
    assert!(!is_denied("alice", search(), 2), "another wait");
    assert!(!is_denied("bob", search(), 1), "his own is not known");

    let is_denied = after(Scope::Global, None);
    assert!(is_denied("alice", None, 1), "all that she does here");
    assert!(is_denied("alice", search(), 1));
}

#[tokio::test(start_paused = true)]
async fn another_server_is_another_bucket() {
    let denials = Denials::new(SECOND);
    let here = check(user("alice"), None, 1);
    denials.remember(&here, &denied(&here, Scope::Global, None), Instant::now());
    let there = Check {
        server: "default/other".parse().expect("a valid server"),
        ..here
    };
    assert_eq!(denials.answer(&there, Instant::now()), None);
}

#[tokio::test(start_paused = true)]
async fn a_user_is_the_subject_of_an_issuer_and_all_the_anonymous_are_one() {
    let of_issuer = |identity: Identity, issuer: &str| identity.of_issuer(issuer).expect("valid");
    let here = || of_issuer(user("alice"), "https://here.test");
    let denials = Denials::new(SECOND);
    let alice = check(here(), None, 1);
    denials.remember(&alice, &denied_to_user(&alice), Instant::now());
    let is_denied = |denials: &Denials, identity| {
        let check = check(identity, None, 1);
        denials.answer(&check, Instant::now()).is_some()
    };
    assert!(is_denied(&denials, here()));
    let staff = here().in_groups(vec!["staff".to_owned()]).expect("valid");
    assert!(is_denied(&denials, staff), "groups make no other user");
    let there = of_issuer(user("alice"), "https://there.test");
    assert!(!is_denied(&denials, there));
    assert!(!is_denied(&denials, user("alice")));
    assert!(!is_denied(&denials, Identity::anonymous()));

    let denials = Denials::new(SECOND);
    let anonymous = check(Identity::anonymous(), None, 1);
    denials.remember(&anonymous, &denied_to_user(&anonymous), Instant::now());
    assert!(is_denied(&denials, Identity::anonymous()));
    let of_somewhere = of_issuer(Identity::anonymous(), "https://here.test");
    assert!(is_denied(&denials, of_somewhere));
    assert!(!is_denied(&denials, user("anonymous")));
}

#[tokio::test(start_paused = true)]
async fn only_a_denial_by_the_store_that_ends_is_remembered() {
    let alice = check(user("alice"), None, 1);
    let denied = || denied_to_user(&alice);
    let never = |answer: Answer| match answer.decision {
        Decision::Denied(denial) => Answer {
            decision: Decision::Denied(Denial {
                retry_after: None,
                ..denial
            }),
            ..answer
        },
        Decision::Allowed => answer,
    };
    let degraded = Answer {
        degraded: true,
        ..denied()
    };
    // As it is when another version's words for the limit could not be read.
    let of_unknown_bucket = Answer {
        buckets: Vec::new(),
        ..denied()
    };
    for (longest, answer) in [
        (Duration::ZERO, denied()),
        (SECOND, Answer::unlimited()),
        (SECOND, denied().shadowed()),
        (SECOND, never(denied())),
        (SECOND, degraded),
        (SECOND, of_unknown_bucket),
    ] {
        let (denials, now) = (Denials::new(longest), Instant::now());
        denials.remember(&alice, &answer, now);
        assert_eq!(denials.answer(&alice, now), None, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_too_many_the_latest_are_remembered() {
    let denials = Denials::new(SECOND);
    let of_number = |number: usize| check(user(&number.to_string()), None, 1);
    for number in 0..=3 * MAX_BUCKETS {
        let one = of_number(number);
        denials.remember(&one, &denied_to_user(&one), Instant::now());
    }
    let is_denied = |number| denials.answer(&of_number(number), Instant::now()).is_some();
    assert!(is_denied(3 * MAX_BUCKETS) && is_denied(2 * MAX_BUCKETS + MAX_BUCKETS / 2));
    assert!(!is_denied(0), "what is too much is asked for again");
}

/// The limiter's own cache does not know when its store decided, and says by how much. The client
/// once denied for as much longer than the store.
#[tokio::test(start_paused = true)]
async fn what_a_cached_denial_is_uncertain_of_is_not_denied_here() {
    let denials = Denials::new(10 * SECOND);
    let (alice, sent) = (check(user("alice"), None, 1), Instant::now());
    let answer = Answer {
        uncertainty: SECOND / 2,
        ..denied_to_user(&alice)
    };
    denials.remember(&alice, &answer, sent);
    let almost = sent + SECOND * 3 / 2 - Duration::from_nanos(1);
    let again = denials.answer(&alice, almost).expect("denied");
    assert_eq!(again.uncertainty, SECOND / 2);
    assert_eq!(denials.answer(&alice, sent + SECOND * 3 / 2), None);
}
