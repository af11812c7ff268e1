//! The JSON form of the API's messages, one object on one line.
//!
//! The names and forms are those of the protobuf JSON mapping
//! (<https://protobuf.dev/programming-guides/json/>). Every field is present, an absent message as
//! null, so that a script finds `"remaining":0` and not a hole; only of a oneof the set field
//! alone is. So prints `grpcurl -emit-defaults`.

mod message;

pub(crate) use message::{BucketStatus, Limit};

use serde_json::{Result, to_string};
use toolgate_proto::pb;

/// A `CheckResponse`.
pub(crate) fn check(answer: &pb::CheckResponse) -> Result<String> {
    to_string(&message::CheckResponse::from(answer))
}

/// A `PeekResponse`.
pub(crate) fn peek(answer: &pb::CheckResponse) -> Result<String> {
    to_string(&message::PeekResponse {
        check: answer.into(),
    })
}

/// A `ListBucketsResponse`.
pub(crate) fn buckets(list: &pb::ListBucketsResponse) -> Result<String> {
    to_string(&message::ListBucketsResponse {
        buckets: list.buckets.iter().map(Into::into).collect(),
    })
}

/// A `ResetBucketsResponse`.
pub(crate) fn reset(reset: pb::ResetBucketsResponse) -> Result<String> {
    to_string(&message::ResetBucketsResponse {
        reset_count: reset.reset_count,
    })
}

/// A `ListPoliciesResponse`.
pub(crate) fn policies(list: &pb::ListPoliciesResponse) -> Result<String> {
    to_string(&message::ListPoliciesResponse {
        policies: list.policies.iter().map(Into::into).collect(),
        next_page_token: &list.next_page_token,
        reload: list.reload.as_ref().map(Into::into),
    })
}

/// A `GetPolicyResponse`.
pub(crate) fn policy(policy: &pb::Policy) -> Result<String> {
    to_string(&message::GetPolicyResponse {
        policy: policy.into(),
    })
}

#[cfg(test)]
mod tests;
