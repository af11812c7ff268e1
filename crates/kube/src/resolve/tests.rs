use jiff::Timestamp;
use serde_json::json;

use toolgate_policy::Kind;

use super::*;
use crate::{
    objects::tests::{all_policies, key, limit, policy},
    watch::{Change, Followed},
};

/// Each by name, second of its creation and specification.
fn resolved(objects: &[(&str, i64, serde_json::Value)]) -> Resolution {
    let mut known = Objects::default();
    for (name, second, spec) in objects {
        let mut observed = policy(name, name, 1, spec.clone());
        observed.revision.created = Timestamp::from_second(*second).ok();
        known.apply(all_policies(), Change::Applied(observed));
    }
    resolve(&known)
}

fn limiting(server: &str) -> serde_json::Value {
    json!({"server": server, "global": {"maxTokens": 5, "refillPeriod": "1m"}})
}

fn in_force(resolution: &Resolution) -> Vec<String> {
    let origins = resolution
        .policies
        .iter()
        .map(|(_, origin)| origin.to_string());
    origins.collect()
}

#[test]
fn of_two_objects_for_one_server_the_older_one_is_in_force_and_the_other_is_told() {
    for newer_first in [true, false] {
        let (new, old) = if newer_first { ("a", "b") } else { ("b", "a") };
        let resolution = resolved(&[(new, 20, limiting("s")), (old, 10, limiting("s"))]);
        assert_eq!(
            in_force(&resolution),
            [format!("RateLimitPolicy team/{old}")]
        );
        assert_eq!(resolution.verdicts[&key(old)].loses_to, None);
        assert_eq!(resolution.verdicts[&key(new)].loses_to, Some(key(old)));
        assert_eq!(resolution.verdicts[&key(new)].reading, Reading::Accepted);
        assert_eq!(
            resolution.rejected.to_string(),
            format!(
                "RateLimitPolicy team/{new}: error: server team/s is limited by RateLimitPolicy \
                 team/{old}, which came first"
            )
        );
    }
}

#[test]
fn objects_of_one_age_are_ordered_by_name() {
    let resolution = resolved(&[("b", 10, limiting("s")), ("a", 10, limiting("s"))]);
    assert_eq!(in_force(&resolution), ["RateLimitPolicy team/a"]);
}

/// Two replicas, of which one has seen the older object while it was right, enforced two different
/// objects for one server.
#[test]
fn a_bad_object_holds_up_no_other_and_keeps_its_server_in_every_replica() {
    let bad = json!({"server": "s", "global": {"maxTokens": 0, "refillPeriod": "1m"}});
    let late = resolved(&[
        ("bad", 1, bad.clone()),
        ("good", 2, limiting("s")),
        ("other", 3, limit(5)),
    ]);
    assert_eq!(in_force(&late), ["RateLimitPolicy team/other"]);
    let verdict = &late.verdicts[&key("bad")];
    assert!(matches!(
        verdict.reading,
        Reading::Rejected {
            last_good: None,
            ..
        }
    ));
    assert_eq!(verdict.loses_to, None);
    assert_eq!(late.verdicts[&key("good")].loses_to, Some(key("bad")));
    let told = late.rejected.to_string();
    assert!(told.contains("is wrong: mend or delete"), "{told}");

    let mut known = Objects::default();
    for (generation, spec) in [(1, limiting("s")), (2, bad)] {
        let mut observed = policy("bad", "bad", generation, spec);
        observed.revision.created = Timestamp::from_second(1).ok();
        known.apply(all_policies(), Change::Applied(observed));
    }
    let mut good = policy("good", "good", 1, limiting("s"));
    good.revision.created = Timestamp::from_second(2).ok();
    known.apply(all_policies(), Change::Applied(good));
    let early = resolve(&known);
    assert_eq!(in_force(&early), ["RateLimitPolicy team/bad"]);
    assert_eq!(
        early.verdicts[&key("good")].loses_to,
        late.verdicts[&key("good")].loses_to
    );
}

/// Its server is its name, however its specification reads.
#[test]
fn an_unreadable_object_of_toolhive_keeps_its_server() {
    let mut known = Objects::default();
    let mut gateway = policy("s", "1", 1, json!({}));
    gateway.key.kind = Kind::VirtualMcpServer;
    gateway.spec = serde_json::from_str::<serde_json::Value>("[").map(Some);
    gateway.revision.created = Timestamp::from_second(1).ok();
    let gateways = Followed {
        kind: Kind::VirtualMcpServer,
        namespace: None,
    };
    known.apply(gateways, Change::Applied(gateway));
    let mut younger = policy("younger", "2", 1, limiting("s"));
    younger.revision.created = Timestamp::from_second(2).ok();
    known.apply(all_policies(), Change::Applied(younger));
    assert_eq!(in_force(&resolve(&known)), [""; 0]);
}

#[test]
fn an_object_made_anew_is_news() {
    let mut known = Objects::default();
    known.apply(
        all_policies(),
        Change::Applied(policy("a", "a", 1, limit(5))),
    );
    let first = resolve(&known);
    assert!(first.is_same(&resolve(&known)));
    let anew = policy("a", "another uid", 1, limit(6));
    known.apply(all_policies(), Change::Applied(anew));
    assert!(!first.is_same(&resolve(&known)));
}
