//! Checks, and what they ask for.

use futures::StreamExt as _;
use tonic::Code;
use toolgate_proto::pb::{
    CheckRequest, CheckResponse, CheckStreamRequest, Identity, check_request::Operation,
    check_stream_response::Result as Outcome,
};
use toolgate_tests::Limiter;

/// A check of `operation` on `server` by `user`.
pub(crate) fn check(server: &str, user: &str, operation: Option<Operation>) -> CheckRequest {
    CheckRequest {
        server: server.to_owned(),
        identity: Some(Identity {
            subject: user.to_owned(),
            ..Identity::default()
        }),
        operation,
        ..CheckRequest::default()
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as a check takes it")]
pub(crate) fn tool(name: &str) -> Option<Operation> {
    Some(Operation::Tool(name.to_owned()))
}

#[allow(clippy::unnecessary_wraps, reason = "as a check takes it")]
pub(crate) fn prompt(name: &str) -> Option<Operation> {
    Some(Operation::Prompt(name.to_owned()))
}

#[allow(clippy::unnecessary_wraps, reason = "as a check takes it")]
pub(crate) fn resource(uri: &str) -> Option<Operation> {
    Some(Operation::Resource(uri.to_owned()))
}

/// What came of each check, in the order in which they were decided: an answer, or a code.
pub(crate) type Answers = Vec<Result<CheckResponse, Code>>;

/// Sends `checks` over one stream, and waits for all answers.
pub(crate) async fn stream(
    limiter: &Limiter,
    checks: impl IntoIterator<Item = CheckRequest, IntoIter: Send + 'static>,
) -> Answers {
    let requests = checks.into_iter().map(|check| CheckStreamRequest {
        check: Some(check),
        omit_buckets_if_allowed: true,
        ..CheckStreamRequest::default()
    });
    requests_of(limiter, requests).await
}

/// As [`stream`], of requests as they are.
pub(crate) async fn requests_of(
    limiter: &Limiter,
    requests: impl IntoIterator<Item = CheckStreamRequest, IntoIter: Send + 'static>,
) -> Answers {
    let mut client = limiter.client().await.expect("a connection");
    let requests = futures::stream::iter(requests);
    let replies = client.check_stream(requests).await.expect("a stream");
    let answers = replies.into_inner().map(|reply| {
        let reply = reply.expect("the stream goes on");
        match reply.result.expect("a result") {
            Outcome::Response(answer) => Ok(answer),
            Outcome::Error(status) => Err(Code::from(status.code)),
        }
    });
    answers.collect().await
}
