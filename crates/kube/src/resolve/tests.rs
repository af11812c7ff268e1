use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{
    objects::tests::{all_policies, key, limit, policy},
    watch::Change,
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

#[test]
fn a_bad_object_holds_up_no_other_and_yields_its_server_to_a_good_one() {
    let resolution = resolved(&[
        (
            "bad",
            1,
            json!({"server": "s", "global": {"maxTokens": 0, "refillPeriod": "1m"}}),
        ),
        ("good", 2, limiting("s")),
        ("other", 3, limit(5)),
    ]);
    assert_eq!(
        in_force(&resolution),
        ["RateLimitPolicy team/good", "RateLimitPolicy team/other"]
    );
    let verdict = &resolution.verdicts[&key("bad")];
    assert!(matches!(
        verdict.reading,
        Reading::Rejected {
            last_good: None,
            ..
        }
    ));
    assert_eq!(verdict.loses_to, None);
    assert_eq!(resolution.verdicts[&key("good")].loses_to, None);
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
