//! `toolgate top --once`.

use tonic::Status;
use toolgate_proto::pb::{self, CheckOutcome};

use crate::{
    answers::{bucket, limit},
    scripted::{Limiter, Script},
    toolgate::run,
};

/// The replica `id`, read so many seconds after its start.
fn reading(id: &str, seconds: i64, allowed: u64, denied: u64) -> pb::GetActivityResponse {
    let at = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
    let count = |outcome: CheckOutcome, limit, count| pb::CheckCount {
        server: "default/research".to_owned(),
        outcome: outcome.into(),
        limit,
        count,
    };
    let refusing = limit(pb::Scope::PerUser, Some("github_search"));
    pb::GetActivityResponse {
        replica: Some(pb::Replica {
            id: id.to_owned(),
            name: "toolgate-0".to_owned(),
            version: "0.1.0".to_owned(),
            started_at: Some(at(1_000)),
        }),
        read_at: Some(at(1_000 + seconds)),
        counts: vec![
            count(CheckOutcome::Allowed, None, allowed),
            count(CheckOutcome::Denied, Some(refusing.clone()), denied),
        ],
        counts_checks: true,
        in_flight: 3,
        store: Some(pb::StoreStatus::default()),
        reload: Some(pb::ReloadStatus {
            generation: 2,
            ..pb::ReloadStatus::default()
        }),
        policies: "the same".to_owned(),
        hot_buckets: vec![pb::HotBucket {
            server: "default/research".to_owned(),
            limit: Some(refusing.clone()),
            identity: Some(pb::Identity {
                subject: "al\x1bice".to_owned(),
                issuer: "https://id.example".to_owned(),
                groups: Vec::new(),
            }),
            checks_per_second: 12.0,
            denied_per_second: 2.0,
            status: Some(bucket(refusing, 4)),
        }],
        hot_bucket_error: 0.5,
    }
}

fn limiter(readings: [pb::GetActivityResponse; 2]) -> Limiter {
    Limiter::start(Script {
        activities: readings.map(Ok).into(),
        ..Script::default()
    })
}

#[test]
fn a_table_is_what_two_readings_differ_in() {
    let limiter = limiter([reading("a", 60, 100, 10), reading("a", 62, 300, 50)]);
    let ran = run(&limiter.endpoint, "top --once --interval 100ms");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let endpoint = &limiter.endpoint;
    let (line, blank) = ("─".repeat(endpoint.len()), " ".repeat(endpoint.len() - 7));
    let expected = format!(
        "\
toolgate top   1 replica: 1 serving
checks/s 120   denied/s 20.0 (16.7 %)   in flight 3

SERVER, LIMIT                  CHECKS/S  DENIED/S  SHADOW/S  DENIED SO FAR  CHECKS SO FAR
─────────────────────────────────────────────────────────────────────────────────────────
default/research                    120      20.0         0             50            350
  tool github_search per user                20.0         0             50

SERVER            HOT BUCKET          USER                              CHECKS/S  DENIED/S  TOKENS        LEFT
──────────────────────────────────────────────────────────────────────────────────────────────────────────────
default/research  tool github_search  al\\u{{1b}}ice @ https://id.example      12.0       2.0  [####      ]  4/10

REPLICA{blank}  STATE    POLICIES  CHECKS/S  DENIED/S  IN FLIGHT  HOST        VERSION  UP    WHY
{line}──────────────────────────────────────────────────────────────────────────────────
{endpoint}  serving        #2       120      20.0          3  toolgate-0  0.1.0    1m2s
"
    );
    assert_eq!(ran.stdout, expected);
    let asked = limiter.asked().activities;
    assert_eq!(asked, vec![pb::GetActivityRequest::default(); 2]);
}

#[test]
fn for_scripts_it_is_one_object() {
    let limiter = limiter([reading("a", 60, 100, 10), reading("a", 62, 300, 50)]);
    let ran = run(
        &limiter.endpoint,
        "top --once --interval 100ms --output json",
    );
    assert_eq!(
        (ran.code, ran.stdout.lines().count()),
        (Some(0), 1),
        "{ran:?}"
    );
    let seen: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(seen["counts"]["allowed"], 300);
    assert_eq!(seen["rates"]["denied"], 20.0);
    let limit = &seen["servers"][0]["limits"][0];
    assert_eq!(limit["limit"]["tool"], "github_search");
    assert_eq!(limit["counts"]["denied"], 50);
    let hot = &seen["hotBuckets"][0];
    assert_eq!(hot["identity"]["subject"], "al\x1bice");
    assert_eq!(hot["status"]["remaining"], 4);
    let replica = &seen["replicas"][0];
    assert_eq!(
        (&replica["state"], &replica["upSeconds"]),
        (&"serving".into(), &62.0.into())
    );
}

#[test]
fn a_replica_that_has_restarted_in_between_has_no_rates() {
    let limiter = limiter([reading("a", 60, 100, 10), reading("b", 1, 5, 0)]);
    let ran = run(
        &limiter.endpoint,
        "top --once --interval 100ms --output json",
    );
    let seen: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(seen["rates"], serde_json::Value::Null);
    assert_eq!(seen["counts"]["allowed"], 5);
}

#[test]
fn a_limiter_that_refuses_is_an_error_with_its_words() {
    let refused = || {
        Err(Status::permission_denied(
            "AdminService is for administrators",
        ))
    };
    let limiter = Limiter::start(Script {
        activities: [refused(), refused()].into(),
        ..Script::default()
    });
    let ran = run(&limiter.endpoint, "top --once --interval 100ms");
    assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{ran:?}");
    let said = "PERMISSION_DENIED: AdminService is for administrators";
    assert!(ran.stderr.contains(said), "{ran:?}");
}
