use super::*;

const PLAIN: Palette = Palette::new(false);

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn limit(scope: pb::Scope, tool: Option<&str>) -> pb::Limit {
    pb::Limit {
        scope: scope.into(),
        operation: tool.map(|name| pb::limit::Operation::Tool(name.to_owned())),
    }
}

fn bucket(limit: pb::Limit, remaining: u32) -> pb::BucketStatus {
    pb::BucketStatus {
        limit: Some(limit),
        capacity: 10,
        refill_period: Some(seconds(60)),
        remaining,
        full_after: Some(prost_types::Duration {
            seconds: 5,
            nanos: 812_345_678,
        }),
    }
}

fn allowed(buckets: Vec<pb::BucketStatus>) -> pb::CheckResponse {
    pb::CheckResponse {
        decision: pb::Decision::Allowed.into(),
        buckets,
        ..pb::CheckResponse::default()
    }
}

fn denied(retry_after: Option<prost_types::Duration>) -> pb::CheckResponse {
    let refusing = limit(pb::Scope::PerUser, Some("github_search"));
    pb::CheckResponse {
        decision: pb::Decision::Denied.into(),
        denial: Some(pb::Denial {
            limit: Some(refusing.clone()),
            retry_after,
            message: "10 calls per 1m per user of tool github_search; retry in 5.9s".to_owned(),
        }),
        buckets: vec![
            bucket(limit(pb::Scope::Global, None), 8),
            bucket(refusing, 0),
        ],
        ..pb::CheckResponse::default()
    }
}

#[test]
fn checks_are_rows_and_buckets_are_columns() {
    let answers = [
        allowed(vec![
            bucket(limit(pb::Scope::Global, None), 8),
            bucket(limit(pb::Scope::PerUser, Some("github_search")), 0),
        ]),
        denied(Some(prost_types::Duration {
            seconds: 5,
            nanos: 812_345_678,
        })),
        denied(None),
    ];
    assert_eq!(
        checks(&answers, PLAIN),
        "\
#  decision  refused by                   retry after  global  tool github_search per user
──────────────────────────────────────────────────────────────────────────────────────────
1  allowed   -                            -                 8                            0
2  denied    tool github_search per user  5.9s              8                            0
3  denied    tool github_search per user  never             8                            0

1 allowed, 2 denied"
    );
}

#[test]
fn a_bucket_that_a_reload_has_brought_gets_a_column_of_its_own() {
    let answers = [
        allowed(vec![bucket(limit(pb::Scope::Global, None), 8)]),
        allowed(vec![bucket(limit(pb::Scope::PerUser, None), 3)]),
    ];
    assert_eq!(
        checks(&answers, PLAIN),
        "\
#  decision  refused by  retry after  global  per user
──────────────────────────────────────────────────────
1  allowed   -           -                 8         -
2  allowed   -           -                 -         3

2 allowed, 0 denied"
    );
}

#[test]
fn an_answer_without_buckets_is_unlimited_and_one_without_the_store_degraded() {
    let degraded = pb::CheckResponse {
        degraded: true,
        ..denied(None)
    };
    let shown = checks(&[allowed(Vec::new()), degraded.clone()], PLAIN);
    assert!(shown.contains("allowed (unlimited)"), "{shown}");
    assert!(shown.contains("denied (degraded)"), "{shown}");
    assert_eq!(peek(&allowed(Vec::new()), PLAIN), "allowed (unlimited)");
    let of_policy = pb::CheckResponse {
        unlimited: true,
        policy: "default/research".to_owned(),
        ..allowed(Vec::new())
    };
    assert_eq!(peek(&of_policy, PLAIN), "allowed (unlimited)");
    let unnamed = pb::CheckResponse {
        policy: String::new(),
        ..of_policy
    };
    let note = "allowed (unlimited: no policy names this server)";
    assert_eq!(peek(&unnamed, PLAIN), note);
    assert!(checks(&[unnamed], PLAIN).contains(note));
    assert!(peek(&degraded, PLAIN).contains("retry in 5.9s (degraded)\n"));
}

#[test]
fn a_peek_is_the_reason_and_the_buckets() {
    assert_eq!(
        peek(&denied(Some(seconds(6))), PLAIN),
        "\
denied: 10 calls per 1m per user of tool github_search; retry in 5.9s

bucket                       remaining  capacity  refill period  full after
───────────────────────────────────────────────────────────────────────────
global                               8        10             1m        5.9s
tool github_search per user          0        10             1m        5.9s"
    );
}

#[test]
fn no_buckets_and_no_reset_are_said_in_words() {
    let reset_of = |reset_count| reset(pb::ResetBucketsResponse { reset_count });
    assert_eq!(
        buckets(&[], PLAIN),
        "no buckets: the policy has no limit at this scope"
    );
    assert_eq!(
        reset_of(0),
        "no bucket was reset: the policy has no such limit"
    );
    assert_eq!(reset_of(1), "1 bucket is full now");
    assert_eq!(reset_of(2), "2 buckets are full now");
}

#[test]
fn only_a_colourful_palette_writes_escape_sequences() {
    let answers = [
        allowed(vec![bucket(limit(pb::Scope::Global, None), 0)]),
        denied(None),
    ];
    let in_colour = checks(&answers, Palette::new(true));
    assert!(in_colour.contains("\x1b["), "{in_colour:?}");
    for plain in [checks(&answers, PLAIN), peek(&answers[1], PLAIN)] {
        assert!(!plain.contains('\x1b'), "{plain:?}");
    }
}
