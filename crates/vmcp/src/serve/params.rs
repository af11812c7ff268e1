//! What is wrong with the parameters of a request.
//!
//! rmcp takes a request whose parameters it cannot read for one of a method that it does not know.

use rmcp::model::{
    CallToolRequestParams, CompleteRequestParams, DiscoverRequestParams, GetPromptRequestParams,
    InitializeRequestParams, JsonObject, PaginatedRequestParams, ReadResourceRequestParams,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Says which field of `params` is wrong, and how; none if `method` is not served here.
pub(super) fn fault(method: &str, params: Option<Value>) -> Option<String> {
    let read = match method {
        "completion/complete" => fault_of::<CompleteRequestParams>,
        "initialize" => fault_of::<InitializeRequestParams>,
        "ping" => fault_of::<JsonObject>,
        "prompts/get" => fault_of::<GetPromptRequestParams>,
        "prompts/list" | "resources/list" | "resources/templates/list" | "tools/list" => {
            fault_of::<PaginatedRequestParams>
        }
        "resources/read" => fault_of::<ReadResourceRequestParams>,
        "server/discover" => fault_of::<DiscoverRequestParams>,
        "tools/call" => fault_of::<CallToolRequestParams>,
        _ => return None,
    };
    let Some(params) = params else {
        return Some("params: missing".to_owned());
    };
    Some(read(params))
}

fn fault_of<T: DeserializeOwned>(params: Value) -> String {
    if !params.is_object() {
        return "params: must be an object".to_owned();
    }
    let meta = params.get("_meta").unwrap_or(&Value::Null);
    if !(meta.is_null() || meta.is_object()) {
        return "params._meta: must be an object".to_owned();
    }
    match serde_path_to_error::deserialize::<_, T>(params) {
        Err(error) if error.path().iter().len() == 0 => format!("params: {}", error.inner()),
        Err(error) => format!("params.{}: {}", error.path(), error.inner()),
        Ok(_) => "params: not valid".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_field_that_is_wrong_is_named() {
        let fault = |method: &str, params: Value| fault(method, Some(params)).unwrap();
        let call = "tools/call";
        assert_eq!(fault(call, json!({})), "params: missing field `name`");
        assert_eq!(
            fault(call, json!({"name": 5})),
            "params.name: invalid type: integer `5`, expected a string"
        );
        let text = fault(call, json!({"name": "a", "arguments": "x"}));
        assert!(text.starts_with("params.arguments: invalid type"), "{text}");
        let text = fault("tools/list", json!({"cursor": 5}));
        assert!(text.starts_with("params.cursor: "), "{text}");
        assert_eq!(fault(call, json!([1])), "params: must be an object");
        let meta = json!({"name": "a", "_meta": 1});
        assert_eq!(fault(call, meta), "params._meta: must be an object");
    }

    #[test]
    fn methods_that_are_not_served_have_no_parameters() {
        assert_eq!(fault("no/such/method", None), None);
        assert_eq!(fault("logging/setLevel", Some(json!({}))), None);
        assert_eq!(fault("tools/call", None).unwrap(), "params: missing");
    }
}
