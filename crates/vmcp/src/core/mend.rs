//! Answers that hold something which no model of MCP can hold: that part is left out or replaced.

use rmcp::model::{
    ContentBlock, ErrorCode, Prompt, PromptMessage, Resource, ResourceContents, ResourceTemplate,
    Tool,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Where a mended list says what it has lost, in its `_meta`.
const LEFT_OUT: &str = "toolgate/leftOut";

/// The most items of one page whose loss is told one by one.
const MOST_TOLD: usize = 100;

/// The longest word of a backend that is told.
const LONGEST: usize = 100;

type Object = Map<String, Value>;

/// `message` with what can be understood of it. None if it is no object.
pub(super) fn message(message: Value) -> Option<Value> {
    let mut message = match message {
        Value::Object(message) => message,
        // A batch of one.
        Value::Array(mut all) if all.len() == 1 => match all.pop() {
            Some(Value::Object(message)) => message,
            _ => return None,
        },
        _ => return None,
    };
    message.entry("jsonrpc").or_insert_with(|| json!("2.0"));
    match message.get_mut("error") {
        Some(Value::Object(error)) => {
            mend_error(error);
            message.remove("result");
        }
        Some(Value::Null) => {
            message.remove("error");
        }
        Some(Value::String(text)) => {
            let error = json!({"code": ErrorCode::INTERNAL_ERROR.0, "message": text});
            message.insert("error".to_owned(), error);
            message.remove("result");
        }
        Some(_) | None => {}
    }
    if let Some(Value::Object(result)) = message.get_mut("result") {
        mend_result(result);
    }
    Some(Value::Object(message))
}

fn mend_error(error: &mut Object) {
    let code = error.get("code").and_then(Value::as_i64);
    let code = code.and_then(|code| i32::try_from(code).ok());
    error.insert(
        "code".to_owned(),
        json!(code.unwrap_or(ErrorCode::INTERNAL_ERROR.0)),
    );
    if !error.get("message").is_some_and(Value::is_string) {
        error.insert("message".to_owned(), json!("an error without a message"));
    }
}

fn mend_result(result: &mut Object) {
    if !matches!(result.get("_meta"), None | Some(Value::Object(_))) {
        result.remove("_meta");
    }
    if !matches!(result.get("resultType"), None | Some(Value::String(_))) {
        result.remove("resultType");
    }
    mend_list::<Tool>(result, "tools", "name");
    mend_list::<Prompt>(result, "prompts", "name");
    mend_list::<Resource>(result, "resources", "uri");
    mend_list::<ResourceTemplate>(result, "resourceTemplates", "uriTemplate");
    mend_call(result);
    if let Some(contents) = list_in(result, "contents") {
        contents.retain_mut(is_kept::<ResourceContents>);
        keep(result, &["contents"]);
    }
    if let Some(messages) = list_in(result, "messages") {
        for message in messages.iter_mut().filter_map(Value::as_object_mut) {
            if let Some(content) = message.get_mut("content") {
                mend_block(content);
            }
        }
        messages.retain(reads::<PromptMessage>);
        keep(result, &["messages", "description"]);
    }
    if let Some(Value::Object(completion)) = result.get_mut("completion") {
        if let Some(values) = list_in(completion, "values") {
            values.retain(Value::is_string);
        }
        keep(completion, &["values"]);
        keep(result, &["completion"]);
    }
}

/// The result of a tool.
fn mend_call(result: &mut Object) {
    let is_structured = result.contains_key("structuredContent");
    match result.get_mut("content") {
        Some(content @ (Value::String(_) | Value::Object(_))) => {
            let block = match content.take() {
                Value::String(text) => json!({"type": "text", "text": text}),
                block => block,
            };
            *content = json!([block]);
        }
        Some(Value::Array(_) | Value::Null) => {}
        None if is_structured => {}
        Some(_) | None => return,
    }
    if let Some(blocks) = list_in(result, "content") {
        blocks.iter_mut().for_each(mend_block);
    }
    // What is there and does not say no says yes: a failure must not pass for a success.
    let is_error = result.get("isError").map(|is_error| match is_error {
        Value::Bool(is_error) => *is_error,
        Value::String(text) => !["", "0", "false"].contains(&&*text.to_lowercase()),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Null => false,
        _ => true,
    });
    match is_error {
        Some(is_error) => result.insert("isError".to_owned(), json!(is_error)),
        None => result.remove("isError"),
    };
    keep(result, &["content", "structuredContent", "isError"]);
}

/// Makes `block` one that can be read: without what stands beside it, or by a text in its place.
fn mend_block(block: &mut Value) {
    if is_kept::<ContentBlock>(block) {
        return;
    }
    let kind = block.get("type").and_then(Value::as_str);
    let kind = start_of(kind.unwrap_or("unknown"));
    let text = format!("[content of the type {kind:?} that the gateway cannot read was left out]");
    *block = json!({"type": "text", "text": text});
}

/// Whether `item` can be read, perhaps without what only describes it.
fn is_kept<T: DeserializeOwned>(item: &mut Value) -> bool {
    if reads::<T>(item) {
        return true;
    }
    let Value::Object(object) = item else {
        return false;
    };
    for part in ["annotations", "_meta"] {
        object.remove(part);
        if let Some(Value::Object(resource)) = object.get_mut("resource") {
            resource.remove(part);
        }
        if T::deserialize(&*object).is_ok() {
            return true;
        }
    }
    false
}

/// Leaves out the items of a list that cannot be read, and says which.
fn mend_list<T: DeserializeOwned>(result: &mut Object, list: &str, name: &str) {
    let Some(items) = list_in(result, list) else {
        return;
    };
    let mut left_out = Vec::new();
    let mut nth = 0;
    items.retain(|item| {
        nth += 1;
        let Err(error) = serde_path_to_error::deserialize::<_, T>(item) else {
            return true;
        };
        let name = match item.get(name) {
            Some(Value::String(name)) => start_of(name).to_owned(),
            _ => format!("#{nth}"),
        };
        let path = error.path().to_string();
        left_out.push(json!(format!(
            "{name} ({}: {})",
            start_of(&path),
            start_of(&error.inner().to_string())
        )));
        false
    });
    left_out.truncate(MOST_TOLD);
    if !matches!(
        result.get("nextCursor"),
        None | Some(Value::String(_) | Value::Null)
    ) {
        result.remove("nextCursor");
    }
    keep(result, &[list, "nextCursor"]);
    if !left_out.is_empty() {
        let meta = result.entry("_meta").or_insert_with(|| json!({}));
        meta[LEFT_OUT] = Value::Array(left_out);
    }
}

/// What a list has lost that [`message`] has mended.
pub(super) fn left_out(meta: Option<&Object>) -> Vec<String> {
    let told = meta.and_then(|meta| meta.get(LEFT_OUT)?.as_array());
    let told = told.into_iter().flatten().filter_map(Value::as_str);
    told.map(str::to_owned).collect()
}

/// A list. Some write `null` for an empty one.
fn list_in<'a>(object: &'a mut Object, name: &str) -> Option<&'a mut Vec<Value>> {
    let list = object.get_mut(name)?;
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut()
}

/// Drops all but `names` and what every result may have.
fn keep(object: &mut Object, names: &[&str]) {
    const ALWAYS: [&str; 2] = ["_meta", "resultType"];
    object.retain(|name, _| names.contains(&name.as_str()) || ALWAYS.contains(&name.as_str()));
}

fn reads<T: DeserializeOwned>(value: &Value) -> bool {
    T::deserialize(value).is_ok()
}

fn start_of(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}
