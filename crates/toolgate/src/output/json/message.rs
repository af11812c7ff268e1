//! The messages as serde writes them.

use serde::{Serialize, Serializer};
use toolgate_proto::pb;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PeekResponse<'a> {
    pub(super) check: CheckResponse<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckResponse<'a> {
    decision: Enum,
    denial: Option<Denial<'a>>,
    buckets: Vec<BucketStatus<'a>>,
    degraded: bool,
    unlimited: bool,
    policy: &'a str,
    uncertainty: Option<Text<prost_types::Duration>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Denial<'a> {
    limit: Option<Limit<'a>>,
    retry_after: Option<Text<prost_types::Duration>>,
    message: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListBucketsResponse<'a> {
    pub(super) buckets: Vec<BucketStatus<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BucketStatus<'a> {
    limit: Option<Limit<'a>>,
    capacity: u32,
    refill_period: Option<Text<prost_types::Duration>>,
    remaining: u32,
    full_after: Option<Text<prost_types::Duration>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limit<'a> {
    scope: Enum,
    #[serde(flatten)]
    operation: Option<Operation<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Operation<'a> {
    Tool(&'a str),
    Prompt(&'a str),
    Resource(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResetBucketsResponse {
    pub(super) reset_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListPoliciesResponse<'a> {
    pub(super) policies: Vec<Policy<'a>>,
    pub(super) next_page_token: &'a str,
    pub(super) reload: Option<ReloadStatus<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetPolicyResponse<'a> {
    pub(super) policy: Policy<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Policy<'a> {
    server: &'a str,
    mode: Enum,
    limits: Vec<PolicyLimit<'a>>,
    origin: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyLimit<'a> {
    limit: Option<Limit<'a>>,
    capacity: u32,
    refill_period: Option<Text<prost_types::Duration>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReloadStatus<'a> {
    generation: Text<u64>,
    loaded_at: Option<Text<prost_types::Timestamp>>,
    errors: &'a [String],
    rejected: &'a [String],
}

/// An enum value by name, or by number if this build does not know it.
#[derive(Serialize)]
#[serde(untagged)]
enum Enum {
    Name(&'static str),
    Number(i32),
}

/// What the mapping writes as a string: durations, timestamps and 64-bit numbers.
struct Text<T>(T);

impl<T: ToString> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string())
    }
}

impl Enum {
    fn of<E: TryFrom<i32>>(number: i32, name: impl FnOnce(&E) -> &'static str) -> Self {
        E::try_from(number).map_or(Self::Number(number), |known| Self::Name(name(&known)))
    }
}

impl<'a> From<&'a pb::CheckResponse> for CheckResponse<'a> {
    fn from(answer: &'a pb::CheckResponse) -> Self {
        Self {
            decision: Enum::of(answer.decision, pb::Decision::as_str_name),
            denial: answer.denial.as_ref().map(|denial| Denial {
                limit: denial.limit.as_ref().map(Into::into),
                retry_after: denial.retry_after.map(Text),
                message: &denial.message,
            }),
            buckets: answer.buckets.iter().map(Into::into).collect(),
            degraded: answer.degraded,
            unlimited: answer.unlimited,
            policy: &answer.policy,
            uncertainty: answer.uncertainty.map(Text),
        }
    }
}

impl<'a> From<&'a pb::BucketStatus> for BucketStatus<'a> {
    fn from(bucket: &'a pb::BucketStatus) -> Self {
        Self {
            limit: bucket.limit.as_ref().map(Into::into),
            capacity: bucket.capacity,
            refill_period: bucket.refill_period.map(Text),
            remaining: bucket.remaining,
            full_after: bucket.full_after.map(Text),
        }
    }
}

impl<'a> From<&'a pb::Limit> for Limit<'a> {
    fn from(limit: &'a pb::Limit) -> Self {
        use pb::limit::Operation as Named;
        Self {
            scope: Enum::of(limit.scope, pb::Scope::as_str_name),
            operation: limit.operation.as_ref().map(|operation| match operation {
                Named::Tool(name) => Operation::Tool(name),
                Named::Prompt(name) => Operation::Prompt(name),
                Named::Resource(uri) => Operation::Resource(uri),
            }),
        }
    }
}

impl<'a> From<&'a pb::Policy> for Policy<'a> {
    fn from(policy: &'a pb::Policy) -> Self {
        let limits = policy.limits.iter().map(|limit| PolicyLimit {
            limit: limit.limit.as_ref().map(Into::into),
            capacity: limit.capacity,
            refill_period: limit.refill_period.map(Text),
        });
        Self {
            server: &policy.server,
            mode: Enum::of(policy.mode, pb::Mode::as_str_name),
            limits: limits.collect(),
            origin: &policy.origin,
        }
    }
}

impl<'a> From<&'a pb::ReloadStatus> for ReloadStatus<'a> {
    fn from(status: &'a pb::ReloadStatus) -> Self {
        Self {
            generation: Text(status.generation),
            loaded_at: status.loaded_at.map(Text),
            errors: &status.errors,
            rejected: &status.rejected,
        }
    }
}
