//! `toolgate buckets` and `toolgate reset`.

use toolgate_proto::pb;

use crate::{
    answers::{bucket, limit},
    scripted::{Limiter, Script},
    toolgate::run,
};

fn alice() -> pb::Identity {
    pb::Identity {
        subject: "alice".to_owned(),
        issuer: "https://id.example".to_owned(),
        groups: Vec::new(),
    }
}

/// Each selection as typed, and as it must be asked for.
fn selections() -> [(&'static str, Option<pb::Identity>); 3] {
    [
        ("", None),
        ("--user alice --issuer https://id.example", Some(alice())),
        ("--anonymous", Some(pb::Identity::default())),
    ]
}

#[test]
fn buckets_are_those_of_the_selected_user_or_of_all_callers() {
    let reply = pb::ListBucketsResponse {
        buckets: vec![bucket(limit(pb::Scope::Global, None), 0)],
    };
    for (selection, identity) in selections() {
        let limiter = Limiter::start(Script {
            buckets: [Ok(reply.clone()), Ok(reply.clone())].into(),
            ..Script::default()
        });
        let ran = run(
            &limiter.endpoint,
            &format!("buckets default/research {selection}"),
        );
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(
            ran.stdout,
            "\
bucket  remaining  capacity  refill period  full after
──────────────────────────────────────────────────────
global          0        10             1m        5.9s
"
        );
        let line = format!("buckets default/research {selection} --output json");
        let ran = run(&limiter.endpoint, &line);
        let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(json["buckets"][0]["fullAfter"], "5.812345678s");

        let request = pb::ListBucketsRequest {
            server: "default/research".to_owned(),
            identity,
        };
        assert_eq!(limiter.asked().buckets, [request.clone(), request]);
    }
}

#[test]
fn a_reset_is_of_the_selected_buckets_only() {
    use pb::reset_buckets_request::Operation;
    let operations = [
        ("", None),
        ("--tool a", Some(Operation::Tool("a".to_owned()))),
        ("--prompt b", Some(Operation::Prompt("b".to_owned()))),
        (
            "--resource c:d",
            Some(Operation::Resource("c:d".to_owned())),
        ),
    ];
    for (operation_args, operation) in operations {
        for (selection, identity) in selections() {
            let limiter = Limiter::start(Script {
                resets: [Ok(pb::ResetBucketsResponse { reset_count: 3 })].into(),
                ..Script::default()
            });
            let line = format!("reset default/research {selection} {operation_args}");
            let ran = run(&limiter.endpoint, &line);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert_eq!(ran.stdout, "3 buckets are full now\n");
            let request = pb::ResetBucketsRequest {
                server: "default/research".to_owned(),
                identity,
                operation: operation.clone(),
            };
            assert_eq!(limiter.asked().resets, [request]);
        }
    }
}

#[test]
fn a_reset_as_json_is_its_count() {
    let limiter = Limiter::start(Script {
        resets: [Ok(pb::ResetBucketsResponse { reset_count: 0 })].into(),
        ..Script::default()
    });
    let ran = run(&limiter.endpoint, "reset default/research --output json");
    assert_eq!(ran.stdout, "{\"resetCount\":0}\n");
}
