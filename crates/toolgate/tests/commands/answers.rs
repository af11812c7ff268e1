//! Answers for scripts.

use toolgate_proto::pb;

/// The limit on a tool, or on the server as a whole.
pub(crate) fn limit(scope: pb::Scope, tool: Option<&str>) -> pb::Limit {
    pb::Limit {
        scope: scope.into(),
        operation: tool.map(|name| pb::limit::Operation::Tool(name.to_owned())),
    }
}

/// A bucket of 10 tokens a minute.
pub(crate) fn bucket(limit: pb::Limit, remaining: u32) -> pb::BucketStatus {
    pb::BucketStatus {
        limit: Some(limit),
        capacity: 10,
        refill_period: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        remaining,
        full_after: Some(prost_types::Duration {
            seconds: 5,
            nanos: 812_345_678,
        }),
    }
}

/// Allowed, with so many tokens left for the user.
pub(crate) fn allowed(remaining: u32) -> pb::CheckResponse {
    pb::CheckResponse {
        decision: pb::Decision::Allowed.into(),
        buckets: vec![bucket(
            limit(pb::Scope::PerUser, Some("github_search")),
            remaining,
        )],
        ..pb::CheckResponse::default()
    }
}

/// Denied, for the 5.812345678 s until the user has a token.
pub(crate) fn denied() -> pb::CheckResponse {
    let refusing = limit(pb::Scope::PerUser, Some("github_search"));
    pb::CheckResponse {
        decision: pb::Decision::Denied.into(),
        denial: Some(pb::Denial {
            limit: Some(refusing.clone()),
            retry_after: Some(prost_types::Duration {
                seconds: 5,
                nanos: 812_345_678,
            }),
            message: "10 calls per 1m per user of tool github_search; retry in 5.9s".to_owned(),
        }),
        buckets: vec![bucket(refusing, 0)],
        ..pb::CheckResponse::default()
    }
}
