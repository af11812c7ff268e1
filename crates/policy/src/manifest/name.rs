//! Which names an operation may have in a manifest. A check may name any operation; here the
//! rules are narrower, so that a typo is found.

use toolgate_limit::{Operation, OperationKind};

/// The longest tool name, in characters (MCP 2025-11-25, tools, "Tool Names").
const MAX_TOOL_NAME: usize = 128;

/// The operation of that name, or what is wrong with the name.
pub(super) fn read_name(kind: OperationKind, name: &str) -> Result<Operation, String> {
    match kind {
        OperationKind::Tool => check_tool(name)?,
        OperationKind::Prompt | OperationKind::Resource => {
            if name.contains(char::is_control) {
                return Err(format!("{kind} name must not hold a control character"));
            }
        }
    }
    Operation::new(kind, name).map_err(|error| format!("{kind} name {error}"))
}

fn check_tool(name: &str) -> Result<(), String> {
    const RULE: &str = "tool name must be 1 to 128 characters of A-Z a-z 0-9 _ - . /";
    let length = name.chars().count();
    if !(1..=MAX_TOOL_NAME).contains(&length) {
        return Err(format!("{RULE}, not {length} characters"));
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || "_-./".contains(*c);
    match name.chars().find(|c| !allowed(c)) {
        Some(other) => Err(format!("{RULE}, not {other:?}")),
        None => Ok(()),
    }
}
