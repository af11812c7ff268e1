//! What became of one MCP message, as metrics tell it.

use rmcp::model::CallToolResponse;

use crate::VmcpError;

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A result, or a notification that was accepted.
    Ok,
    /// A tool result with `isError`.
    ToolError,
    /// A limit was reached.
    Denied,
    /// The limiter made no decision, and calls are refused then.
    Refused,
    /// The backend is down, or did not answer.
    Unavailable,
    /// The caller has hung up before the answer.
    Cancelled,
    /// Any other JSON-RPC or HTTP error.
    Error,
}

impl Outcome {
    /// The outcome as a label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
        }
    }

    /// Of a tool that has answered.
    pub(super) fn of_call(response: &CallToolResponse) -> Self {
        match response {
            CallToolResponse::Complete(result) if result.is_error == Some(true) => Self::ToolError,
            _ => Self::Ok,
        }
    }
}

impl From<&VmcpError> for Outcome {
    fn from(error: &VmcpError) -> Self {
        match error {
            VmcpError::Denied(_) => Self::Denied,
            VmcpError::Undecided => Self::Refused,
            VmcpError::Unavailable { .. } | VmcpError::Failed { .. } => Self::Unavailable,
            VmcpError::Cancelled => Self::Cancelled,
            VmcpError::Unidentified
            | VmcpError::Unknown { .. }
            | VmcpError::InvalidParams(_)
            | VmcpError::Search(_)
            | VmcpError::Backend(_) => Self::Error,
        }
    }
}
