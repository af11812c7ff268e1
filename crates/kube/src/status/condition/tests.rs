use serde_json::json;
use toolgate_policy::{Kind, read_object};

use super::*;
use crate::{
    Config, Namespaces,
    objects::{ObjectKey, Revision},
    source::View,
};

/// A policy `team/research` of that generation, first seen at resource version 100.
pub(crate) fn judged(generation: i64, reading: Reading) -> Judged {
    Judged {
        key: key("research"),
        revision: Revision {
            uid: "0b54cc5c".to_owned(),
            generation,
            resource_version: "100".to_owned(),
            digest: 0,
            created: None,
        },
        server: Some("team/research".parse().expect("server")),
        status: None,
        verdict: Verdict {
            reading,
            loses_to: None,
        },
    }
}

pub(crate) fn rejected(last_good: Option<i64>) -> Reading {
    let spec = json!({"global": {"maxTokens": 0, "refillPeriod": "1m"}, "tols": []});
    Reading::Rejected {
        diagnostics: read_object(Kind::RateLimitPolicy, "team", "research", Some(&spec))
            .diagnostics,
        last_good,
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: Kind::RateLimitPolicy,
        namespace: "team".to_owned(),
        name: name.to_owned(),
    }
}

/// How far a replica is that watches `namespace`.
fn progress(namespace: &str, newest: &str) -> Progress {
    let namespaces = Namespaces::of([namespace]).expect("namespace");
    let watched = namespaces.to_watch().remove(0);
    let config = Config {
        namespaces,
        status: true,
        lease_namespace: None,
        lease_name: "toolgate".to_owned(),
        replica: "r".to_owned(),
        pod_uid: None,
    };
    let view = View {
        newest: [(watched, newest.to_owned())].into(),
        objects: Vec::new(),
    };
    Progress::of(&config, &view)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("time")
}

/// The status of `object` at second `now`, with replicas that have come as far as these versions.
fn status(
    object: &Judged,
    replicas: &[(&str, Progress)],
    before: &RateLimitPolicyStatus,
    now: i64,
) -> RateLimitPolicyStatus {
    let replicas = replicas.iter().map(|(name, progress)| (*name, progress));
    let facts = Facts {
        object,
        since: "100",
        replicas: &replicas.collect(),
        before,
    };
    facts.status(at(now))
}

fn said(status: &RateLimitPolicyStatus, type_: &str) -> (String, String, String) {
    let condition = find(status, type_).expect("condition");
    assert_eq!(condition.observed_generation, status.observed_generation);
    (
        condition.status.clone(),
        condition.reason.clone(),
        condition.message.clone(),
    )
}

fn says(status: &str, reason: &str, message: &str) -> (String, String, String) {
    (status.to_owned(), reason.to_owned(), message.to_owned())
}

fn nothing() -> RateLimitPolicyStatus {
    RateLimitPolicyStatus::default()
}

#[test]
fn a_policy_that_every_replica_has_taken_over_is_enforced() {
    let object = judged(4, Reading::Accepted);
    let replicas = [
        ("a", progress("*", "100")),
        ("b", progress("team", "250")),
        ("c", progress("*", "1000")),
    ];
    let status = status(&object, &replicas, &nothing(), 0);
    assert_eq!(status.server.as_deref(), Some("team/research"));
    assert_eq!(status.observed_generation, Some(4));
    assert_eq!(
        said(&status, ACCEPTED),
        says("True", "Valid", "the policy is valid")
    );
    assert_eq!(
        said(&status, ENFORCED),
        says(
            "True",
            "AllReplicas",
            "3 of 3 replicas enforce generation 4"
        )
    );
    assert_eq!(said(&status, CONFLICTED).0, "False");
    assert!(!is_pending(&status));
    let generations: Vec<_> = status.replicas.iter().map(|one| one.generation).collect();
    assert_eq!(generations, [Some(4); 3]);
}

#[test]
fn a_replica_that_is_behind_keeps_the_generation_that_it_was_known_to_have() {
    let replicas = [("a", progress("*", "100")), ("b", progress("*", "99"))];
    let object = judged(1, Reading::Accepted);
    let first = status(&object, &replicas[..1], &nothing(), 0);
    let object = judged(2, Reading::Accepted);
    let before = RateLimitPolicyStatus {
        replicas: vec![ReplicaGeneration {
            name: "b".to_owned(),
            generation: Some(1),
        }],
        ..first
    };
    let status = status(&object, &replicas, &before, 1);
    assert_eq!(
        said(&status, ENFORCED),
        says(
            "False",
            "SomeReplicas",
            "1 of 2 replicas enforce generation 2"
        )
    );
    assert!(is_pending(&status));
    let generations: Vec<_> = status.replicas.iter().map(|one| one.generation).collect();
    assert_eq!(generations, [Some(2), Some(1)]);
}

#[test]
fn a_replica_that_does_not_watch_the_namespace_is_not_counted() {
    let object = judged(4, Reading::Accepted);
    let replicas = [
        ("other", progress("elsewhere", "1000")),
        ("mine", progress("team", "100")),
    ];
    let status = status(&object, &replicas, &nothing(), 0);
    assert_eq!(
        said(&status, ENFORCED),
        says(
            "True",
            "AllReplicas",
            "1 of 1 replica enforces generation 4"
        )
    );
    let names: Vec<_> = status.replicas.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["mine"]);
}

#[test]
fn without_a_replica_that_is_known_to_live_nobody_knows() {
    let status = status(&judged(1, Reading::Accepted), &[], &nothing(), 0);
    assert_eq!(
        said(&status, ENFORCED),
        says("Unknown", "NoReplicas", "no replica is known to live")
    );
    assert!(is_pending(&status));
}

#[test]
fn a_rejected_policy_shows_its_errors_and_is_not_enforced() {
    let replicas = [("a", progress("*", "100"))];
    let status = status(&judged(1, rejected(None)), &replicas, &nothing(), 0);
    assert_eq!(
        said(&status, ACCEPTED),
        says(
            "False",
            "Invalid",
            "spec.global.maxTokens: maxTokens must be between 1 and 2147483647, not 0; spec.tols: \
             unknown field \"tols\" in spec; known fields are server, mode, global, perUser, tools, \
             prompts, resources"
        )
    );
    assert_eq!(
        said(&status, ENFORCED),
        says(
            "False",
            "NotAccepted",
            "no limits of this policy are in force"
        )
    );
    assert_eq!(status.replicas[0].generation, None);
    assert!(!is_pending(&status));
}

#[test]
fn a_policy_that_became_bad_says_that_its_last_good_generation_stays() {
    let replicas = [("a", progress("*", "100")), ("new", progress("*", "100"))];
    let before = status(&judged(3, Reading::Accepted), &replicas[..1], &nothing(), 0);
    let status = status(&judged(4, rejected(Some(3))), &replicas, &before, 1);
    assert_eq!(
        said(&status, ENFORCED),
        says(
            "False",
            "LastGood",
            "generation 3, the last good one, stays in force in the replicas that have seen it"
        )
    );
    let generations: Vec<_> = status.replicas.iter().map(|one| one.generation).collect();
    assert_eq!(generations, [Some(3), None]);
}

#[test]
fn a_policy_that_loses_its_server_names_the_winner() {
    let mut object = judged(1, Reading::Accepted);
    object.verdict.loses_to = Some(ObjectKey {
        kind: Kind::VirtualMcpServer,
        ..key("older")
    });
    let status = status(&object, &[("a", progress("*", "100"))], &nothing(), 0);
    assert_eq!(
        said(&status, CONFLICTED),
        says(
            "True",
            "OlderPolicy",
            "VirtualMCPServer team/older limits the same server and came first"
        )
    );
    assert_eq!(
        said(&status, ENFORCED),
        says(
            "False",
            "Conflicted",
            "VirtualMCPServer team/older is in force instead"
        )
    );
    assert_eq!(said(&status, ACCEPTED).0, "True");
    assert_eq!(status.replicas[0].generation, None);
}

/// Our own write makes an event of the watch: if it led to another write there would be no end.
#[test]
fn what_is_written_already_is_not_different_later() {
    let replicas = [("a", progress("*", "100")), ("b", progress("*", "7"))];
    for reading in [Reading::Accepted, rejected(None), rejected(Some(1))] {
        let object = judged(2, reading);
        let first = status(&object, &replicas, &nothing(), 0);
        let text = serde_json::to_string(&first).expect("JSON");
        let read = serde_json::from_str(&text).expect("status");
        assert_eq!(status(&object, &replicas, &read, 1_000), first);
    }
}

#[test]
fn the_time_of_a_transition_changes_with_the_status_alone() {
    let (all, some) = (
        [("a", progress("*", "100"))],
        [("a", progress("*", "100")), ("b", progress("*", "7"))],
    );
    let time = |status: &RateLimitPolicyStatus, type_| {
        find(status, type_)
            .expect("condition")
            .last_transition_time
            .0
    };
    let first = status(&judged(1, Reading::Accepted), &all, &nothing(), 0);
    let second = status(&judged(2, Reading::Accepted), &all, &first, 10);
    assert_eq!(time(&second, ENFORCED), at(0));
    let third = status(&judged(2, Reading::Accepted), &some, &second, 20);
    assert_eq!(time(&third, ENFORCED), at(20));
    assert_eq!(time(&third, ACCEPTED), at(0));
}

#[test]
fn conditions_of_others_stay() {
    let object = judged(1, Reading::Accepted);
    let mut before = status(&object, &[], &nothing(), 0);
    let foreign = Condition {
        type_: "Reviewed".to_owned(),
        ..before.conditions[0].clone()
    };
    before.conditions.insert(0, foreign.clone());
    let after = status(&object, &[], &before, 0);
    assert_eq!(after.conditions.len(), 4);
    assert_eq!(after.conditions[3], foreign);
}

#[test]
fn at_most_64_replicas_are_named_and_all_are_counted() {
    let names: Vec<_> = (0..100).map(|i| format!("r{i:03}")).collect();
    let replicas = names.iter().map(|name| (&**name, progress("*", "100")));
    let replicas: Vec<_> = replicas.collect();
    let status = status(&judged(1, Reading::Accepted), &replicas, &nothing(), 0);
    assert_eq!(status.replicas.len(), 64);
    assert!(said(&status, ENFORCED).2.starts_with("100 of 100 replicas"));
}
