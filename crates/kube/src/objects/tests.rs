use serde_json::json;

use super::*;

/// A `RateLimitPolicy` of the namespace `team`, of that uid and generation.
pub(crate) fn policy(name: &str, uid: &str, generation: i64, spec: Value) -> Observed {
    let text = RawValue::from_string(spec.to_string()).expect("JSON");
    Observed {
        key: key(name),
        revision: Revision {
            uid: uid.to_owned(),
            generation,
            resource_version: (100 + generation).to_string(),
            digest: digest(Some(&text)),
            created: Some(Timestamp::UNIX_EPOCH),
        },
        spec: Ok(Some(spec)),
        status: None,
    }
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: Kind::RateLimitPolicy,
        namespace: "team".to_owned(),
        name: name.to_owned(),
    }
}

pub(crate) fn all_policies() -> Followed {
    Followed {
        kind: Kind::RateLimitPolicy,
        namespace: None,
    }
}

pub(crate) fn limit(tokens: u32) -> Value {
    json!({"global": {"maxTokens": tokens, "refillPeriod": "1m"}})
}

fn applied(objects: &mut Objects, observed: Observed) {
    objects.apply(all_policies(), Change::Applied(observed));
}

fn capacity(objects: &Objects, name: &str) -> Option<u32> {
    let limits = objects.get(&key(name))?.limits.as_ref()?;
    let limit = limits.policy.limits().into_iter().next()?;
    Some(limit.quota().capacity())
}

#[test]
fn a_bad_change_leaves_the_last_good_limits_of_that_object_and_a_good_one_replaces_them() {
    let mut objects = Objects::default();
    applied(&mut objects, policy("a", "1", 1, limit(5)));
    applied(&mut objects, policy("a", "1", 2, limit(0)));
    let object = objects.get(&key("a")).expect("known");
    assert!(!object.is_accepted());
    assert_eq!(
        object.limits.as_ref().map(|limits| limits.generation),
        Some(1)
    );
    assert_eq!(capacity(&objects, "a"), Some(5));
    applied(&mut objects, policy("a", "1", 3, limit(7)));
    assert_eq!(capacity(&objects, "a"), Some(7));
}

#[test]
fn an_object_that_was_never_right_has_no_limits() {
    let mut objects = Objects::default();
    applied(&mut objects, policy("a", "1", 1, limit(0)));
    assert!(objects.get(&key("a")).expect("known").limits.is_none());
}

#[test]
fn an_object_made_anew_does_not_inherit_the_limits_of_its_predecessor() {
    let mut objects = Objects::default();
    applied(&mut objects, policy("a", "1", 1, limit(5)));
    // The deletion between them was missed, and so it comes in a list.
    objects.apply(
        all_policies(),
        Change::Listed(vec![policy("a", "2", 1, limit(0))]),
    );
    assert_eq!(capacity(&objects, "a"), None);
}

/// A cluster that was restored from a copy counts generations anew, and a definition with other
/// defaults changes objects without a new generation.
#[test]
fn another_specification_under_the_same_generation_is_read() {
    let mut objects = Objects::default();
    applied(&mut objects, policy("a", "1", 2, limit(5)));
    let restored = Change::Listed(vec![policy("a", "1", 2, limit(6))]);
    assert!(objects.apply(all_policies(), restored));
    assert_eq!(capacity(&objects, "a"), Some(6));
}

#[test]
fn a_change_of_the_status_alone_is_not_read_anew() {
    let mut objects = Objects::default();
    applied(&mut objects, policy("a", "1", 1, limit(5)));
    let before = objects
        .get(&key("a"))
        .and_then(|a| a.limits.clone())
        .expect("limits");
    let mut touched = policy("a", "1", 1, limit(5));
    touched.revision.resource_version = "999".to_owned();
    touched.status = Some(Arc::new(json!({"observedGeneration": 1})));
    assert!(!objects.apply(all_policies(), Change::Applied(touched)));
    let object = objects.get(&key("a")).expect("known");
    let after = object.limits.as_ref().expect("limits");
    assert!(Arc::ptr_eq(&before.policy, &after.policy));
    assert!(object.status.is_some());
    assert_eq!(objects.newest_policies()[&None], "999");
}

#[test]
fn a_list_drops_what_it_lacks_of_its_own_kind_and_namespace_alone() {
    let mut objects = Objects::default();
    let of = |kind, namespace: Option<&str>| Followed {
        kind,
        namespace: namespace.map(str::to_owned),
    };
    applied(&mut objects, policy("a", "1", 1, limit(5)));
    let mut gateway = policy("gateway", "2", 1, json!({}));
    gateway.key.kind = Kind::VirtualMcpServer;
    let its_key = gateway.key.clone();
    objects.apply(of(Kind::VirtualMcpServer, None), Change::Applied(gateway));

    let other = of(Kind::RateLimitPolicy, Some("other"));
    objects.apply(other, Change::Listed(Vec::new()));
    assert!(objects.get(&key("a")).is_some());
    let team = of(Kind::RateLimitPolicy, Some("team"));
    objects.apply(team, Change::Listed(Vec::new()));
    assert!(objects.get(&key("a")).is_none());
    assert!(objects.get(&its_key).is_some());
    assert_eq!(objects.listed(), 2);
}

#[test]
fn the_newest_resource_version_steps_back_with_a_list_alone() {
    let mut objects = Objects::default();
    applied(&mut objects, policy("a", "1", 9, limit(5)));
    applied(&mut objects, policy("b", "2", 1, limit(5)));
    assert_eq!(objects.newest_policies()[&None], "109");
    // As of a cluster that was restored from a copy.
    let restored = vec![policy("b", "2", 1, limit(5))];
    objects.apply(all_policies(), Change::Listed(restored));
    assert_eq!(objects.newest_policies()[&None], "101");
    assert!(is_newer("1000", "999") && !is_newer("999", "1000") && is_newer("1", ""));
}

#[test]
fn a_deleted_object_is_gone() {
    let mut objects = Objects::default();
    applied(&mut objects, policy("a", "1", 1, limit(5)));
    let gone = Change::Deleted("team".to_owned(), "a".to_owned());
    objects.apply(all_policies(), gone);
    assert!(objects.get(&key("a")).is_none());
}
