//! Any bytes as each message of the API, through the decoder that serves calls and into the
//! domain: what is accepted is within the bounds of DESIGN sections 4 and 5, no two users or
//! operations share a key, and a client reads every answer as it was given.

use axum::body::{Body, Bytes};
use futures::FutureExt as _;
use prost::Message;
use tonic::codec::{Codec as _, Streaming};
use toolgate_limit::{
    Bucket, Check, Identity, Limit, Mode, Operation, OperationKind, Policy, Quota, Quotas, Scope,
    Timestamp, UserKey, take,
};
use toolgate_proto::{admin_operation, codec::MessageCodec, identity_of, pb, server_of};

/// Reads `message` as each message. Whether one of the requests is a check.
pub(crate) fn accepts(message: &[u8]) -> bool {
    let mut checks = Vec::new();
    checks.extend(decode::<pb::CheckRequest>(message).and_then(|request| request.try_into().ok()));
    checks.extend(decode::<pb::PeekRequest>(message).and_then(|request| request.try_into().ok()));
    let streamed = decode::<pb::CheckStreamRequest>(message);
    checks.extend(streamed.and_then(|request| Some(request.into_check().ok()?.0)));
    for check in &checks {
        judge_check(check);
    }
    read_admin_requests(message);
    read_replies(message, checks.first());
    !checks.is_empty()
}

/// What a server, or a client, makes of a call whose body is this one message.
fn decode<M: Message + Default + 'static>(message: &[u8]) -> Option<M> {
    let length = u32::try_from(message.len()).expect("a short message");
    let mut body = vec![0];
    body.extend(length.to_be_bytes());
    body.extend(message);
    let decoder = MessageCodec::<M, M>::default().decoder();
    let mut call = Streaming::new_request(decoder, Body::from(Bytes::from(body)), None, None);
    let message = call.message().now_or_never().expect("all of it is there");
    message.ok().map(|message| message.expect("one message"))
}

fn judge_check(check: &Check) {
    let server = check.server.as_str();
    assert!(
        server.len() <= 507 && server.split('/').count() == 2,
        "{server}"
    );
    judge_identity(&check.identity);
    if let Some(operation) = &check.operation {
        judge_operation(operation);
    }
    let again = Check::try_from(sent(&pb::CheckRequest::from(check)));
    let again = again.expect("what was accepted once is again");
    assert_eq!(again.server, check.server);
    assert_eq!(again.identity, check.identity);
    assert_eq!(again.operation, check.operation);
    assert_eq!(again.cost, check.cost);
    judge_answers(check);
}

fn sent<M: Message + Default + 'static>(message: &M) -> M {
    decode(&message.encode_to_vec()).expect("what was written can be read")
}

/// A check on full buckets, and again on what is left: allowed, then not, as a client reads it.
fn judge_answers(check: &Check) {
    let capacity = check.cost.get().min(Quota::MAX_CAPACITY);
    let quota = Quota::new(capacity, Quota::MAX_PERIOD).expect("a quota");
    let quotas = Quotas {
        global: Some(quota),
        per_user: Some(quota),
    };
    let operations = check.operation.iter().cloned();
    let operations = operations.map(|operation| (operation, quotas));
    let policy = Policy::new(check.server.clone(), Mode::Enforce, quotas, operations);
    let plan = policy.expect("a policy").plan(check);
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let full = |limit: &std::sync::Arc<Limit>| Bucket::full(limit.quota(), now);
    let mut buckets: Vec<_> = plan.limits().map(full).collect();
    for is_first in [true, false] {
        let answer = take(&plan, &mut buckets, now);
        let has_all = capacity == check.cost.get();
        assert_eq!(answer.decision.is_allowed(), is_first && has_all);
        let reply = sent(&pb::CheckResponse::from(answer.clone()));
        assert_eq!(reply.into_answer(check), Ok(answer));
    }
}

fn judge_identity(identity: &Identity) {
    let parts = [identity.subject(), identity.issuer()];
    let is_fine = |part: &str| (1..=2_048).contains(&part.len());
    assert!(parts.into_iter().flatten().all(is_fine));
    assert!(identity.groups().len() <= 1_024);
    let key = UserKey::of(identity);
    judge_key(key.as_str());
    let Some(subject) = identity.subject() else {
        return;
    };
    let issuer = identity.issuer().unwrap_or_default();
    let shown = key.as_str().strip_prefix("user:").expect("a user");
    let joined = format!("{issuer}#{subject}");
    let (head, tail) = subject.split_at(subject.chars().next().map_or(0, char::len_utf8));
    let moved = format!("{issuer}{head}");
    for (other_issuer, other_subject) in [
        ("", ""),
        ("", subject),
        ("", shown),
        ("", &joined),
        (issuer, ""),
        (issuer, shown),
        (issuer, issuer),
        (subject, issuer),
        (subject, subject),
        (&moved, tail),
    ] {
        let other = Identity::new(other_subject).and_then(|user| user.of_issuer(other_issuer));
        let Ok(other) = other else { continue };
        if (other_issuer, other_subject) != (issuer, subject) {
            assert_ne!(UserKey::of(&other), key, "{other:?} is not {identity:?}");
        }
    }
}

fn judge_operation(operation: &Operation) {
    const KINDS: [OperationKind; 3] = [
        OperationKind::Tool,
        OperationKind::Prompt,
        OperationKind::Resource,
    ];
    let name = operation.name();
    assert!((1..=1_024).contains(&name.len()));
    let field = field(operation);
    judge_key(&field);
    assert_ne!(field, "server");
    let (_, shown) = field.split_once(':').expect("a kind");
    for kind in KINDS {
        for other in [name, shown, &field, &format!("{name}#")] {
            let Ok(other) = Operation::new(kind, other) else {
                continue;
            };
            if other != *operation {
                assert_ne!(self::field(&other), field, "{other:?} is not {operation:?}");
            }
        }
    }
}

fn field(operation: &Operation) -> String {
    let server = "default/any".parse().expect("a server");
    let quota = Quota::new(1, Quota::MIN_PERIOD).expect("a quota");
    let limit = Limit::new(server, Some(operation.clone()), Scope::Global, quota);
    limit.field().to_owned()
}

/// A part of a key in Redis: bounded, and without what its tools and hash tags give a meaning.
fn judge_key(key: &str) {
    assert!(key.len() <= 9 + 200, "{key}");
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"\"'*<>?[\\]^`{}".contains(&b);
    assert!(key.bytes().all(is_plain), "{key:?}");
}

fn read_admin_requests(message: &[u8]) {
    let _ = decode::<pb::ListPoliciesRequest>(message);
    let servers = [
        decode::<pb::GetPolicyRequest>(message).map(|request| (request.server, None)),
        decode::<pb::ListBucketsRequest>(message).map(|request| (request.server, request.identity)),
        decode::<pb::ResetBucketsRequest>(message).map(|request| {
            if let Ok(Some(operation)) = admin_operation(request.operation.as_ref()) {
                judge_operation(&operation);
            }
            (request.server, request.identity)
        }),
    ];
    for (server, identity) in servers.into_iter().flatten() {
        let _ = server_of(&server);
        if let Some(Ok(identity)) = identity.map(identity_of) {
            judge_identity(&identity);
        }
    }
}

/// What a limiter that is out of its mind may reply to a client.
fn read_replies(message: &[u8], check: Option<&Check>) {
    let any = Check {
        server: "default/any".parse().expect("a server"),
        identity: Identity::anonymous(),
        operation: None,
        cost: Check::COST_OF_ONE,
        trace: None,
    };
    let check = check.unwrap_or(&any);
    let mut answers = Vec::new();
    let response = decode::<pb::CheckResponse>(message);
    answers.extend(response.and_then(|reply| reply.into_answer(check).ok()));
    let response = decode::<pb::PeekResponse>(message);
    answers.extend(response.and_then(|reply| reply.into_answer(check).ok()));
    if let Some(streamed) = decode::<pb::CheckStreamResponse>(message)
        && let Some(pb::check_stream_response::Result::Response(reply)) = streamed.result
    {
        answers.extend(reply.into_answer(check));
    }
    for answer in answers {
        if let toolgate_limit::Decision::Denied(denial) = &answer.decision {
            let _ = denial.to_string();
        }
        let reply = sent(&pb::CheckResponse::from(answer.clone()));
        assert_eq!(reply.into_answer(check), Ok(answer), "told again");
    }
}
