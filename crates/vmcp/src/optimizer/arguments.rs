//! The arguments of the two tools. Models write them, so they are read with some patience.

use rmcp::model::JsonObject;
use serde_json::Value;

const TOOL_DESCRIPTION: &str = "tool_description";
const TOOL_KEYWORDS: &str = "tool_keywords";
const TOOL_NAME: &str = "tool_name";
const PARAMETERS: &str = "parameters";

/// The most bytes of a search: nobody needs more words to say what a tool should do.
const MAX_SEARCH: usize = 4 * 1024;

/// What is wrong with them, for the model to read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArgumentError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{field} must be {expected}")]
    Type {
        field: &'static str,
        expected: &'static str,
    },
}

/// Arguments of `find_tool`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Search {
    description: String,
    keywords: Vec<String>,
}

impl Search {
    pub(super) fn read(mut arguments: JsonObject) -> Result<Self, ArgumentError> {
        let description = text(&mut arguments, TOOL_DESCRIPTION)?;
        let keywords = match arguments.remove(TOOL_KEYWORDS) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(keywords)) => vec![keywords],
            Some(keywords) => {
                serde_json::from_value(keywords).map_err(|_| ArgumentError::Type {
                    field: TOOL_KEYWORDS,
                    expected: "a list of strings",
                })?
            }
        };
        Ok(Self {
            description: description.ok_or(ArgumentError::Missing(TOOL_DESCRIPTION))?,
            keywords,
        })
    }

    /// What is searched for: the description and the keywords, of all that the first
    /// [`MAX_SEARCH`] bytes.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for part in std::iter::once(&self.description).chain(&self.keywords) {
            let left = MAX_SEARCH.saturating_sub(text.len() + 1);
            if left == 0 {
                break;
            }
            text.push_str(&part[..part.floor_char_boundary(left)]);
            text.push(' ');
        }
        text
    }
}

/// Arguments of `call_tool`.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: JsonObject,
}

impl Call {
    /// A `tool_name` inside `parameters` counts where there is none outside.
    pub(super) fn read(mut arguments: JsonObject) -> Result<Self, ArgumentError> {
        let outer = text(&mut arguments, TOOL_NAME)?;
        let mut parameters = object(&mut arguments)?.unwrap_or_default();
        if let Some(name) = outer {
            return Ok(Self {
                name,
                arguments: parameters,
            });
        }
        let inner = text(&mut parameters, TOOL_NAME)?;
        let name = inner.ok_or(ArgumentError::Missing(TOOL_NAME))?;
        // The whole call may have slipped in, with its own `parameters`.
        let is_nested = parameters.len() == 1 && parameters.contains_key(PARAMETERS);
        if is_nested && let Some(nested) = object(&mut parameters)? {
            parameters = nested;
        }
        Ok(Self {
            name,
            arguments: parameters,
        })
    }
}

fn text(arguments: &mut JsonObject, field: &'static str) -> Result<Option<String>, ArgumentError> {
    match arguments.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ArgumentError::Type {
            field,
            expected: "a string",
        }),
    }
}

fn object(arguments: &mut JsonObject) -> Result<Option<JsonObject>, ArgumentError> {
    match arguments.remove(PARAMETERS) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(ArgumentError::Type {
            field: PARAMETERS,
            expected: "an object",
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object_of(value: Value) -> JsonObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_outer_tool_name_counts_and_an_inner_one_where_there_is_none() {
        for (given, name, arguments) in [
            (
                json!({"tool_name": "a", "parameters": {"x": 1}}),
                "a",
                json!({"x": 1}),
            ),
            (json!({"tool_name": "a"}), "a", json!({})),
            (
                json!({"tool_name": "a", "parameters": {"tool_name": "b"}}),
                "a",
                json!({"tool_name": "b"}),
            ),
            (
                json!({"parameters": {"tool_name": "a", "x": 1}}),
                "a",
                json!({"x": 1}),
            ),
            (
                json!({"parameters": {"tool_name": "a", "parameters": {"x": 1}}}),
                "a",
                json!({"x": 1}),
            ),
        ] {
            let call = Call::read(object_of(given.clone())).unwrap();
            assert_eq!(
                (call.name.as_str(), json!(call.arguments)),
                (name, arguments),
                "{given}"
            );
        }
    }

    #[test]
    fn what_cannot_be_a_call_is_told_by_field() {
        let error = |given| Call::read(object_of(given)).unwrap_err().to_string();
        assert_eq!(error(json!({})), "tool_name is missing");
        assert_eq!(error(json!({"tool_name": 1})), "tool_name must be a string");
        assert_eq!(
            error(json!({"parameters": []})),
            "parameters must be an object"
        );
    }

    #[test]
    fn keywords_may_be_a_list_a_text_or_absent() {
        let text = |given| Search::read(object_of(given)).map(|search| search.text());
        let description = "send mail";
        for keywords in [json!(["a", "b"]), json!("a b")] {
            let given = json!({"tool_description": description, "tool_keywords": keywords});
            assert_eq!(text(given).unwrap(), "send mail a b ");
        }
        assert_eq!(text(json!({"tool_description": "x"})).unwrap(), "x ");
        assert!(text(json!({"tool_keywords": ["a"]})).is_err());
        assert!(text(json!({"tool_description": "x", "tool_keywords": 1})).is_err());
    }

    /// 3.9 MB of text took half a second of the processor.
    #[test]
    fn a_search_is_cut_to_its_first_4_kib() {
        let long = "ü".repeat(1_000_000);
        for given in [
            json!({"tool_description": long}),
            json!({"tool_description": "x", "tool_keywords": [long]}),
            json!({"tool_description": "x", "tool_keywords": vec!["keyword"; 100_000]}),
        ] {
            let text = Search::read(object_of(given)).unwrap().text();
            assert!((4_000..=4_096).contains(&text.len()), "{}", text.len());
        }
    }
}
