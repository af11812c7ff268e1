//! Callers are bound to servers by the names in their certificates.

use futures::StreamExt as _;
use tonic::Code;
use toolgate_client::{BreakerState, Client, Verdict};
use toolgate_limit::{Limiter as _, LimiterError};
use toolgate_proto::pb::{
    CheckRequest, CheckStreamRequest, Decision, PeekRequest,
    check_stream_response::Result as Outcome,
};
use toolgate_tests::{manifest, of_user};

use crate::{
    stage::{Stage, TEN_A_DAY, check, remaining},
    tls::{call_of, gateway},
};

const CALLERS: &str = "callers:\n\
    - {san: \"spiffe://cluster/ns/team-a/*\", servers: [\"test/a\"]}\n\
    - {san: all.svc, servers: [\"*\"]}\n";

async fn stage() -> Stage {
    let policies = format!(
        "{}---\n{}",
        manifest("a", TEN_A_DAY),
        manifest("b", TEN_A_DAY)
    );
    Stage::start_with(CALLERS, &[], &policies).await
}

fn of(server: &str) -> CheckRequest {
    CheckRequest {
        server: server.to_owned(),
        ..of_user("alice")
    }
}

#[tokio::test]
async fn a_caller_that_is_bound_to_other_servers_is_refused_and_takes_no_token() {
    let stage = stage().await;
    let all = stage.client(&["all.svc"]).await;
    let team_a = stage
        .client(&["spiffe://cluster/ns/team-a/sa/gateway"])
        .await;
    let left = async |server| remaining(&all, of(server)).await;

    check(&team_a, of("test/a")).await.expect("its own server");
    assert_eq!(left("test/a").await, Some(9));
    for _ in 0..3 {
        let refused = check(&team_a, of("test/b")).await.expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("test/b"), "{refused}");
    }
    let peek = PeekRequest {
        check: Some(of("test/b")),
    };
    let refused = team_a.clone().peek(peek).await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(left("test/b").await, Some(10));
    // Of the peeks nothing is counted.
    let metrics = stage.limiter.metrics().await.expect("metrics");
    let errors = metrics.counted("toolgate_check_errors_total");
    assert_eq!(errors, [("{code=\"PERMISSION_DENIED\"}", 3)].into());
    check(&all, of("test/b")).await.expect("theirs");
    assert_eq!(left("test/b").await, Some(9));

    // The namespace of a path ends at a slash, and who is in no rule may do nothing.
    for stranger in [
        "spiffe://cluster/ns/team-ab/sa/x",
        "spiffe://cluster/ns/team-b/sa/x",
        "x.svc",
    ] {
        let stranger = stage.client(&[stranger]).await;
        let refused = check(&stranger, of("test/a")).await.expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    assert_eq!(left("test/a").await, Some(9));
}

#[tokio::test]
async fn on_a_stream_each_check_is_refused_for_itself_and_the_stream_goes_on() {
    let stage = stage().await;
    let mut team_a = stage
        .client(&["spiffe://cluster/ns/team-a/sa/gateway"])
        .await;
    let requests = (0..20).map(|id| CheckStreamRequest {
        id,
        check: Some(of(if id % 2 == 0 { "test/a" } else { "test/b" })),
        timeout: None,
        omit_buckets_if_allowed: true,
        ..CheckStreamRequest::default()
    });
    let answers = team_a.check_stream(futures::stream::iter(requests)).await;
    let answers: Vec<_> = answers.expect("a stream").into_inner().collect().await;
    assert_eq!(answers.len(), 20);
    for answer in answers {
        let answer = answer.expect("the stream goes on");
        match answer.result.expect("a result") {
            Outcome::Response(response) => {
                assert_eq!(answer.id % 2, 0);
                assert_eq!(response.decision(), Decision::Allowed);
            }
            Outcome::Error(status) => {
                assert_eq!(answer.id % 2, 1);
                assert_eq!(status.code, i32::from(Code::PermissionDenied));
            }
        }
    }
    let all = stage.client(&["all.svc"]).await;
    assert_eq!(remaining(&all, of("test/b")).await, Some(10));
    assert_eq!(remaining(&all, of("test/a")).await, Some(0));
}

/// A gateway that asks about what is not its own is wrong itself; the limiter works.
#[tokio::test]
async fn a_gateway_counts_a_refusal_as_rejected_and_not_against_the_limiter() {
    let stage = stage().await;
    let settings = stage.gateway(&["spiffe://cluster/ns/team-a/sa/gateway"]);
    let client = Client::new(settings.clone()).expect("valid");
    for _ in 0..20 {
        let error = client.check(call_of("test/b", "alice")).await;
        let error = error.expect_err("refused");
        assert!(
            matches!(&error, LimiterError::Rejected { code, .. } if code == "PermissionDenied"),
            "{error:?}"
        );
    }
    assert_eq!(client.replicas()[0].breaker, BreakerState::Closed);
    let gateway = gateway(settings);
    let verdict = gateway.check(call_of("test/b", "alice")).await;
    assert_eq!(verdict, Verdict::Allowed { decided: false });
    assert_eq!(
        gateway
            .counters()
            .undecided(toolgate_client::Cause::Rejected),
        1
    );
}
