use super::*;

const PLAIN: Palette = Palette::new(false);

fn limit(scope: pb::Scope, tool: Option<&str>, capacity: u32) -> pb::PolicyLimit {
    pb::PolicyLimit {
        limit: Some(pb::Limit {
            scope: scope.into(),
            operation: tool.map(|name| pb::limit::Operation::Tool(name.to_owned())),
        }),
        capacity,
        refill_period: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
    }
}

fn policy() -> pb::Policy {
    pb::Policy {
        server: "default/research".to_owned(),
        mode: pb::Mode::Enforce.into(),
        limits: vec![
            limit(pb::Scope::Global, None, 1_000),
            limit(pb::Scope::PerUser, Some("github_search"), 10),
        ],
        origin: "policies.yaml:12".to_owned(),
    }
}

fn status(errors: &[&str]) -> pb::ReloadStatus {
    pb::ReloadStatus {
        generation: 3,
        loaded_at: Some(prost_types::Timestamp {
            seconds: 1_767_323_045,
            nanos: 1,
        }),
        errors: errors.iter().map(ToString::to_string).collect(),
        rejected: Vec::new(),
    }
}

#[test]
fn rejected_objects_are_no_failed_reload() {
    let status = pb::ReloadStatus {
        rejected: vec!["RateLimitPolicy team/a: spec.server: error: bad".to_owned()],
        ..status(&[])
    };
    assert_eq!(
        reload(&status, PLAIN),
        "\
REJECTED: some objects are not in force as they are written (1 error)
  RateLimitPolicy team/a: spec.server: error: bad
still in force: generation 3, loaded 2026-01-02T03:04:05Z
"
    );
}

#[test]
fn a_list_has_one_row_a_policy_below_the_generation() {
    let response = pb::ListPoliciesResponse {
        policies: vec![policy()],
        next_page_token: String::new(),
        reload: Some(status(&[])),
    };
    assert_eq!(
        list(&response, PLAIN),
        "\
generation 3, loaded 2026-01-02T03:04:05Z

server            mode     global       per user  operation limits  origin
────────────────────────────────────────────────────────────────────────────────────
default/research  Enforce  1000 per 1m  -                        1  policies.yaml:12"
    );
}

#[test]
fn a_failed_reload_comes_first_with_every_error() {
    let errors = [
        "a.yaml:3:5: unknown field `burst`\n  | burst: 3",
        "b.yaml:1:1: unknown kind",
    ];
    assert_eq!(
        reload(&status(&errors), PLAIN),
        "\
RELOAD FAILED: the newest manifests are not in force (2 errors)
  a.yaml:3:5: unknown field `burst`
    | burst: 3
  b.yaml:1:1: unknown kind
still in force: generation 3, loaded 2026-01-02T03:04:05Z
"
    );
}

#[test]
fn a_policy_is_its_limits() {
    assert_eq!(
        limits(&policy(), PLAIN),
        "\
default/research, mode Enforce, from policies.yaml:12

limit                        capacity  refill period
────────────────────────────────────────────────────
global                           1000             1m
tool github_search per user        10             1m"
    );
}

#[test]
fn a_limiter_without_policies_says_what_that_means() {
    let shown = list(&pb::ListPoliciesResponse::default(), PLAIN);
    assert!(
        shown.ends_with("no policies: every call is allowed"),
        "{shown}"
    );
}
