use super::*;

fn limit() -> pb::Limit {
    pb::Limit {
        scope: pb::Scope::PerUser.into(),
        operation: Some(pb::limit::Operation::Tool("github_search".to_owned())),
    }
}

fn duration(seconds: i64, nanos: i32) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos }
}

#[test]
fn a_denial_has_the_protobuf_json_form() {
    let answer = pb::CheckResponse {
        decision: pb::Decision::Denied.into(),
        denial: Some(pb::Denial {
            limit: Some(limit()),
            retry_after: Some(duration(5, 900_000_000)),
            message: "slow down".to_owned(),
        }),
        buckets: vec![pb::BucketStatus {
            limit: Some(pb::Limit {
                scope: pb::Scope::Global.into(),
                operation: None,
            }),
            capacity: 10,
            refill_period: Some(duration(60, 0)),
            remaining: 0,
            full_after: Some(duration(59, 1_000)),
        }],
        degraded: true,
        unlimited: false,
        policy: "default/research".to_owned(),
        uncertainty: Some(duration(0, 2_000_000)),
    };
    let json = concat!(
        r#"{"decision":"DECISION_DENIED","#,
        r#""denial":{"limit":{"scope":"SCOPE_PER_USER","tool":"github_search"},"#,
        r#""retryAfter":"5.900s","message":"slow down"},"#,
        r#""buckets":[{"limit":{"scope":"SCOPE_GLOBAL"},"capacity":10,"refillPeriod":"60s","#,
        r#""remaining":0,"fullAfter":"59.000001s"}],"degraded":true,"#,
        r#""unlimited":false,"policy":"default/research","uncertainty":"0.002s"}"#,
    );
    assert_eq!(check(&answer).expect("json"), json);
    assert_eq!(
        peek(&answer).expect("json"),
        format!(r#"{{"check":{json}}}"#)
    );
}

#[test]
fn every_field_is_present() {
    assert_eq!(
        check(&pb::CheckResponse::default()).expect("json"),
        concat!(
            r#"{"decision":"DECISION_UNSPECIFIED","denial":null,"buckets":[],"degraded":false,"#,
            r#""unlimited":false,"policy":"","uncertainty":null}"#
        )
    );
    assert_eq!(
        policies(&pb::ListPoliciesResponse::default()).expect("json"),
        r#"{"policies":[],"nextPageToken":"","reload":null}"#
    );
    assert_eq!(
        reset(pb::ResetBucketsResponse::default()).expect("json"),
        r#"{"resetCount":0}"#
    );
    assert_eq!(
        buckets(&pb::ListBucketsResponse::default()).expect("json"),
        r#"{"buckets":[]}"#
    );
}

#[test]
fn a_policy_has_the_protobuf_json_form() {
    let shown = pb::Policy {
        server: "default/research".to_owned(),
        mode: pb::Mode::Shadow.into(),
        limits: vec![pb::PolicyLimit {
            limit: Some(limit()),
            capacity: 10,
            refill_period: Some(duration(0, 1_000_000)),
        }],
        origin: "policies.yaml:12".to_owned(),
    };
    let json = concat!(
        r#"{"server":"default/research","mode":"MODE_SHADOW","#,
        r#""limits":[{"limit":{"scope":"SCOPE_PER_USER","tool":"github_search"},"#,
        r#""capacity":10,"refillPeriod":"0.001s"}],"origin":"policies.yaml:12"}"#,
    );
    assert_eq!(
        policy(&shown).expect("json"),
        format!(r#"{{"policy":{json}}}"#)
    );

    let list = pb::ListPoliciesResponse {
        policies: vec![shown],
        next_page_token: String::new(),
        reload: Some(pb::ReloadStatus {
            generation: u64::MAX,
            loaded_at: Some(prost_types::Timestamp {
                seconds: 1_767_323_045,
                nanos: 0,
            }),
            errors: vec!["bad.yaml:1:1: unknown kind".to_owned()],
            rejected: Vec::new(),
        }),
    };
    assert_eq!(
        policies(&list).expect("json"),
        format!(
            r#"{{"policies":[{json}],"nextPageToken":"","reload":{}}}"#,
            concat!(
                r#"{"generation":"18446744073709551615","loadedAt":"2026-01-02T03:04:05Z","#,
                r#""errors":["bad.yaml:1:1: unknown kind"],"rejected":[]}"#,
            )
        )
    );
}

#[test]
fn an_enum_value_of_a_newer_limiter_is_its_number() {
    let answer = pb::CheckResponse {
        decision: 9,
        ..pb::CheckResponse::default()
    };
    assert!(
        check(&answer)
            .expect("json")
            .starts_with(r#"{"decision":9,"#)
    );
}
