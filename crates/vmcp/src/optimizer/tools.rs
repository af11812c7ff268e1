//! How the two tools describe themselves to a model.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

pub(super) const FIND_TOOL: &str = "find_tool";
pub(super) const CALL_TOOL: &str = "call_tool";

pub(super) fn both(max_tools: usize) -> Vec<Tool> {
    let find = format!(
        "Finds tools by what they do, best match first, at most {max_tools}. Returns each with \
         its name, description and input schema. Search before you call a tool that you do not \
         know, with call_tool."
    );
    let find_input = json!({
        "type": "object",
        "properties": {
            "tool_description": {
                "type": "string",
                "description": "What the tool should do, in a few words",
            },
            "tool_keywords": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Words that its name or description may hold",
            },
        },
        "required": ["tool_description"],
    });
    let call = "Runs a tool that find_tool has returned.";
    let call_input = json!({
        "type": "object",
        "properties": {
            "tool_name": {"type": "string", "description": "Its name, as find_tool returned it"},
            "parameters": {
                "type": "object",
                "description": "Its arguments, by its input schema",
            },
        },
        "required": ["tool_name", "parameters"],
    });
    let only_reads = ToolAnnotations::new().read_only(true);
    vec![
        Tool::new(FIND_TOOL, find, schema(find_input)).with_annotations(only_reads),
        Tool::new(CALL_TOOL, call, schema(call_input)),
    ]
}

fn schema(schema: Value) -> Arc<JsonObject> {
    match schema {
        Value::Object(schema) => Arc::new(schema),
        _ => Arc::default(),
    }
}
