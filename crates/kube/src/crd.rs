//! The resource `RateLimitPolicy`, as an API server is told of it.
//!
//! [`RateLimitPolicy::crd`](kube::CustomResourceExt::crd) is the definition that `toolgate crd`
//! prints and `deploy/crds/` holds. Its schema and its CEL rules refuse at once what a replica
//! would refuse later, in the same words; `tests/fixtures/manifests/crd.yaml` lists both judges'
//! answers to the same manifests. They differ where the API server has words of its own:
//!
//! - Types, required fields, the enumeration of `mode`, the range of `maxTokens`, lengths and
//!   repeated names are checked by the structural schema, whose messages are fixed. Where a type, a
//!   required field, a length or the mode is wrong, rules do not run at all.
//! - An unknown field is no part of the schema, and the API server prunes it. `kubectl` asks for
//!   strict validation by default and then it is an error, as it is in a file; other clients may
//!   not ask.
//! - `null` is as good as absent, and a whole number may be written `10.0`; in a file both are
//!   errors.
//! - What is no name of an object or a namespace is refused by the rules of Kubernetes itself.

#![expect(
    unreachable_pub,
    reason = "KubeSchema repeats each struct inside a function"
)]
#![expect(
    clippy::duplicated_attributes,
    reason = "columns of one type are not alike"
)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toolgate_policy::MAX_OPERATIONS;

mod operation;
mod quota;
mod rules;
mod status;
mod yaml;

pub use operation::{PromptLimits, ResourceLimits, ToolLimits};
pub use quota::Quota;
pub use status::{RateLimitPolicyStatus, ReplicaGeneration};
pub use yaml::definition_yaml;

/// The limits of one MCP server.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "toolgate.dev",
    version = "v1alpha1",
    kind = "RateLimitPolicy",
    plural = "ratelimitpolicies",
    shortname = "rlp",
    category = "toolgate",
    namespaced,
    status = "RateLimitPolicyStatus",
    derive = "PartialEq",
    doc = "How often the tools, prompts and resources of one MCP server may be used, in total and by each user. \
           Every replica of every gateway that asks the same Toolgate shares these limits.",
    printcolumn(
        name = "Server",
        type_ = "string",
        json_path = ".status.server",
        description = "The MCP server that is limited, as namespace/name"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.mode",
        description = "Enforce, or Shadow: decide and count, never deny"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether the policy is valid"
    ),
    printcolumn(
        name = "Enforced",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Enforced\")].status",
        description = "Whether every replica of Toolgate decides by this generation"
    ),
    printcolumn(
        name = "Conflicted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Conflicted\")].status",
        description = "Whether an older policy has the same server",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::some_limit()]))]
pub struct RateLimitPolicySpec {
    /// Name of the MCP server, or virtual MCP server, to limit; it is in the namespace of this
    /// resource. Default: the name of this resource. Two resources may not limit the same server:
    /// the older one is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 253))]
    #[schemars(extend("x-kubernetes-validations" = [rules::server_name()]))]
    pub server: Option<String>,
    /// Enforce denies what is over a limit. Shadow decides and counts, and never denies.
    #[serde(default)]
    pub mode: Mode,
    /// Limit of all users together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quota")]
    pub global: Option<Quota>,
    /// Limit of each user. Calls without a user share one bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quota")]
    pub per_user: Option<Quota>,
    /// Limits of single tools, in addition to those of the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_OPERATIONS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub tools: Vec<ToolLimits>,
    /// Limits of single prompts, in addition to those of the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_OPERATIONS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub prompts: Vec<PromptLimits>,
    /// Limits of single resources, in addition to those of the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_OPERATIONS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub resources: Vec<ResourceLimits>,
}

/// How limits are used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Mode {
    /// Deny what is over a limit.
    #[default]
    Enforce,
    /// Decide and count, never deny.
    Shadow,
}
