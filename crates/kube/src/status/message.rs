//! What is wrong with a policy, in a bounded text of one line.

use toolgate_policy::Diagnostics;

/// All errors in at most `max` bytes, one after the other; how many there is no room for is said.
pub(super) fn errors(diagnostics: &Diagnostics, max: usize) -> String {
    /// What "; and 1000000 more" takes.
    const REST: usize = 24;
    let max = max.saturating_sub(REST);
    let mut text = String::new();
    let mut left = diagnostics.errors().count();
    for error in diagnostics.errors() {
        let said = match error.field() {
            Some(field) => format!("{field}: {}", error.message()),
            None => error.message().to_owned(),
        };
        let said = one_line(&said);
        let between = if text.is_empty() { "" } else { "; " };
        if text.is_empty() && said.len() > max {
            text.push_str(cut(&said, max));
        } else if text.len() + between.len() + said.len() <= max {
            text.push_str(between);
            text.push_str(&said);
        } else {
            break;
        }
        left -= 1;
    }
    if left > 0 {
        text = format!("{text}; and {left} more");
    }
    text
}

/// The beginning of `text`, of at most `max` bytes.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use toolgate_policy::{Kind, read_object};

    use super::*;

    fn diagnostics(spec: &Value) -> Diagnostics {
        read_object(Kind::RateLimitPolicy, "team", "research", Some(spec)).diagnostics
    }

    #[test]
    fn a_message_is_bounded_in_one_line_and_says_how_much_it_leaves_out() {
        let quota = json!({"maxTokens": 1, "refillPeriod": "1m"});
        let tools = (0..500).map(|i| json!({"name": format!("tool\n{i}"), "global": quota}));
        let many = diagnostics(&json!({"tools": tools.collect::<Vec<_>>()}));
        for max in [24, 100, 1_024, 4_096] {
            let text = errors(&many, max);
            assert!(text.len() <= max, "{max}: {}", text.len());
            assert!(!text.contains('\n'));
            assert!(text.contains("; and 4") || max < 100, "{text}");
        }
        let quota = json!({"maxTokens": 1, "refillPeriod": "1m"});
        let long = diagnostics(&json!({"mode": "ö".repeat(5_000), "global": quota}));
        let text = errors(&long, 1_024);
        assert!(
            text.starts_with("spec.mode: spec.mode must be Enforce or Shadow, not"),
            "{text}"
        );
        assert!(text.len() <= 1_024);
    }
}
