use std::path::Path;

use toolgate_limit::ManualClock;

use super::*;
use crate::read_text;

fn policies(server: &str) -> Vec<(Policy, Origin)> {
    let manifest = format!(
        "\napiVersion: toolgate.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{name: {server}}}\nspec: {{global: {{maxTokens: 1, refillPeriod: 1m}}}}\n"
    );
    let loaded = read_text(Path::new("a.yaml"), &manifest);
    loaded.into_result().expect("valid").0
}

fn broken() -> Diagnostics {
    read_text(Path::new("a.yaml"), "kind: Nonsense").diagnostics
}

fn server(name: &str) -> ServerId {
    ServerId::new("default", name).expect("valid")
}

#[test]
fn each_publication_is_the_next_generation_and_replaces_all_policies() {
    let clock = ManualClock::new(Timestamp::from_micros(7));
    let registry = Registry::new(Arc::new(clock.clone()));
    assert_eq!(registry.snapshot().generation(), 0);
    assert_eq!(registry.status().loaded_at, None);

    assert_eq!(registry.publish(policies("a")), 1);
    assert!(registry.snapshot().policy(&server("a")).is_some());
    let origin = registry.origin(&server("a")).expect("known");
    assert_eq!(origin.to_string(), "a.yaml:2");

    clock.set(Timestamp::from_micros(9));
    assert_eq!(registry.publish(policies("b")), 2);
    assert!(registry.snapshot().policy(&server("a")).is_none());
    assert_eq!(registry.origin(&server("a")), None);
    let status = registry.status();
    assert_eq!(status.generation, 2);
    assert_eq!(status.loaded_at, Some(Timestamp::from_micros(9)));
    assert_eq!((status.succeeded, status.failed), (2, 0));
}

#[test]
fn a_failure_stands_beside_the_last_good_generation_until_the_next_good_one() {
    let clock = ManualClock::new(Timestamp::from_micros(7));
    let registry = Registry::new(Arc::new(clock.clone()));
    registry.publish(policies("a"));
    let seen = registry.subscribe();

    clock.set(Timestamp::from_micros(9));
    registry.fail(broken());
    assert!(seen.has_changed().expect("open"));
    assert!(registry.snapshot().policy(&server("a")).is_some());
    let status = registry.status();
    assert_eq!((status.generation, status.failed), (1, 1));
    assert_eq!(status.loaded_at, Some(Timestamp::from_micros(7)));
    let failure = status.last_failure.expect("recorded");
    assert_eq!(failure.at, Timestamp::from_micros(9));
    assert!(failure.diagnostics.has_errors());

    registry.publish(policies("b"));
    let status = registry.status();
    assert!(status.last_failure.is_none());
    assert_eq!(
        (status.generation, status.succeeded, status.failed),
        (2, 2, 1)
    );
}
