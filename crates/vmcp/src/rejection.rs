//! What a client sees of a request that was not served: the one place that makes JSON-RPC errors.
//!
//! A denied call is a JSON-RPC error and not a tool result, because the tool never ran. Some
//! clients show only tool results to the model; for those [`Form::ToolResult`] is there. The HTTP
//! status is 200, because official clients drop the body of a 429.

use std::time::Duration;

use rmcp::{
    ErrorData,
    model::{CallToolResult, ContentBlock, ErrorCode, ProtocolVersion},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use toolgate_limit::{Denial, OperationKind, Scope};

use crate::VmcpError;

/// The code of a denial up to protocol 2025-11-25, from JSON-RPC's range for servers.
pub const CODE: ErrorCode = ErrorCode(-32029);

/// The code of a denial from protocol 2026-07-28 on, which reserves -32020 to -32099 for itself.
pub const CODE_SINCE_2026_07_28: ErrorCode = ErrorCode(429);

/// How denials are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rejection {
    /// The form of a denied tool call. Prompts and resources have the first form only.
    pub form: Form,
    /// The HTTP status of a denial that is a JSON-RPC error.
    pub http_status: HttpStatus,
}

/// The form of a denied tool call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// A JSON-RPC error.
    #[default]
    Error,
    /// A tool result with `isError`, for clients that show nothing else to the model.
    ToolResult,
}

/// The HTTP status of a denial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum HttpStatus {
    /// 200, which every client reads.
    #[default]
    #[serde(rename = "200")]
    Ok,
    /// 429 with `Retry-After`, for proxies between the client and this server.
    #[serde(rename = "429")]
    TooManyRequests,
}

impl Rejection {
    /// What is answered to a tool call that was not served: a tool result that says so, or a
    /// JSON-RPC error.
    pub fn of_tool_call(
        self,
        error: &VmcpError,
        version: Option<&ProtocolVersion>,
    ) -> Result<CallToolResult, ErrorData> {
        match (error, self.form) {
            (VmcpError::Denied(denial), Form::ToolResult) => {
                let mut result = tool_error(message(denial));
                result.structured_content = Some(details(denial));
                Ok(result)
            }
            // The model that chose the tool is who can choose another.
            (VmcpError::Unknown { .. }, _) => Ok(tool_error(error.to_string())),
            (error, _) => Err(to_error_data(error, version)),
        }
    }
}

/// The JSON-RPC answer to a message that is no request, with its id as it came where it has one.
pub(crate) fn invalid_request(id: Option<&RawValue>, message: &str) -> String {
    answer(id, &ErrorData::invalid_request(message.to_owned(), None))
}

/// The JSON-RPC answer to a request whose parameters are not those of its method.
pub(crate) fn invalid_params(id: Option<&RawValue>, message: String) -> String {
    answer(id, &ErrorData::invalid_params(message, None))
}

/// The JSON-RPC answer to a message that is no JSON.
pub(crate) fn parse_error(message: String) -> String {
    answer(None, &ErrorData::parse_error(message, None))
}

/// The JSON-RPC answer to a message whose own was lost.
pub(crate) fn internal_error(id: Option<&RawValue>) -> String {
    answer(id, &ErrorData::internal_error("internal error", None))
}

fn answer(id: Option<&RawValue>, error: &ErrorData) -> String {
    let error = json!(error);
    let id = id.map_or_else(String::new, |id| format!(r#""id":{id},"#));
    format!(r#"{{"jsonrpc":"2.0",{id}"error":{error}}}"#)
}

/// A tool result that says what went wrong.
pub(crate) fn tool_error(message: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(message)])
}

/// The JSON-RPC error for a client that speaks `version`.
pub fn to_error_data(error: &VmcpError, version: Option<&ProtocolVersion>) -> ErrorData {
    match error {
        VmcpError::Denied(denial) => {
            ErrorData::new(code(version), message(denial), Some(details(denial)))
        }
        VmcpError::Unknown { kind, .. } => {
            let message = error.to_string();
            match kind {
                OperationKind::Resource => ErrorData::resource_not_found(message, None),
                OperationKind::Tool | OperationKind::Prompt => {
                    ErrorData::invalid_params(message, None)
                }
            }
        }
        VmcpError::InvalidParams(_) => ErrorData::invalid_params(error.to_string(), None),
        // Why it is down may name addresses, which are none of the caller's; the log has it.
        VmcpError::Unavailable { backend, .. } => {
            ErrorData::internal_error(format!("backend {backend} is unavailable"), None)
        }
        VmcpError::Unidentified
        | VmcpError::Undecided
        | VmcpError::Cancelled
        | VmcpError::Search(_)
        | VmcpError::Failed { .. } => ErrorData::internal_error(error.to_string(), None),
        VmcpError::Backend(answer) => answer.clone(),
    }
}

/// The value of `Retry-After`, in whole seconds and never too early; none where waiting is in vain.
pub fn retry_after_seconds(denial: &Denial) -> Option<u64> {
    let wait = denial.retry_after?;
    Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

fn code(version: Option<&ProtocolVersion>) -> ErrorCode {
    // Versions are dates, and dates written so sort as text.
    let reserved = ProtocolVersion::V_2026_07_28;
    match version {
        Some(version) if version.as_str() >= reserved.as_str() => CODE_SINCE_2026_07_28,
        _ => CODE,
    }
}

fn message(denial: &Denial) -> String {
    format!("Rate limit exceeded: {denial}")
}

/// `retryAfterSeconds` is absent where no wait would help.
fn details(denial: &Denial) -> Value {
    let limit = &denial.limit;
    let (scope, name) = match limit.operation() {
        Some(operation) => (operation.kind().as_str(), operation.name()),
        None => ("server", limit.server().as_str()),
    };
    let mut details = json!({"limitType": limit_type(limit.scope()), "scope": scope, "name": name});
    if let Some(wait) = denial.retry_after {
        details["retryAfterSeconds"] = json!(up_to_millis(wait).as_secs_f64());
    }
    details
}

/// How the wire names a scope.
const fn limit_type(scope: Scope) -> &'static str {
    match scope {
        Scope::Global => "global",
        Scope::PerUser => "perUser",
    }
}

/// Rounded up, so that who waits as told does not come too early.
fn up_to_millis(wait: Duration) -> Duration {
    let millis = wait.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
