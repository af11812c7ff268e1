//! A quota in the resource.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use toolgate_policy::MAX_DURATION_CHARS;

use super::rules;

/// A token bucket: full at first, and refilled continuously.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Capacity of the bucket, in tokens, which is also the largest burst. A call takes one token.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub max_tokens: i64,
    /// Time in which the bucket fills from empty to full, as a Go duration like 500ms, 1m or 1h30m:
    /// from 1ms to 8784h (366 days), in whole microseconds.
    #[schemars(length(max = MAX_DURATION_CHARS))]
    #[schemars(extend("x-kubernetes-validations" = [rules::refill_period()]))]
    pub refill_period: String,
}
