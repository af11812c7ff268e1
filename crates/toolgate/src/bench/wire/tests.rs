//! What is written and read here against the generated types.

use super::{
    super::trace::{Share, Traces},
    *,
};
use prost::Message as _;

fn flight(slot: u32, user: u32, tool: u32) -> Flight {
    Flight {
        slot,
        key: Key { user, tool },
        trace: None,
        intended: 0,
        sent: 0,
    }
}

fn template(prefixes: bool) -> Template {
    Template {
        server: "default/research".to_owned(),
        user_prefix: prefixes.then(|| "user-".to_owned()),
        tool_prefix: prefixes.then(|| "tool-".to_owned()),
        cost: 300,
        omit_buckets: prefixes,
    }
}

fn expected(user: u32, tool: u32) -> pb::CheckRequest {
    pb::CheckRequest {
        server: "default/research".to_owned(),
        identity: Some(pb::Identity {
            subject: format!("user-{user}"),
            ..pb::Identity::default()
        }),
        operation: Some(pb::check_request::Operation::Tool(format!("tool-{tool}"))),
        cost: 300,
    }
}

const NUMBERS: [u32; 8] = [0, 9, 10, 99, 100, 12_345, 1_000_000, u32::MAX];

#[test]
fn a_request_is_the_generated_one() {
    for number in NUMBERS {
        let mut bytes = Vec::new();
        let flight = flight(number, number, number / 3);
        write_request(&template(true), Mode::Unary, flight, &mut bytes);
        let request = pb::CheckRequest::decode(&*bytes).expect("a request");
        assert_eq!(request, expected(number, number / 3));

        bytes.clear();
        write_request(&template(true), Mode::Stream, flight, &mut bytes);
        let streamed = pb::CheckStreamRequest::decode(&*bytes).expect("a request");
        assert_eq!(streamed.id, u64::from(number));
        assert_eq!(streamed.check, Some(request));
        assert_eq!(streamed.timeout, None);
        assert!(streamed.omit_buckets_if_allowed);
    }
}

#[test]
fn a_traced_check_says_so_on_a_stream() {
    let trace = Traces::new(Share(1.0)).draw();
    let traced = Flight {
        trace: Some(trace),
        ..flight(1, 2, 3)
    };
    let mut bytes = Vec::new();
    write_request(&template(true), Mode::Stream, traced, &mut bytes);
    let streamed = pb::CheckStreamRequest::decode(&*bytes).expect("a request");
    assert_eq!(streamed.traceparent.as_bytes(), trace.header());
    bytes.clear();
    // A call of its own has it in its metadata.
    write_request(&template(true), Mode::Unary, traced, &mut bytes);
    let request = pb::CheckRequest::decode(&*bytes).expect("a request");
    assert_eq!(request, expected(2, 3));
}

#[test]
fn a_long_prefix_takes_a_longer_length() {
    let long = "x".repeat(1_000);
    let template = Template {
        user_prefix: Some(long.clone()),
        ..template(true)
    };
    let mut bytes = Vec::new();
    write_request(&template, Mode::Stream, flight(1, 23, 4), &mut bytes);
    let streamed = pb::CheckStreamRequest::decode(&*bytes).expect("a request");
    let identity = streamed.check.and_then(|check| check.identity);
    assert_eq!(identity.expect("a user").subject, format!("{long}23"));
}

#[test]
fn without_users_and_tools_a_check_names_neither() {
    let mut bytes = Vec::new();
    write_request(&template(false), Mode::Stream, flight(1, 0, 0), &mut bytes);
    let streamed = pb::CheckStreamRequest::decode(&*bytes).expect("a request");
    let check = streamed.check.expect("a check");
    assert_eq!((check.identity, check.operation), (None, None));
}

fn status(scope: pb::Scope, tool: Option<&str>, capacity: u32) -> pb::BucketStatus {
    pb::BucketStatus {
        limit: Some(pb::Limit {
            scope: scope.into(),
            operation: tool.map(|name| pb::limit::Operation::Tool(name.to_owned())),
        }),
        capacity,
        refill_period: Some(prost_types::Duration {
            seconds: 60,
            nanos: 5,
        }),
        remaining: capacity - 1,
        full_after: Some(prost_types::Duration {
            seconds: 1,
            nanos: 999_999_999,
        }),
    }
}

fn response() -> pb::CheckResponse {
    pb::CheckResponse {
        decision: pb::Decision::Allowed.into(),
        denial: None,
        buckets: vec![
            status(pb::Scope::Global, None, 1_000),
            status(pb::Scope::Global, Some("tool-1"), 500),
            status(pb::Scope::PerUser, None, 100),
            status(pb::Scope::PerUser, Some("tool-1"), 2_147_483_647),
        ],
        ..pb::CheckResponse::default()
    }
}

fn verdict(response: &pb::CheckResponse) -> Verdict {
    let read = outcome(&response.encode_to_vec()).expect("an answer");
    read.expect("a decision")
}

fn quota(capacity: u64) -> Quota {
    Quota {
        capacity,
        period: 60_000_000_005,
    }
}

#[test]
fn an_answer_is_read_with_the_quota_of_each_bucket() {
    let read = verdict(&response());
    let quotas = [1_000, 500, 100, 2_147_483_647].map(|capacity| Some(quota(capacity)));
    let expected = Verdict {
        allowed: true,
        degraded: false,
        quotas,
    };
    assert_eq!(read, expected);
}

#[test]
fn absent_buckets_leave_their_place_empty() {
    let mut response = response();
    response.buckets.remove(1);
    response.buckets.remove(0);
    response.degraded = true;
    let read = verdict(&response);
    assert!(read.degraded);
    assert_eq!(
        read.quotas,
        [None, None, Some(quota(100)), Some(quota(2_147_483_647))]
    );
}

#[test]
fn a_denial_is_not_allowed() {
    let denied = pb::CheckResponse {
        decision: pb::Decision::Denied.into(),
        denial: Some(pb::Denial {
            message: "10 calls per 1m".to_owned(),
            ..pb::Denial::default()
        }),
        ..response()
    };
    assert!(!verdict(&denied).allowed);
}

#[test]
fn an_answer_that_says_neither_is_no_decision() {
    let neither = pb::CheckResponse {
        decision: pb::Decision::Unspecified.into(),
        ..response()
    };
    let read = outcome(&neither.encode_to_vec()).expect("an answer");
    assert_eq!(read, Err(Code::Internal));
}

#[test]
fn an_answer_on_a_stream_is_a_verdict_or_a_code() {
    use pb::check_stream_response::Result as Outcome;
    let read = |result| {
        let message = pb::CheckStreamResponse {
            id: 77,
            result,
            leaving: false,
        };
        let answer = streamed(&message.encode_to_vec()).expect("an answer");
        assert_eq!(answer.slot, 77);
        answer.outcome
    };
    let verdict = read(Some(Outcome::Response(response())));
    assert!(verdict.expect("a verdict").allowed);
    let unavailable = tonic_types::Status {
        code: Code::Unavailable.into(),
        message: "the store does not answer".to_owned(),
        details: Vec::new(),
    };
    assert_eq!(
        read(Some(Outcome::Error(unavailable))),
        Err(Code::Unavailable)
    );
    assert_eq!(read(None), Err(Code::Internal));
}

#[test]
fn a_notice_answers_no_check() {
    let notice = pb::CheckStreamResponse {
        leaving: true,
        ..pb::CheckStreamResponse::default()
    };
    let read = streamed(&notice.encode_to_vec()).expect("a message");
    assert_eq!(read.slot, Answer::NOTICE);
}

#[test]
fn an_answer_that_is_cut_short_is_an_error_at_every_length() {
    let whole = pb::CheckStreamResponse {
        id: 7,
        result: Some(pb::check_stream_response::Result::Response(response())),
        leaving: false,
    }
    .encode_to_vec();
    for length in 3..whole.len() {
        assert!(streamed(&whole[..length]).is_err(), "{length}");
    }
}
