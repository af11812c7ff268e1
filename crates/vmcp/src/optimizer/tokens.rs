//! What a search saves the model.

use rmcp::model::Tool;
use serde::Serialize;

/// Tokens that tool descriptions cost a model, about. No tokenizer is asked: models differ in
/// theirs, and the ratio hardly depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct TokenMetrics {
    /// Of all tools, which the model would be shown without a search.
    pub(super) baseline_tokens: usize,
    /// Of the tools that were returned.
    pub(super) returned_tokens: usize,
    /// The part that is saved, in percent with one decimal.
    pub(super) savings_percent: f64,
}

/// JSON of English descriptions has about four bytes a token.
const BYTES_PER_TOKEN: usize = 4;

impl TokenMetrics {
    /// Of all tools together, and of those that were returned.
    pub(super) fn of(baseline_tokens: usize, returned_tokens: usize) -> Self {
        Self {
            baseline_tokens,
            returned_tokens,
            savings_percent: savings_percent(baseline_tokens, returned_tokens),
        }
    }

    /// What the descriptions of `tools` cost.
    pub(super) fn cost<'a>(tools: impl IntoIterator<Item = &'a Tool>) -> usize {
        tools.into_iter().map(tokens).sum()
    }
}

fn tokens(tool: &Tool) -> usize {
    let json = serde_json::to_string(tool).unwrap_or_default();
    json.len().div_ceil(BYTES_PER_TOKEN)
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^53 tokens")]
fn savings_percent(baseline: usize, returned: usize) -> f64 {
    if baseline == 0 {
        return 0.0;
    }
    let saved = 100.0 * (1.0 - returned as f64 / baseline as f64);
    (saved * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "rounded to what a literal holds")]
    fn savings_are_the_part_that_was_not_returned() {
        assert_eq!(savings_percent(300, 100), 66.7);
        assert_eq!(savings_percent(300, 300), 0.0);
        assert_eq!(savings_percent(0, 0), 0.0);
    }
}
