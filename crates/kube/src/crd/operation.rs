//! Limits of one tool, prompt or resource. The three differ in the names that they may have.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use toolgate_limit::{
    Operation,
    OperationKind::{Prompt, Resource, Tool},
};

use super::{Quota, rules};

/// Limits of one tool.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::operation_limit(Tool)]))]
pub struct ToolLimits {
    /// Name of the tool as its backend knows it: 1 to 128 characters of A-Z a-z 0-9 _ - . /
    #[schemars(length(max = 128))]
    #[schemars(extend("x-kubernetes-validations" = [rules::tool_name()]))]
    pub name: String,
    /// Limit of all users together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quota")]
    pub global: Option<Quota>,
    /// Limit of each user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quota")]
    pub per_user: Option<Quota>,
}

/// Limits of one prompt.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::operation_limit(Prompt)]))]
pub struct PromptLimits {
    /// Name of the prompt: 1 to 1,024 bytes without control characters.
    #[schemars(length(max = Operation::MAX_NAME))]
    #[schemars(extend("x-kubernetes-validations" = [rules::free_name(Prompt)]))]
    pub name: String,
    /// Limit of all users together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quota")]
    pub global: Option<Quota>,
    /// Limit of each user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quota")]
    pub per_user: Option<Quota>,
}

/// Limits of one resource.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::operation_limit(Resource)]))]
pub struct ResourceLimits {
    /// URI of the resource: 1 to 1,024 bytes without control characters.
    #[schemars(length(max = Operation::MAX_NAME))]
    #[schemars(extend("x-kubernetes-validations" = [rules::free_name(Resource)]))]
    pub name: String,
    /// Limit of all users together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quota")]
    pub global: Option<Quota>,
    /// Limit of each user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quota")]
    pub per_user: Option<Quota>,
}
