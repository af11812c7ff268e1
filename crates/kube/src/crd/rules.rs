//! The rules of manifests in the expression language of API servers, CEL, with the words in which
//! `toolgate-policy` reports them.
//!
//! An API server estimates what a rule can cost at most before it takes a definition; therefore
//! every text and list in the schema has a bound.

use serde::Serialize;
use toolgate_limit::{Operation, OperationKind, PolicyError};

/// One of `x-kubernetes-validations`. (That of `kube` has one message.)
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    #[serde(rename = "rule")]
    expression: String,
    /// What is said if the rule or the other message cannot be evaluated, or if there is no other.
    message: String,
    /// An expression for what is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_expression: Option<String>,
}

impl Rule {
    fn new(expression: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            expression: expression.into(),
            message: message.into(),
            message_expression: None,
        }
    }

    fn worded(self, message: impl Into<String>) -> Self {
        Self {
            message_expression: Some(message.into()),
            ..self
        }
    }
}

/// Of `spec`. An empty list limits nothing.
pub(super) fn some_limit() -> Rule {
    let listed = |list| format!("has(self.{list}) && size(self.{list}) > 0");
    let rule = format!(
        "has(self.global) || has(self.perUser) || {} || {} || {}",
        listed("tools"),
        listed("prompts"),
        listed("resources")
    );
    Rule::new(rule, PolicyError::NoLimit.to_string())
}

/// Of one operation.
pub(super) fn operation_limit(kind: OperationKind) -> Rule {
    let message = "at least one of global or perUser must be configured for";
    Rule::new(
        "has(self.global) || has(self.perUser)",
        format!("{message} a {kind}"),
    )
    .worded(format!("'{message} {kind} ' + self.name"))
}

/// Of the name of a server, which is that of a Kubernetes object.
pub(super) fn server_name() -> Rule {
    let must = "must consist of lower case letters, digits, '-' or '.', and must start and end with a letter or a digit";
    let quoted = must.replace('\'', "\\'");
    Rule::new(
        "self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",
        format!("spec.server {must}"),
    )
    .worded(format!(
        "self == '' ? 'spec.server must not be empty' : 'spec.server \"' + self + '\" {quoted}'"
    ))
}

/// Of the name of a tool.
pub(super) fn tool_name() -> Rule {
    Rule::new(
        "self.matches('^[A-Za-z0-9_./-]+$')",
        "tool name must be 1 to 128 characters of A-Z a-z 0-9 _ - . /",
    )
}

/// Of the name of a prompt or resource. The schema counts characters; the bound is in bytes.
pub(super) fn free_name(kind: OperationKind) -> Rule {
    let max = Operation::MAX_NAME;
    let must =
        format!("{kind} name must be 1 to {max} bytes long and must not hold a control character");
    let control = "self.matches('\\\\p{Cc}')";
    Rule::new(
        format!("self != '' && !{control} && size(bytes(self)) <= {max}"),
        must,
    )
    .worded(format!(
        "self == '' ? '{kind} name must not be empty' : \
         {control} ? '{kind} name must not hold a control character' : \
         '{kind} name must be at most {max} bytes long'"
    ))
}

/// Of a refill period: what `time.ParseDuration` of Go reads, from 1 ms to 366 days.
pub(super) fn refill_period() -> Rule {
    // Looked at before `duration()`, which ends a rule with an error of its own if it cannot read a
    // text.
    let readable = "self.matches('^[+]?(0|(([0-9]+[.]?[0-9]*|[.][0-9]+)(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h))+)$')";
    // CEL has no count of nanoseconds. But a time is written with no more decimals than it needs:
    // here a point and at most six digits.
    let begin = "timestamp('1970-01-01T00:00:00Z')";
    let whole_micros =
        format!("size(string({begin} + duration(self))) - size(string({begin})) <= 7");
    Rule::new(
        format!(
            "{readable} && duration(self) >= duration('1ms') && duration(self) <= duration('8784h') && {whole_micros}"
        ),
        "refillPeriod must be a duration like 1m, 1h30m or 500ms, from 1ms to 366 days (8784h), in whole microseconds",
    )
    .worded(format!(
        "self == '' ? 'a duration must not be empty; write it like 1m, 1h30m or 500ms' : \
         self.startsWith('-') ? 'a duration must be positive, not \"' + self + '\"' : \
         !{readable} ? '\"' + self + '\" is no duration; write it like 1m, 1h30m or 500ms' : \
         duration(self) == duration('0s') ? 'refillPeriod must be positive' : \
         duration(self) < duration('1ms') ? 'refillPeriod must be at least 1ms, not ' + self : \
         duration(self) > duration('8784h') ? 'refillPeriod must be at most 366 days (8784h), not ' + self : \
         'refillPeriod must be a whole number of microseconds, not ' + self"
    ))
}
