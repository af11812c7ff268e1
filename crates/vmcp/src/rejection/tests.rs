use std::sync::Arc;

use toolgate_limit::{Limit, Operation, Quota};

use super::*;

fn denial(
    operation: Option<(OperationKind, &str)>,
    scope: Scope,
    wait: Option<Duration>,
) -> Denial {
    let operation = operation.map(|(kind, name)| Operation::new(kind, name).unwrap());
    let server = "default/research".parse().unwrap();
    let quota = Quota::new(10, Duration::from_mins(1)).unwrap();
    Denial {
        limit: Arc::new(Limit::new(server, operation, scope, quota)),
        retry_after: wait,
        cost: 1,
    }
}

fn of_search(wait: Duration) -> VmcpError {
    let tool = Some((OperationKind::Tool, "github_search"));
    VmcpError::Denied(denial(tool, Scope::PerUser, Some(wait)))
}

#[test]
fn a_denial_is_the_error_that_the_design_shows() {
    let error = to_error_data(&of_search(Duration::from_millis(5_900)), None);
    assert_eq!(
        serde_json::to_value(&error).unwrap(),
        json!({
            "code": -32029,
            "message": "Rate limit exceeded: 10 calls per 1m per user of tool github_search; retry in 5.9s",
            "data": {
                "retryAfterSeconds": 5.9,
                "limitType": "perUser",
                "scope": "tool",
                "name": "github_search",
            },
        })
    );
}

#[test]
fn the_code_changes_with_the_protocol_that_reserves_the_old_one() {
    let denied = of_search(Duration::from_secs(1));
    let code = |version: &str| {
        let version: ProtocolVersion = serde_json::from_value(json!(version)).unwrap();
        to_error_data(&denied, Some(&version)).code.0
    };
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        assert_eq!(code(version), -32029, "{version}");
    }
    for version in ["2026-07-28", "2027-01-01"] {
        assert_eq!(code(version), 429, "{version}");
    }
}

#[test]
fn the_data_names_the_limit_that_refused() {
    let wait = Some(Duration::from_secs(1));
    for (operation, scope, expected) in [
        (
            Some((OperationKind::Prompt, "weekly")),
            Scope::Global,
            ["global", "prompt", "weekly"],
        ),
        (
            Some((OperationKind::Resource, "file:///a")),
            Scope::PerUser,
            ["perUser", "resource", "file:///a"],
        ),
        (
            None,
            Scope::Global,
            ["global", "server", "default/research"],
        ),
    ] {
        let details = details(&denial(operation, scope, wait));
        let found = ["limitType", "scope", "name"].map(|field| details[field].as_str().unwrap());
        assert_eq!(found, expected);
    }
}

#[test]
fn a_wait_is_never_announced_too_short() {
    let wait = Duration::from_nanos(1_000_000_001);
    let denial = denial(None, Scope::Global, Some(wait));
    assert_eq!(details(&denial)["retryAfterSeconds"], json!(1.001));
    assert_eq!(retry_after_seconds(&denial), Some(2));
}

#[test]
fn where_waiting_is_in_vain_no_wait_is_announced() {
    let denial = denial(None, Scope::Global, None);
    assert_eq!(details(&denial).get("retryAfterSeconds"), None);
    assert_eq!(retry_after_seconds(&denial), None);
}

#[test]
fn a_denied_tool_call_can_be_a_tool_result() {
    let rejection = Rejection {
        form: Form::ToolResult,
        ..Rejection::default()
    };
    let result = rejection
        .of_tool_call(&of_search(Duration::from_secs(1)), None)
        .unwrap();
    assert_eq!(result.is_error, Some(true));
    assert_eq!(
        result.structured_content.unwrap()["retryAfterSeconds"],
        json!(1.0)
    );
    let text = result.content[0].as_text().unwrap().text.clone();
    assert!(text.starts_with("Rate limit exceeded: "), "{text}");
}

#[test]
fn an_unknown_tool_is_a_tool_error_and_an_unknown_resource_a_protocol_error() {
    let unknown = |kind| VmcpError::Unknown {
        kind,
        name: "x".to_owned(),
    };
    let result = Rejection::default().of_tool_call(&unknown(OperationKind::Tool), None);
    assert_eq!(result.unwrap().is_error, Some(true));
    let error = to_error_data(&unknown(OperationKind::Resource), None);
    assert_eq!(error.code, ErrorCode::RESOURCE_NOT_FOUND);
}

#[test]
fn a_backends_own_error_is_passed_on_as_it_came() {
    let own = ErrorData::new(ErrorCode(-32029), "busy", Some(json!({"x": 1})));
    assert_eq!(to_error_data(&VmcpError::Backend(own.clone()), None), own);
}

#[test]
fn why_a_backend_is_down_is_not_told_to_callers() {
    let down = VmcpError::Unavailable {
        backend: "git".to_owned(),
        reason: "cannot reach http://10.0.0.7:8080".to_owned(),
    };
    let error = to_error_data(&down, None);
    assert_eq!(error.message, "backend git is unavailable");
    assert_eq!(error.code, ErrorCode::INTERNAL_ERROR);
}
