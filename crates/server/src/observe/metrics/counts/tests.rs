use std::{num::NonZeroU32, time::Duration};

use toolgate_limit::{Denial, Identity, Limit, Mode, Quota, Quotas};

use super::*;

fn quota() -> Quota {
    Quota::new(1, Duration::from_secs(1)).expect("valid")
}

fn server(name: &str) -> ServerId {
    name.parse().expect("valid")
}

fn operation(kind: OperationKind, name: &str) -> Operation {
    Operation::new(kind, name).expect("valid")
}

fn tool(name: &str) -> Operation {
    operation(OperationKind::Tool, name)
}

/// Policies with a global limit on each of their operations.
fn snapshot(generation: u64, policies: &[(&str, &[Operation])]) -> Arc<Snapshot> {
    let policy = |(name, operations): &(&str, &[Operation])| {
        let global = Quotas {
            global: Some(quota()),
            per_user: None,
        };
        let operations = operations.iter().cloned().map(|named| (named, global));
        Policy::new(server(name), Mode::Enforce, Quotas::default(), operations).expect("valid")
    };
    Arc::new(Snapshot::new(generation, policies.iter().map(policy)))
}

fn check(name: &str, operation: Option<Operation>) -> Check {
    Check {
        server: server(name),
        identity: Identity::new("alice".to_owned()).expect("valid"),
        operation,
        cost: NonZeroU32::MIN,
        trace: None,
    }
}

fn allowed() -> Answer {
    Answer {
        unlimited: false,
        ..Answer::unlimited()
    }
}

fn denied(name: &str, operation: Option<Operation>, scope: Scope) -> Answer {
    let limit = Limit::new(server(name), operation, scope, quota());
    Answer {
        decision: Decision::Denied(Denial {
            limit: Arc::new(limit),
            retry_after: None,
            cost: 1,
        }),
        ..allowed()
    }
}

/// As `server decision scope operation count`.
fn shown(counts: &Counts) -> Vec<String> {
    let line = |series: &Series| {
        let labels = series.labels().map(|(_, value)| value);
        format!("{} {}", labels.join(" "), series.count)
    };
    counts.series().iter().map(line).collect()
}

#[test]
fn a_name_is_shown_only_if_a_policy_has_it_and_a_uri_never() {
    let resource = |uri| operation(OperationKind::Resource, uri);
    let prompt = operation(OperationKind::Prompt, "weekly");
    let named = [
        tool("search"),
        prompt.clone(),
        resource("file:///a"),
        resource("file:///b"),
    ];
    let mut counts = Counts::default();
    counts.renew(snapshot(1, &[("a/b", &named)]));
    for operation in [
        Some(tool("search")),
        Some(tool("search")),
        Some(prompt),
        Some(resource("file:///a")),
        Some(resource("file:///b")),
        None,
    ] {
        counts.count(&check("a/b", operation), &allowed());
    }
    for number in 0..1_000 {
        let unknown = tool(&format!("unknown-{number}"));
        counts.count(&check("a/b", Some(unknown.clone())), &Answer::unlimited());
        counts.count(
            &check(&format!("no/policy-{number}"), Some(unknown)),
            &Answer::unlimited(),
        );
        counts.count(
            &check(&format!("no/policy-{number}"), None),
            &Answer::unlimited(),
        );
    }
    assert_eq!(
        shown(&counts),
        [
            "a/b unlimited  other 1000",
            "a/b allowed  prompt:weekly 1",
            "a/b allowed  resource 2",
            "a/b allowed  server 1",
            "a/b allowed  tool:search 2",
            "other unlimited  other 1000",
            "other unlimited  server 1000",
        ]
    );
}

#[test]
fn a_denial_counts_for_the_limit_that_refused() {
    let mut counts = Counts::default();
    counts.renew(snapshot(1, &[("a/b", &[tool("search")])]));
    let search = || check("a/b", Some(tool("search")));
    counts.count(
        &search(),
        &denied("a/b", Some(tool("search")), Scope::Global),
    );
    counts.count(&search(), &denied("a/b", None, Scope::PerUser));
    let kept_back = denied("a/b", Some(tool("search")), Scope::PerUser).shadowed();
    counts.count(&search(), &kept_back);
    counts.count(&search(), &denied("a/b", None, Scope::Global).shadowed());
    let alone = Answer {
        degraded: true,
        ..allowed()
    };
    counts.count(&search(), &alone);
    for refused in [
        denied("a/b", None, Scope::Global),
        denied("a/b", None, Scope::PerUser),
        denied("a/b", None, Scope::PerUser).shadowed(),
    ] {
        let alone = Answer {
            degraded: true,
            ..refused
        };
        counts.count(&search(), &alone);
    }
    assert_eq!(
        counts.degraded(),
        [("allowed", 1), ("denied", 2), ("shadow_denied", 1)]
    );
    assert_eq!(
        shown(&counts),
        [
            "a/b denied global server 1",
            "a/b denied per_user server 2",
            "a/b shadow_denied global server 1",
            "a/b shadow_denied per_user server 1",
            "a/b allowed  tool:search 1",
            "a/b denied global tool:search 1",
            "a/b shadow_denied per_user tool:search 1",
        ]
    );
}

#[test]
fn who_leaves_the_policies_is_no_longer_shown_and_the_others_go_on() {
    let mut counts = Counts::default();
    let both = [tool("stays"), tool("leaves")];
    counts.renew(snapshot(1, &[("stays/s", &both), ("leaves/s", &both)]));
    let count_all = |counts: &mut Counts| {
        for name in ["stays/s", "leaves/s"] {
            for named in &both {
                counts.count(&check(name, Some(named.clone())), &allowed());
            }
        }
    };
    count_all(&mut counts);
    counts.renew(snapshot(2, &[("stays/s", &both[..1])]));
    assert_eq!(shown(&counts), ["stays/s allowed  tool:stays 1"]);
    assert_eq!(counts.generation(), 2);

    count_all(&mut counts);
    let by_the_old_limit = denied("leaves/s", Some(tool("leaves")), Scope::Global);
    counts.count(&check("leaves/s", Some(tool("leaves"))), &by_the_old_limit);
    assert_eq!(
        shown(&counts),
        [
            "other allowed  other 2",
            "other denied global other 1",
            "stays/s allowed  other 1",
            "stays/s allowed  tool:stays 2",
        ]
    );
}

#[test]
fn what_workers_have_counted_is_added_up() {
    let policies = snapshot(1, &[("a/b", &[tool("x"), tool("y")])]);
    let of_one = |named: &str| {
        let mut counts = Counts::default();
        counts.renew(Arc::clone(&policies));
        counts.count(&check("a/b", Some(tool("x"))), &allowed());
        counts.count(&check("a/b", Some(tool(named))), &allowed());
        counts.count(
            &check("a/b", Some(operation(OperationKind::Resource, "r"))),
            &allowed(),
        );
        counts.count(&check("no/policy", None), &Answer::unlimited());
        counts
    };
    let mut sum = Counts::default();
    sum.add(of_one("x"));
    sum.add(of_one("y"));
    assert_eq!(
        shown(&sum),
        [
            "a/b allowed  other 2",
            "a/b allowed  tool:x 3",
            "a/b allowed  tool:y 1",
            "other unlimited  server 2",
        ]
    );
}

#[test]
fn by_limit_they_are_the_same_with_the_limit_that_refused() {
    let resource = operation(OperationKind::Resource, "file:///a");
    let mut counts = Counts::default();
    counts.renew(snapshot(1, &[("a/b", &[tool("search"), resource.clone()])]));
    let search = || Some(tool("search"));
    for (operation, answer) in [
        (search(), allowed()),
        (None, allowed()),
        (search(), denied("a/b", search(), Scope::Global)),
        (search(), denied("a/b", None, Scope::PerUser)),
        (search(), denied("a/b", None, Scope::PerUser).shadowed()),
        (
            Some(resource.clone()),
            denied("a/b", Some(resource), Scope::Global),
        ),
        // Of a limit that the policy no longer has.
        (search(), denied("a/b", Some(tool("gone")), Scope::Global)),
    ] {
        counts.count(&check("a/b", operation), &answer);
    }
    counts.count(&check("no/policy", None), &Answer::unlimited());
    let shown = |counted: by_limit::Counted| {
        let server = counted.server.map_or("-".to_owned(), |id| id.to_string());
        let limit = counted.limit.map(|limit| (limit.scope, limit.target));
        format!("{server} {:?} {limit:?} {}", counted.course, counted.count)
    };
    let mut shown: Vec<_> = counts.by_limit().into_iter().map(shown).collect();
    shown.sort_unstable();
    let search = "Operation(Operation { kind: Tool, name: \"search\" })";
    assert_eq!(
        shown,
        [
            "- Unlimited None 1".to_owned(),
            "a/b Allowed None 1".to_owned(),
            "a/b Allowed None 1".to_owned(),
            "a/b Denied None 1".to_owned(),
            format!("a/b Denied Some((Global, {search})) 1"),
            "a/b Denied Some((Global, Resources)) 1".to_owned(),
            "a/b Denied Some((PerUser, Server)) 1".to_owned(),
            "a/b ShadowDenied Some((PerUser, Server)) 1".to_owned(),
        ]
    );
}
