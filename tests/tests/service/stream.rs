//! Many checks over one stream.

use futures::StreamExt as _;
use toolgate_proto::pb::{CheckStreamRequest, Decision, check_stream_response::Result as Outcome};
use toolgate_tests::{of_tool, of_user};

use crate::{TWO_A_DAY, limiter};

#[tokio::test]
async fn on_a_stream_a_wrong_check_fails_alone() {
    let limiter = limiter(TWO_A_DAY).await;
    let mut client = limiter.client().await.expect("a connection");
    let check = |id, check| CheckStreamRequest {
        id,
        check,
        timeout: None,
        ..CheckStreamRequest::default()
    };
    let wrong = toolgate_proto::pb::CheckRequest::default();
    let requests = [
        check(7, Some(of_user("alice"))),
        check(8, Some(wrong)),
        check(9, None),
        check(10, Some(of_user("alice"))),
    ];
    let replies = client.check_stream(futures::stream::iter(requests)).await;
    let replies: Vec<_> = replies.expect("a stream").into_inner().collect().await;
    let mut outcomes: Vec<_> = replies
        .into_iter()
        .map(|reply| reply.expect("the stream goes on"))
        .map(|reply| (reply.id, reply.result.expect("a result")))
        .collect();
    outcomes.sort_by_key(|(id, _)| *id);
    let summary: Vec<_> = outcomes
        .into_iter()
        .map(|(id, outcome)| match outcome {
            Outcome::Response(response) => (id, response.decision().as_str_name().to_owned()),
            Outcome::Error(error) => (id, format!("{}: {}", error.code, error.message)),
        })
        .collect();
    let allowed = "DECISION_ALLOWED".to_owned();
    assert_eq!(
        summary,
        [
            (7, allowed.clone()),
            (8, "3: check.server: must not be empty".to_owned()),
            (9, "3: check: must be set".to_owned()),
            (10, allowed),
        ]
    );
}

/// A long field is refused by its name. A message beyond all measure ends the stream, but not before
/// the checks that came ahead of it are answered.
#[tokio::test]
async fn on_a_stream_a_message_that_is_too_large_costs_no_other_check() {
    let limiter = limiter("perUser: {maxTokens: 1000, refillPeriod: 24h}").await;
    let mut client = limiter.client().await.expect("a connection");
    let check = |id, check| CheckStreamRequest {
        id,
        check: Some(check),
        timeout: None,
        ..CheckStreamRequest::default()
    };
    let mut requests: Vec<_> = (0..100).map(|id| check(id, of_user("alice"))).collect();
    // A name that is too long costs its check, and a message above 16 KiB ends the stream.
    requests.push(check(100, of_tool("alice", &"x".repeat(16_000))));
    requests.push(check(101, of_tool("alice", &"x".repeat(16 << 10))));
    let replies = client.check_stream(futures::stream::iter(requests)).await;
    let replies: Vec<_> = replies.expect("a stream").into_inner().collect().await;
    let (answers, failures): (Vec<_>, Vec<_>) = replies.into_iter().partition(Result::is_ok);
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(answers.len(), 101, "all that came ahead");
    let refused = answers.into_iter().filter_map(|answer| {
        let answer = answer.expect("an answer");
        match answer.result.expect("a result") {
            Outcome::Response(_) => None,
            Outcome::Error(error) => Some((answer.id, error.message)),
        }
    });
    let refused: Vec<_> = refused.collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].0, 100);
    assert!(refused[0].1.starts_with("check.tool: "), "{refused:?}");
}

#[tokio::test]
async fn buckets_are_left_out_where_they_are_not_wanted_but_never_of_a_denial() {
    let limiter = limiter(TWO_A_DAY).await;
    let mut client = limiter.client().await.expect("a connection");
    let requests = (0..3).map(|id| CheckStreamRequest {
        id,
        check: Some(of_user("alice")),
        timeout: None,
        omit_buckets_if_allowed: id != 0,
        ..CheckStreamRequest::default()
    });
    let replies = client.check_stream(futures::stream::iter(requests)).await;
    let replies: Vec<_> = replies.expect("a stream").into_inner().collect().await;
    let mut buckets: Vec<_> = replies
        .into_iter()
        .map(|reply| reply.expect("the stream goes on"))
        .map(|reply| match reply.result {
            Some(Outcome::Response(answer)) => (reply.id, answer.decision(), answer.buckets.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    buckets.sort_unstable_by_key(|(id, ..)| *id);
    let (allowed, denied) = (Decision::Allowed, Decision::Denied);
    assert_eq!(buckets, [(0, allowed, 1), (1, allowed, 0), (2, denied, 1)]);
}
