//! Headers that rmcp makes of a message's parameters, in which numbers have their marks
//! ([`crate::json`]): as the body has them, for a strict server compares the two.

use std::collections::HashMap;

use axum::http::{HeaderName, HeaderValue};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::json::unmarked_value;

/// Around what cannot be a header as it is. A mark never can.
const PREFIX: &str = "=?base64?";
const SUFFIX: &str = "?=";

/// `headers` without marks.
pub(super) fn unmarked(
    mut headers: HashMap<HeaderName, HeaderValue>,
) -> HashMap<HeaderName, HeaderValue> {
    for (name, value) in &mut headers {
        if name.as_str().starts_with("mcp-")
            && let Some(own) = value.to_str().ok().and_then(unmarked_header)
        {
            *value = own;
        }
    }
    headers
}

/// The header in place of `value`, if that has a mark.
fn unmarked_header(value: &str) -> Option<HeaderValue> {
    let encoded = value.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let own = unmarked_value(&text)?;
    if is_plain(own) {
        return own.parse().ok();
    }
    let own = BASE64_STANDARD.encode(own);
    format!("{PREFIX}{own}{SUFFIX}").parse().ok()
}

/// Whether a text can be a header as it is, as MCP says.
fn is_plain(text: &str) -> bool {
    let is_shown = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    is_shown
        && text.trim_matches(' ') == text
        && !(text.starts_with(PREFIX) && text.ends_with(SUFFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_number_or_text_is_written_as_the_body_has_it() {
        let encoded = |text: &str| format!("{PREFIX}{}{SUFFIX}", BASE64_STANDARD.encode(text));
        for (marked, own) in [
            (
                "\u{10fffe}n18446744073709551616",
                "18446744073709551616".to_owned(),
            ),
            ("\u{10fffe}n-0", "-0".to_owned()),
            ("\u{10fffe}tplain", "plain".to_owned()),
            ("\u{10fffe}t\u{10fffe}n5", encoded("\u{10fffe}n5")),
            ("\u{10fffe}t spaced ", encoded(" spaced ")),
            ("\u{10fffe}t=?base64?eA==?=", encoded("=?base64?eA==?=")),
        ] {
            let header = unmarked_header(&encoded(marked));
            assert_eq!(header.unwrap().to_str().unwrap(), own, "{marked}");
        }
        for other in [encoded("ü"), "plain".to_owned(), "=?base64?*?=".to_owned()] {
            assert_eq!(unmarked_header(&other), None, "{other}");
        }
    }
}
