use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use toolgate_policy::Kind;

use super::*;
use crate::{
    objects::ObjectKey,
    status::condition::tests::{judged, rejected},
};

/// A status of that generation, in which these conditions have this status.
fn status(generation: i64, conditions: &[(&str, &str)]) -> RateLimitPolicyStatus {
    let condition = |(type_, status): &(&str, &str)| Condition {
        type_: (*type_).to_owned(),
        status: (*status).to_owned(),
        reason: "Some".to_owned(),
        message: String::new(),
        observed_generation: Some(generation),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    };
    RateLimitPolicyStatus {
        observed_generation: Some(generation),
        conditions: conditions.iter().map(condition).collect(),
        ..RateLimitPolicyStatus::default()
    }
}

fn reasons(
    object: &Judged,
    before: &RateLimitPolicyStatus,
    after: &RateLimitPolicyStatus,
) -> Vec<&'static str> {
    let news = news(object, before, after);
    news.into_iter().map(|one| one.reason).collect()
}

#[test]
fn a_rejection_is_told_once_for_each_generation() {
    let none = RateLimitPolicyStatus::default();
    let bad = |generation| status(generation, &[(ACCEPTED, "False")]);
    let object = judged(1, rejected(None));
    assert_eq!(reasons(&object, &none, &bad(1)), ["Rejected"]);
    assert_eq!(reasons(&object, &bad(1), &bad(1)), [""; 0]);
    let object = judged(2, rejected(None));
    assert_eq!(reasons(&object, &bad(1), &bad(2)), ["Rejected"]);
}

#[test]
fn a_policy_that_became_good_is_told_and_one_that_always_was_is_not() {
    let object = judged(2, Reading::Accepted);
    let (bad, good) = (
        status(1, &[(ACCEPTED, "False")]),
        status(2, &[(ACCEPTED, "True")]),
    );
    assert_eq!(reasons(&object, &bad, &good), ["Accepted"]);
    assert_eq!(reasons(&object, &good, &good), [""; 0]);
    let none = RateLimitPolicyStatus::default();
    assert_eq!(reasons(&object, &none, &good), [""; 0]);
}

#[test]
fn a_conflict_is_told_with_the_winner() {
    let mut object = judged(1, Reading::Accepted);
    let older = ObjectKey {
        kind: Kind::McpServer,
        ..object.key.clone()
    };
    object.verdict.loses_to = Some(older);
    let conflicted = status(1, &[(CONFLICTED, "True")]);
    let news = news(&object, &RateLimitPolicyStatus::default(), &conflicted);
    assert_eq!(news.len(), 1);
    assert_eq!((news[0].type_, news[0].reason), ("Warning", "Conflicted"));
    assert!(
        news[0]
            .note
            .starts_with("MCPServer team/research limits the same server")
    );
    assert_eq!(reasons(&object, &conflicted, &conflicted), [""; 0]);
}

#[test]
fn an_event_is_named_alike_by_every_leader_and_differs_by_generation_and_reason() {
    let now = Timestamp::from_second(1_800_000_000).expect("time");
    let object = judged(7, rejected(None));
    let rejected_news = &state_of(&object)[0];
    let event = rejected_news.event(&object, "toolgate-0", now);
    assert_eq!(
        event.metadata.name.as_deref(),
        Some("research.0b54cc5c.7.rejected")
    );
    assert_eq!(event.metadata.namespace.as_deref(), Some("team"));
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    let regarding = event.regarding.as_ref().expect("regarding");
    assert_eq!(regarding.kind.as_deref(), Some("RateLimitPolicy"));
    assert_eq!(
        regarding.api_version.as_deref(),
        Some("toolgate.dev/v1alpha1")
    );
    let later = Timestamp::from_second(1_800_000_100).expect("time");
    let again = rejected_news.event(&object, "toolgate-1", later);
    assert_eq!(again.metadata.name, event.metadata.name);
}

#[test]
fn an_event_of_an_object_with_the_longest_name_has_a_name_that_kubernetes_takes() {
    let mut object = judged(i64::MAX, rejected(None));
    object.key.name = "a-.".repeat(84) + "a";
    object.revision.uid = "0b54cc5c-0000-4000-8000-000000000000".to_owned();
    let event = state_of(&object)[0].event(&object, &"r".repeat(200), Timestamp::UNIX_EPOCH);
    let name = event.metadata.name.expect("name");
    assert!(name.len() <= 253, "{}", name.len());
    assert!(
        !name.contains("-.0b54") && !name.contains("..0b54"),
        "{name}"
    );
    assert_eq!(
        event.reporting_instance.map(|instance| instance.len()),
        Some(128)
    );
    assert!(event.note.is_some_and(|note| note.len() <= 1_024));
}
