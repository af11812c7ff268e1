//! `toolgate policies`.

use tonic::Status;
use toolgate_proto::pb;

use crate::{
    answers::limit,
    scripted::{Limiter, Script},
    toolgate::run,
};

fn policy(server: &str) -> pb::Policy {
    pb::Policy {
        server: server.to_owned(),
        mode: pb::Mode::Enforce.into(),
        limits: vec![pb::PolicyLimit {
            limit: Some(limit(pb::Scope::PerUser, None)),
            capacity: 100,
            refill_period: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
        }],
        origin: "policies.yaml:1".to_owned(),
    }
}

fn page(server: &str, next: &str) -> pb::ListPoliciesResponse {
    pb::ListPoliciesResponse {
        policies: vec![policy(server)],
        next_page_token: next.to_owned(),
        reload: Some(pb::ReloadStatus {
            generation: 7,
            loaded_at: Some(prost_types::Timestamp {
                seconds: 1_767_323_045,
                nanos: 0,
            }),
            rejected: Vec::new(),
            errors: vec!["policies.yaml:3:5: unknown field `burst`".to_owned()],
        }),
    }
}

const RELOAD_FAILED: &str = "\
RELOAD FAILED: the newest manifests are not in force (1 error)
  policies.yaml:3:5: unknown field `burst`
still in force: generation 7, loaded 2026-01-02T03:04:05Z

";

#[test]
fn a_list_holds_all_pages_below_the_errors_of_a_failed_reload() {
    let limiter = Limiter::start(Script {
        pages: [Ok(page("a/one", "after one")), Ok(page("b/two", ""))].into(),
        ..Script::default()
    });
    let ran = run(&limiter.endpoint, "policies");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let table = "\
server  mode     global  per user    operation limits  origin
──────────────────────────────────────────────────────────────────────
a/one   Enforce  -       100 per 1m                 0  policies.yaml:1
b/two   Enforce  -       100 per 1m                 0  policies.yaml:1
";
    assert_eq!(ran.stdout, format!("{RELOAD_FAILED}{table}"));
    let tokens = limiter
        .asked()
        .pages
        .into_iter()
        .map(|page| page.page_token);
    assert_eq!(tokens.collect::<Vec<_>>(), ["", "after one"]);
}

#[test]
fn a_list_as_json_is_one_object() {
    let limiter = Limiter::start(Script {
        pages: [Ok(page("a/one", "after one")), Ok(page("b/two", ""))].into(),
        ..Script::default()
    });
    let ran = run(&limiter.endpoint, "policies --output json");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(json["policies"][1]["server"], "b/two");
    assert_eq!(json["nextPageToken"], "");
    assert_eq!(json["reload"]["generation"], "7");
}

#[test]
fn a_limiter_that_repeats_a_page_is_not_asked_for_ever() {
    let limiter = Limiter::start(Script {
        pages: [Ok(page("a/one", "again")), Ok(page("a/one", "again"))].into(),
        ..Script::default()
    });
    let ran = run(&limiter.endpoint, "policies");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("the same page again"), "{ran:?}");
}

#[test]
fn the_limits_of_one_server_stand_below_the_state_of_the_last_reload() {
    let found = pb::GetPolicyResponse {
        policy: Some(policy("default/research")),
    };
    let limiter = Limiter::start(Script {
        pages: [Ok(page("a/one", "more"))].into(),
        policies: [Ok(found.clone()), Ok(found)].into(),
        ..Script::default()
    });
    let ran = run(&limiter.endpoint, "policies default/research");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let table = "\
default/research, mode Enforce, from policies.yaml:1

limit     capacity  refill period
─────────────────────────────────
per user       100             1m
";
    assert_eq!(ran.stdout, format!("{RELOAD_FAILED}{table}"));

    let ran = run(&limiter.endpoint, "policies default/research --output json");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(json["policy"]["limits"][0]["refillPeriod"], "60s");
    assert_eq!(limiter.asked().policies[0].server, "default/research");
}

#[test]
fn a_policy_that_is_not_found_may_be_in_a_manifest_that_was_refused() {
    let limiter = Limiter::start(Script {
        pages: [Ok(page("a/one", "more"))].into(),
        policies: [Err(Status::not_found("default/new has no policy"))].into(),
        ..Script::default()
    });
    let ran = run(&limiter.endpoint, "policies default/new");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.starts_with("RELOAD FAILED"), "{ran:?}");
    assert!(
        ran.stderr.contains("NOT_FOUND: default/new has no policy"),
        "{ran:?}"
    );
}
