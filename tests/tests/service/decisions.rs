//! What an answer says.

use toolgate_proto::pb::{Decision, PeekRequest};
use toolgate_tests::{of_tool, of_user};

use crate::{TWO_A_DAY, limiter};

#[tokio::test]
async fn peek_pays_nothing_and_check_pays() {
    let limiter = limiter(TWO_A_DAY).await;
    let mut client = limiter.client().await.expect("a connection");
    let mut peek = async || {
        let request = PeekRequest {
            check: Some(of_user("alice")),
        };
        let reply = client.peek(request).await.expect("a decision").into_inner();
        reply.check.expect("a check").buckets[0].remaining
    };
    assert_eq!(peek().await, 2);
    assert_eq!(peek().await, 2);
    limiter.check(of_user("alice")).await.expect("a decision");
    assert_eq!(peek().await, 1);
}

#[tokio::test]
async fn a_denial_is_an_answer_that_says_why_and_for_how_long() {
    let limiter =
        limiter("tools: [{name: search, perUser: {maxTokens: 1, refillPeriod: 1h}}]").await;
    limiter
        .check(of_tool("alice", "search"))
        .await
        .expect("a decision");
    let reply = limiter
        .check(of_tool("alice", "search"))
        .await
        .expect("a decision");
    assert_eq!(reply.decision(), Decision::Denied);
    let denial = reply.denial.expect("a denial");
    let wait = denial.retry_after.expect("it can pass");
    assert!((3_500..=3_600).contains(&wait.seconds), "{wait:?}");
    assert!(
        denial
            .message
            .starts_with("1 call per 1h per user of tool search; retry in "),
        "{}",
        denial.message
    );
    // A cost that no wait can pay has no retry_after.
    let request = toolgate_proto::pb::CheckRequest {
        cost: 2,
        ..of_tool("bob", "search")
    };
    let reply = limiter.check(request).await.expect("a decision");
    assert_eq!(reply.denial.expect("a denial").retry_after, None);
    // Without a limit there is nothing to deny.
    let reply = limiter
        .check(of_tool("alice", "other"))
        .await
        .expect("a decision");
    assert_eq!(
        (reply.decision(), reply.buckets.len()),
        (Decision::Allowed, 0)
    );
}

#[tokio::test]
async fn a_policy_in_shadow_mode_never_denies() {
    let limiter = limiter("mode: Shadow, perUser: {maxTokens: 1, refillPeriod: 24h}").await;
    for remaining in [0, 0, 0] {
        let reply = limiter.check(of_user("alice")).await.expect("a decision");
        assert_eq!(reply.decision(), Decision::Allowed);
        assert_eq!(reply.buckets[0].remaining, remaining);
    }
}
