//! In which form a client takes its answer, by `Accept`.
//!
//! MCP asks clients to name both `application/json` and `text/event-stream`, and many do not. By RFC
//! 9110, section 12.5.1, whoever names neither takes anything. An answer is JSON, or, for who takes
//! nothing else, a stream of the one event that holds it.

use axum::http::{HeaderMap, HeaderValue, header::ACCEPT};

/// What the MCP service asks of a client.
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    /// One event.
    Stream,
}

impl Form {
    /// None if no form would do.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key(ACCEPT) || takes(headers, "application", "json") {
            Some(Self::Json)
        } else if takes(headers, "text", "event-stream") {
            Some(Self::Stream)
        } else {
            None
        }
    }
}

/// Makes `headers` say what the MCP service asks for.
pub(super) fn name_both(headers: &mut HeaderMap) {
    headers.insert(ACCEPT, BOTH);
}

/// Whether the most specific of the ranges that hold `kind/of` has a weight above zero.
fn takes(headers: &HeaderMap, kind: &str, of: &str) -> bool {
    let values = headers.get_all(ACCEPT).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut best = None;
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let Some((a, b)) = parts.next().and_then(|essence| essence.split_once('/')) else {
            continue;
        };
        let is_kind = a.eq_ignore_ascii_case(kind);
        let depth = match b {
            _ if is_kind && b.eq_ignore_ascii_case(of) => 2,
            "*" if is_kind => 1,
            "*" if a == "*" => 0,
            _ => continue,
        };
        let is_taken = !parts.any(is_zero);
        best = best.max(Some((depth, is_taken)));
    }
    best.is_some_and(|(_, is_taken)| is_taken)
}

/// Whether a parameter of a range is the weight zero.
fn is_zero(parameter: &str) -> bool {
    let weight = parameter
        .split_once('=')
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    let number = weight.and_then(|(_, weight)| weight.trim().parse::<f32>().ok());
    number.is_some_and(|number| number <= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_json_has_json_and_whoever_takes_only_events_has_events() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT, value.parse().unwrap());
            }
            Form::of(&headers)
        };
        for json in [
            &[][..],
            &["*/*"],
            &["application/*, text/*"],
            &["application/json"],
            &["Application/JSON;q=0.1"],
            &["text/html", "*/*;q=0.8"],
            &["text/event-stream, application/json"],
            &["application/json;q=0, application/json"],
        ] {
            assert_eq!(of(json), Some(Form::Json), "{json:?}");
        }
        for stream in [
            &["text/event-stream"][..],
            &["text/*"],
            &["*/*, application/json;q=0"],
            &["application/json;q=0.0, text/event-stream;q=0.5"],
        ] {
            assert_eq!(of(stream), Some(Form::Stream), "{stream:?}");
        }
        for none in [
            &["text/html"][..],
            &["*/*;q=0"],
            &["image/*"],
            &[""],
            &["json"],
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
